//! A thread that only watches the time. It shares nothing with the loop that supervises and
//! nothing with the async runtime but the deadline itself: when the loop is stuck, in a write
//! or by a fault of ours, the command is killed all the same.
//!
//! And a timer of the kernel's, for when no thread of this process runs at all because it is
//! stopped, and the front as well: a signal from the kernel kills a stopped process, too, and
//! the command dies with it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::{
        signal::{SigEvent, SigevNotify, Signal},
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId as Clock,
};
use rustix::{
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec},
};
use tenure_core::Moment;
use tenure_quorum::clock;

use super::{budget::Budget, cgroup, contest::Lease, tree};
use crate::{
    error::{Failure, Outcome},
    realtime::First,
};

/// After the deadline, what is left is looked for this often.
const AGAIN: Duration = Duration::from_millis(5);

/// Whether something may run that must be dead before the lease is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadman(Arc<(Mutex<bool>, Condvar)>);

impl Deadman {
    /// Starts the thread.
    pub(crate) fn start(
        lease: Lease,
        budget: Budget,
        cgroup: Option<PathBuf>,
        realtime: Option<First>,
    ) -> Outcome<Self> {
        let deadman = Self::default();
        let watched = deadman.clone();
        let spawned = std::thread::Builder::new().name("deadman".into()).spawn(move || {
            // It was allowed a moment ago; and ordinary scheduling keeps the deadline, too.
            let _ = realtime.map_or(Ok(()), |first| first());
            watched.watch(&lease, budget, cgroup.as_deref());
        });
        spawned
            .map_err(|error| Failure::io("cannot start a thread", &error, "free some memory"))?;
        Ok(deadman)
    }

    pub(crate) fn arm(&self, armed: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = armed;
        self.0.1.notify_one();
    }

    fn is_armed(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, lease: &Lease, budget: Budget, cgroup: Option<&std::path::Path>) {
        loop {
            let armed = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.1.wait_while(armed, |armed| !*armed));
            let now = clock::moment();
            // The loop had a quarter of the margin; the front has another quarter after this.
            let due = lease.deadline().map(|at| budget.kill_at(at) + budget.kill_margin / 4);
            match due {
                Some(due) if due > now => sleep_until(due),
                _ if self.is_armed() => {
                    if let Some(group) = cgroup {
                        let _ = cgroup::kill(group);
                    }
                    let _ = tree::kill_all(std::process::id(), None);
                    sleep_until(now + AGAIN);
                }
                _ => {}
            }
        }
    }
}

/// By the clock that goes on while the machine is suspended.
fn sleep_until(at: Moment) {
    // A signal cuts it short; the loop around it looks again.
    let _ = clock_nanosleep_absolute(ClockId::Boottime, &timespec(at));
}

/// A point on that clock, as the kernel wants it.
pub(crate) fn timespec(at: Moment) -> Timespec {
    let nanos = at.as_nanos();
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}

/// Kills this process at a time, unless that is put off. It burns also while this process is
/// stopped.
#[derive(Debug)]
pub(crate) struct Fuse(Timer);

impl Fuse {
    pub(crate) fn new() -> io::Result<Self> {
        let signal = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        Ok(Self(Timer::new(Clock::CLOCK_BOOTTIME, SigEvent::new(signal))?))
    }

    /// Sets the time; without one it does not burn. One that is over kills at once.
    pub(crate) fn set(&mut self, at: Option<Moment>) {
        // Zero would put it out.
        let at = at.map_or(Duration::ZERO, |at| Duration::from_nanos(at.as_nanos().max(1)));
        let set = self.0.set(Expiration::OneShot(at.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        if let Err(error) = set {
            // The thread and the front remain.
            tracing::error!(%error, "cannot set a timer");
        }
    }
}
