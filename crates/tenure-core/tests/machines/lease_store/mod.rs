//! Contenders and registrars on a store that knows only leases: slow and lost answers, steps
//! that take effect after they were given up, lost hints, pauses, restarts, and clocks that run
//! fast or slow, against true time.
//!
//! One run again: `TENURE_SEED=17 cargo test -p tenure-core lease_store`; more of them:
//! `TENURE_RUNS=100000`.

mod process;
mod store;
mod world;

use world::World;

/// Mistakes that the loop must notice, planted in the store or in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// The store ends leases a tenth too early.
    ShortLeases,
    /// The holder takes off the drift of one clock only.
    OneDrift,
    /// A renewal that had no answer counts as acknowledged.
    SilenceIsConsent,
    /// A renewal counts for tenures that it did not name.
    UnnamedRenewed,
    /// The store forgets its tokens with the lease.
    TokensForgotten,
}

const RUNS: u64 = 150;
/// Runs in which each planted bug must show.
const BUDGET: u64 = 3000;

#[test]
fn at_most_one_believes_on_a_store_of_leases() {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().expect("a number"));
    let seeds: Vec<u64> = match number("TENURE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TENURE_RUNS").unwrap_or(RUNS)).collect(),
    };
    for seed in seeds {
        if let Err(why) = World::new(seed, None).run() {
            panic!("{why}; again: TENURE_SEED={seed} cargo test -p tenure-core lease_store");
        }
    }
}

/// The net has to catch what it is there for.
#[test]
fn planted_bugs_are_caught_on_a_store_of_leases() {
    // Each with the seed where it was seen first: a change of the loop only makes it slower.
    for (bug, first) in [
        (Bug::ShortLeases, 1),
        (Bug::OneDrift, 18),
        (Bug::SilenceIsConsent, 288),
        (Bug::UnnamedRenewed, 1167),
        (Bug::TokensForgotten, 0),
    ] {
        let is_caught = |seed: &u64| World::new(*seed, Some(bug)).run().is_err();
        let caught = (first..first + BUDGET).find(is_caught);
        println!("{bug:?}: seed {caught:?}");
        assert!(caught.is_some(), "{bug:?} was not noticed");
    }
}
