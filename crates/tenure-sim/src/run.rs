//! One seed: one run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use crate::{faults::Counts, invariants::Violation, mutant::Mutant, world::World};

/// What one seed gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
    /// Hash of every event and of the final state.
    pub hash: u64,
    /// Number of events.
    pub events: u64,
    /// Simulated time in nanoseconds.
    pub simulated: u64,
    /// Faults by kind.
    pub faults: Counts,
    /// Grants.
    pub grants: u64,
    /// Stale writes that resources turned away.
    pub fenced_off: u64,
    /// Longest time from the death of a leader to its successor's belief, in nanoseconds.
    pub failover: u64,
    /// Time from the end of the faults until everybody was served, in nanoseconds.
    pub recovery: u64,
    /// The bound on that time.
    pub bound: u64,
    /// One line per event, when asked for.
    pub trace: String,
    /// The bug that was planted, by its name.
    pub planted: Option<&'static str>,
    /// The store it ran against, by its name; the quorum has none.
    pub store: Option<&'static str>,
}

impl Outcome {
    /// A planted bug shows in more than one way; only what is there for it counts.
    #[must_use]
    pub fn counting(mut self, meant: &[&str]) -> Self {
        self.violation.take_if(|violation| !meant.contains(&violation.invariant));
        self
    }

    /// The outcome for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let violation = self.violation.as_ref();
        serde_json::json!({
            "seed": self.seed,
            "hash": format!("{:016x}", self.hash),
            "events": self.events,
            "elections_held": self.grants,
            "invariant": violation.map(|violation| violation.invariant),
            "why": violation.map(|violation| violation.why.as_str()),
            "replay": self.replay(),
        })
    }

    /// One line that runs the same once more, event for event, and shows it.
    #[must_use]
    pub fn replay(&self) -> String {
        let mut line = format!("cargo xtask sim --seed {}", self.seed);
        for (option, value) in [("--store", self.store), ("--mutant", self.planted)] {
            if let Some(value) = value {
                line = format!("{line} {option} {value}");
            }
        }
        line
    }
}

/// What was broken, and what a run that ended well gave. A panic of a machine under test is a
/// finding like any other.
pub(crate) fn judged<T>(
    ended: thread::Result<Result<T, Violation>>,
    at: u64,
) -> (Option<Violation>, Option<T>) {
    match ended {
        Ok(Ok(ending)) => (None, Some(ending)),
        Ok(Err(violation)) => (Some(violation), None),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let why = format!("panic: {}", text.unwrap_or("without words"));
            (Some(Violation { invariant: "machine_runs", at, why }), None)
        }
    }
}

/// Runs one seed; with `readable`, the trace is kept.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>, readable: bool) -> Outcome {
    let mut world = World::new(seed, mutant, readable);
    let start = world.now;
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (violation, ending) = judged(ended, world.now);
    if violation.is_some() {
        world.show_all();
    }
    Outcome {
        seed,
        violation,
        hash: world.trace.hash(),
        events: world.trace.events(),
        simulated: world.now - start,
        faults: world.counts.clone(),
        grants: world.law.tokens.grants(),
        fenced_off: world.law.fence.refused,
        failover: world.longest_failover,
        recovery: ending.map_or(0, |ending| ending.recovered_in),
        bound: ending.map_or(0, |ending| ending.bound),
        trace: world.trace.take_lines(),
        planted: mutant.map(Mutant::as_str),
        store: None,
    }
}
