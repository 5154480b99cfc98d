//! What must hold when the store itself fails: its servers are killed, restarted, frozen.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use super::Store;
use crate::candidate::{Candidate, Line};

/// One tenure as its holder told it: when it was told to lead, and when it last acted.
#[derive(Debug)]
struct Tenure {
    id: String,
    token: u64,
    from: u64,
    to: Option<u64>,
}

/// Two candidates, and everything they said.
struct Pair {
    candidates: [Candidate; 2],
    tenures: Vec<Tenure>,
}

impl Pair {
    /// The first leads, the second waits.
    fn start(store: &Store, program: &Path, election: &str, more: &[&str]) -> Self {
        let start = |id: &str| {
            let candidate =
                Candidate::start_with(program, &store.url, election, id, store.ttl, more);
            candidate.unwrap_or_else(|error| panic!("{error}"))
        };
        let first = start("first");
        let elected = first.says("elected");
        let second = start("second");
        second.says("campaigning");
        let mut pair = Self { candidates: [first, second], tenures: Vec::new() };
        pair.hear(0, &elected);
        pair
    }

    fn hear(&mut self, at: usize, line: &Line) {
        let id = self.candidates[at].id().to_owned();
        if line.event == "elected" {
            self.tenures.push(Tenure { id, token: line.token, from: line.mono_ns, to: None });
        } else if line.event.starts_with("lost:") {
            let tenure = self.tenures.iter_mut().find(|tenure| tenure.token == line.token);
            let tenure = tenure.unwrap_or_else(|| panic!("{id} lost what it never had: {line:?}"));
            tenure.to = Some(line.acted_ns);
        }
    }

    /// Hears what was said until now.
    fn drain(&mut self) {
        for at in 0..self.candidates.len() {
            while let Some(line) = self.candidates[at].has_said() {
                self.hear(at, &line);
            }
        }
    }

    fn holder(&self) -> Option<usize> {
        let held = self.tenures.iter().find(|tenure| tenure.to.is_none())?;
        self.candidates.iter().position(|candidate| candidate.id() == held.id)
    }

    /// Waits until one leads that goes on leading for a while.
    fn settle(&mut self, store: &Store) -> usize {
        for _ in 0..100 {
            std::thread::sleep(store.ttl / 2);
            self.drain();
            if let Some(at) = self.holder() {
                std::thread::sleep(store.ttl);
                self.drain();
                if self.holder() == Some(at) {
                    return at;
                }
            }
        }
        panic!("nobody leads any more: {:?}", self.tenures)
    }

    /// Tokens rise, and nobody acted when another had been told to lead.
    fn judge(&mut self) {
        self.tenures.sort_by_key(|tenure| tenure.from);
        for pair in self.tenures.windows(2) {
            let [one, next] = pair else { continue };
            assert!(next.token > one.token, "tokens fall: {:?}", self.tenures);
            let over = one.to.is_some_and(|to| to <= next.from);
            assert!(over, "two leaders at once: {:?}", self.tenures);
        }
    }
}

/// Whatever happens to the servers while an election is held: leadership is kept or lost, there
/// are never two leaders, tokens never fall, and afterwards the election goes on.
///
/// # Panics
/// When that is not so.
pub fn never_two_leaders_through(
    store: &Store,
    program: &Path,
    election: &str,
    trouble: impl FnOnce(),
) {
    never_two_leaders(Pair::start(store, program, election, &[]), store, trouble);
}

/// The same with candidates of which nothing but the lease tells that they are dead, and which
/// reach the store only as its URL says, as from another machine.
pub(super) fn never_two_leaders_afar_through(
    store: &Store,
    program: &Path,
    election: &str,
    trouble: impl FnOnce(),
) {
    never_two_leaders(Pair::start(store, program, election, &["lease-only"]), store, trouble);
}

fn never_two_leaders(mut pair: Pair, store: &Store, trouble: impl FnOnce()) {
    trouble();
    let at = pair.settle(store);
    let killed = pair.candidates[at].kill();
    if let Some(tenure) = pair.tenures.iter_mut().find(|tenure| tenure.to.is_none()) {
        tenure.to = Some(killed);
    }
    let other = 1 - at;
    let elected = pair.candidates[other].says("elected");
    pair.hear(other, &elected);
    pair.judge();
}

/// A store that does not answer for longer than the lease: the holder says that it has lost by
/// its own clock, without being told. Afterwards the election goes on. `signal` sends a signal
/// to all servers.
///
/// # Panics
/// When that is not so.
pub fn silent_store_costs_the_lease(
    store: &Store,
    program: &Path,
    election: &str,
    signal: impl Fn(Signal),
) {
    let mut pair = Pair::start(store, program, election, &[]);
    let begun = crate::candidate::monotonic_nanos();
    signal(Signal::STOP);
    let lost = pair.candidates[0].says("lost");
    signal(Signal::CONT);
    assert_eq!(lost.event, "lost:expired");
    pair.hear(0, &lost);
    let took = Duration::from_nanos(lost.acted_ns.saturating_sub(begun));
    assert!(took <= store.ttl, "it acted for {took:?} of {:?} beside a silent store", store.ttl);
    pair.settle(store);
    pair.judge();
}
