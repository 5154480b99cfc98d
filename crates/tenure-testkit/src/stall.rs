//! Scenarios that hold real leases, on a machine that may stand still.
//!
//! A machine that stands still for longer than a lease loses it, as it must; such a run says
//! nothing about the store. So the kit measures how long it was held up itself, by the clock and
//! at the disk, and repeats a scenario that failed while the machine stood still for longer than
//! a quarter of the lease. It says so. A scenario that fails on a machine that did not stand
//! still fails at once, and one that never succeeds fails in the end.

use std::{
    any::Any,
    fs::File,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Attempts of one scenario.
const ATTEMPTS: u32 = 5;
/// How often the clock is looked at.
const STEP: Duration = Duration::from_millis(5);
/// Looks between two writes to the disk: a flush takes part in many a grant.
const FLUSH_EVERY: u32 = 20;

/// Measures how long this machine stood still.
#[derive(Debug)]
struct Watch {
    longest_ns: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let (longest_ns, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (longest, ends) = (Arc::clone(&longest_ns), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            // Without a file only the clock is watched.
            let mut file = tempfile::tempfile().ok();
            let mut looks = 0;
            while !ends.load(SeqCst) {
                let begun = Instant::now();
                std::thread::sleep(STEP);
                looks += 1;
                if looks % FLUSH_EVERY == 0 {
                    flush(&mut file);
                }
                let late = begun.elapsed().saturating_sub(STEP);
                longest.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), SeqCst);
            }
        });
        Self { longest_ns, over, thread: Some(thread) }
    }

    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(SeqCst))
    }
}

fn flush(file: &mut Option<File>) {
    let written = file.as_mut().map(|file| file.write_all(b".").and_then(|()| file.sync_data()));
    // A full disk is not what is measured here.
    if written.is_some_and(|written| written.is_err()) {
        *file = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// What is to be done about a failed attempt.
enum Verdict {
    Again,
    Fail(Box<dyn Any + Send>),
}

fn judge(
    attempt: u32,
    ttl: Duration,
    stood_still: Duration,
    panic: Box<dyn Any + Send>,
) -> Verdict {
    if stood_still <= ttl / 4 || attempt >= ATTEMPTS {
        return Verdict::Fail(panic);
    }
    // The reader of a log must be able to count these.
    let mut err = std::io::stderr();
    let _ = writeln!(
        err,
        "STALL: this machine stood still for {stood_still:.0?} while leases of {ttl:?} were held; \
         attempt {attempt} of {ATTEMPTS} says nothing and is repeated"
    );
    Verdict::Again
}

/// Runs a scenario that holds leases of `ttl`. It is told which attempt this is.
///
/// # Panics
/// As the scenario, on a machine that did not stand still, or after the last attempt.
pub fn steadily(ttl: Duration, scenario: impl Fn(u32)) {
    for attempt in 1.. {
        let watch = Watch::start();
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(attempt))) else { return };
        if let Verdict::Fail(panic) = judge(attempt, ttl, watch.longest(), panic) {
            resume_unwind(panic);
        }
    }
}

/// The same for a scenario that waits.
///
/// # Panics
/// As [`steadily`].
pub async fn steadily_async<W>(ttl: Duration, scenario: impl Fn(u32) -> W)
where
    W: Future<Output = ()> + Send + 'static,
{
    for attempt in 1.. {
        let watch = Watch::start();
        // A task of its own: its panic is an answer.
        let Err(error) = tokio::spawn(scenario(attempt)).await else { return };
        let Ok(panic) = error.try_into_panic() else { return };
        if let Verdict::Fail(panic) = judge(attempt, ttl, watch.longest(), panic) {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_on_a_machine_that_runs_fails_at_once() {
        let attempts = AtomicU64::new(0);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            // No machine stands still for a quarter of that.
            steadily(Duration::from_secs(3600), |_| {
                attempts.fetch_add(1, SeqCst);
                panic!("as expected");
            });
        }));
        assert!(failed.is_err());
        assert_eq!(attempts.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn what_fails_while_the_machine_stands_still_is_repeated() {
        let attempts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&attempts);
        // Every machine stands still for longer than a quarter of nothing.
        steadily_async(Duration::ZERO, move |attempt| {
            let attempts = Arc::clone(&counted);
            async move {
                attempts.fetch_add(1, SeqCst);
                tokio::time::sleep(STEP * 4).await;
                assert!(attempt >= 3, "as expected");
            }
        })
        .await;
        assert_eq!(attempts.load(SeqCst), 3);
    }

    #[test]
    fn what_never_succeeds_fails_in_the_end() {
        let failed = catch_unwind(|| {
            steadily(Duration::ZERO, |_| {
                std::thread::sleep(STEP * 4);
                panic!("as expected");
            });
        });
        assert!(failed.is_err());
    }
}
