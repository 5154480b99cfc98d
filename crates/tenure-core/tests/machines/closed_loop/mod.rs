//! Contenders and a ledger in one closed loop: delays, losses, duplicates, reordering, pauses,
//! restarts and clocks that run fast or slow, against true time.
//!
//! One run again: `TENURE_SEED=17 cargo test -p tenure-core closed_loop`; more of them:
//! `TENURE_RUNS=100000`.

pub(crate) mod chance;
pub(crate) mod clock;
mod process;
mod store;
mod world;

use world::World;

/// Mistakes of a shell or a keeper of the clocks that the loop must notice. They are planted
/// outside of the machines under test, by altering what goes in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// The lease counts from the receipt of the acknowledgement.
    CountsFromAcknowledgement,
    /// A new session supersedes the old one whether or not the work has stopped.
    SupersedesThoughNotStopped,
    /// The successor of an evicted leader does not wait.
    EvictionWithoutWaiting,
    /// Renewals are acknowledged without news of what was revoked.
    AcknowledgedWithoutNews,
    /// A shorter lease is asked for while its holder still counts with the longer one.
    ShortenedAtTheStoreFirst,
    /// A longer lease is counted with before the store grants it.
    LengthenedAtTheHolderFirst,
}

const RUNS: u64 = 120;

#[test]
fn at_most_one_believes_in_the_closed_loop() {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().expect("a number"));
    let seeds: Vec<u64> = match number("TENURE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TENURE_RUNS").unwrap_or(RUNS)).collect(),
    };
    for seed in seeds {
        let _guard = SeedOnPanic(seed);
        if let Err(why) = World::new(seed, None).run() {
            panic!("{why}");
        }
    }
}

/// The net has to catch what it is there for.
#[test]
fn planted_bugs_are_caught_by_the_closed_loop() {
    for bug in [
        Bug::CountsFromAcknowledgement,
        Bug::SupersedesThoughNotStopped,
        Bug::EvictionWithoutWaiting,
        Bug::AcknowledgedWithoutNews,
        Bug::ShortenedAtTheStoreFirst,
        Bug::LengthenedAtTheHolderFirst,
    ] {
        let caught = (0..RUNS).find_map(|seed| World::new(seed, Some(bug)).run().err());
        assert!(caught.is_some(), "{bug:?} was not noticed");
    }
}

/// Tells how to repeat a run, also when one of the machines itself has panicked.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("repeat with: TENURE_SEED={seed} cargo test -p tenure-core closed_loop");
        }
    }
}
