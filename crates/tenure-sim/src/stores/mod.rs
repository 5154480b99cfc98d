//! The contender and the registrar against stores that know only leases, each with a weakness
//! that real ones have. The same invariants as over a quorum; what a store cannot promise is
//! said by [`Store::one_holder`] and is the only thing that is not asked of it.

mod application;
mod model;
mod mutant;
mod process;
mod trouble;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Outcome, run::judged};
pub use mutant::StoreMutant;
use world::World;

/// A modelled store, by its weakness. All of them are slow at times, lose packets, and fail
/// over; all count a lease as no longer than its ttl, by a clock of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// Answers take up to one and a half leases, so they come after the shell gave up on them.
    LateAnswers,
    /// Questions and answers are lost, and questions arrive twice.
    LostAnswers,
    /// The clock that ends leases runs at the edge of the bound, and after a failover another
    /// one does.
    OtherClock,
    /// Hints of changes are lost for long, or never come.
    WatchGaps,
    /// Holds ride on a session: whatever renews the session renews all of them (etcd,
    /// `ZooKeeper`).
    SharedLease,
    /// A failover goes back to an older state (Redis, an asynchronous standby of `PostgreSQL`).
    Forgets,
    /// Everything at once but the last.
    Everything,
}

impl Store {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::LateAnswers,
        Self::LostAnswers,
        Self::OtherClock,
        Self::WatchGaps,
        Self::SharedLease,
        Self::Forgets,
        Self::Everything,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LateAnswers => "late-answers",
            Self::LostAnswers => "lost-answers",
            Self::OtherClock => "other-clock",
            Self::WatchGaps => "watch-gaps",
            Self::SharedLease => "shared-lease",
            Self::Forgets => "forgets",
            Self::Everything => "everything",
        }
    }

    /// The store of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|store| store.as_str() == name)
    }

    /// Whether one holder at a time is promised always. A store that forgets grants breaks
    /// that, for at most a lease and an answer after its failover; then the token at the
    /// resource is the guard, and it must hold all the same.
    #[must_use]
    pub fn one_holder(self) -> bool {
        self != Self::Forgets
    }

    fn has(self, weakness: Self) -> bool {
        self == weakness || (self == Self::Everything && weakness != Self::Forgets)
    }
}

/// Runs one seed against one store; with `readable`, the trace is kept.
#[must_use]
pub fn run_store(store: Store, seed: u64, mutant: Option<StoreMutant>, readable: bool) -> Outcome {
    let mut world = World::new(store, seed, mutant, readable);
    let start = world.now;
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (violation, recovery) = judged(ended, world.now);
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
        recovery: recovery.unwrap_or(0),
        bound: world.bound(),
        trace: world.trace.take_lines(),
        planted: mutant.map(StoreMutant::as_str),
        store: Some(store.as_str()),
    }
}
