//! Candidates that are killed, paused and woken.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use super::Store;
use crate::candidate::Candidate;

/// Starts candidates of one election that nobody else contends for.
struct Starter<'a> {
    store: &'a Store,
    program: &'a Path,
    election: String,
    more: &'a [&'a str],
}

impl<'a> Starter<'a> {
    fn new(store: &'a Store, program: &'a Path, election: &str, attempt: u32) -> Self {
        Self { store, program, election: format!("{election}-{attempt}"), more: &[] }
    }

    fn start(&self, id: &str) -> Candidate {
        let Self { store, program, election, more } = self;
        let candidate = Candidate::start_with(program, &store.url, election, id, store.ttl, more);
        candidate.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A holder that is killed is succeeded under a higher token, about when its lease ends.
///
/// # Panics
/// When that is not so.
pub fn killed_holder_is_succeeded(store: &Store, program: &Path, attempt: u32) {
    let candidates = Starter::new(store, program, "killed", attempt);
    // Another machine's death is told by nothing but its lease.
    let candidates = Starter { more: &["lease-only"], ..candidates };
    let mut holder = candidates.start("c0");
    let mut token = holder.says("elected").token;
    let mut best = Duration::MAX;
    for round in 1..=3 {
        let waiting = candidates.start(&format!("c{round}"));
        waiting.says("campaigning");
        let killed = holder.kill();
        let elected = waiting.says("elected");
        assert!(elected.token > token, "token {} after {token}", elected.token);
        best = best.min(Duration::from_nanos(elected.mono_ns.saturating_sub(killed)));
        token = elected.token;
        holder = waiting;
    }
    assert!(best < store.ttl * 2, "the fastest successor came after {best:?} of {:?}", store.ttl);
}

/// The death of a holder on this machine is proved by the kernel: its successor need not wait
/// for the lease. A kernel without such proof (before 6.5) is told apart from a failure by its
/// version.
///
/// # Panics
/// When that is not so.
pub fn a_proved_death_is_succeeded_at_once(store: &Store, program: &Path, attempt: u32) {
    let candidates = Starter::new(store, program, "proved", attempt);
    let mut holder = candidates.start("c0");
    let mut token = holder.says("elected").token;
    let mut best = Duration::MAX;
    for round in 1..=3 {
        let waiting = candidates.start(&format!("c{round}"));
        waiting.says("campaigning");
        // Until it knows who leads, and has found it.
        std::thread::sleep(store.ttl / 2);
        let killed = holder.kill();
        let elected = waiting.says("elected");
        assert!(elected.token > token, "token {} after {token}", elected.token);
        best = best.min(Duration::from_nanos(elected.mono_ns.saturating_sub(killed)));
        token = elected.token;
        holder = waiting;
    }
    let limit = if kernel_proves_deaths() { store.ttl / 2 } else { store.ttl * 2 };
    assert!(best < limit, "the fastest successor came after {best:?} of {:?}", store.ttl);
}

/// Whether a pidfd can be had from a socket: Linux 6.5 or later.
fn kernel_proves_deaths() -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap_or_default().split('.');
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
    (number(), number()) >= (6, 5)
}

/// A candidate that is asked to end resigns, and its successor need not wait for the lease.
///
/// # Panics
/// When that is not so.
pub fn resigns_on_request(store: &Store, program: &Path, attempt: u32) {
    let candidates = Starter::new(store, program, "asked", attempt);
    let holder = candidates.start("c0");
    let token = holder.says("elected").token;
    let waiting = candidates.start("c1");
    waiting.says("campaigning");
    let asked = holder.signal(Signal::TERM);
    let elected = waiting.says("elected");
    let took = Duration::from_nanos(elected.mono_ns.saturating_sub(asked));
    assert!(took < store.ttl * 3 / 4, "the successor came after {took:?} of {:?}", store.ttl);
    assert!(elected.token > token);
    holder.says("left");
}

/// A holder that is stopped past its lease is succeeded; woken, it says that it has lost before
/// it does anything else. Where leases do not expire it keeps what nobody else could get.
///
/// # Panics
/// When that is not so.
pub fn paused_holder_notices_first(store: &Store, program: &Path, attempt: u32) {
    let candidates = Starter::new(store, program, "paused", attempt);
    let holder = candidates.start("c0");
    let token = holder.says("elected").token;
    let waiting = candidates.start("c1");
    waiting.says("campaigning");
    holder.signal(Signal::STOP);
    if !store.expires {
        std::thread::sleep(store.ttl * 2);
        assert_eq!(waiting.has_said(), None, "a successor beside a holder that is only paused");
        holder.signal(Signal::CONT);
        let next = holder.next();
        assert!(next.event.starts_with("lost:"), "{next:?}");
        return;
    }
    let elected = waiting.says("elected");
    assert!(elected.token > token);
    holder.signal(Signal::CONT);
    let next = holder.next();
    assert!(next.event.starts_with("lost:") && next.token == token, "{next:?}");
    // It has lost, not resigned: it contends on.
    drop(waiting);
    assert!(holder.says("elected").token > elected.token);
}
