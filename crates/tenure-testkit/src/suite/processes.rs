//! Candidates that are killed, paused and woken.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use super::Store;
use crate::candidate::Candidate;

fn start(store: &Store, program: &Path, election: &str, id: &str) -> Candidate {
    let candidate = Candidate::start(program, &store.url, election, id, store.ttl);
    candidate.unwrap_or_else(|error| panic!("{error}"))
}

/// A holder that is killed is succeeded under a higher token, about when its lease ends.
///
/// # Panics
/// When that is not so.
pub fn killed_holder_is_succeeded(store: &Store, program: &Path) {
    let mut holder = start(store, program, "killed", "c0");
    let mut token = holder.says("elected").token;
    let mut best = Duration::MAX;
    for round in 1..=3 {
        let waiting = start(store, program, "killed", &format!("c{round}"));
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

/// A candidate that is asked to end resigns, and its successor need not wait for the lease.
///
/// # Panics
/// When that is not so.
pub fn resigns_on_request(store: &Store, program: &Path) {
    let holder = start(store, program, "asked", "c0");
    let token = holder.says("elected").token;
    let waiting = start(store, program, "asked", "c1");
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
pub fn paused_holder_notices_first(store: &Store, program: &Path) {
    let holder = start(store, program, "paused", "c0");
    let token = holder.says("elected").token;
    let waiting = start(store, program, "paused", "c1");
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
