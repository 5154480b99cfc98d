//! A few hundred seeds with every change; `cargo xtask sim` runs more of them.

use tenure_sim::{Report, hunt, run};

const SEEDS: u64 = 200;

#[test]
fn all_invariants_hold_on_the_first_seeds() {
    let stop = |seed: u64, _: &Report| seed >= SEEDS;
    let report = hunt(0, 2, None, &stop);
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.grants > 0 && report.fenced_off > 0, "{report}");
}

#[test]
fn two_runs_of_one_seed_are_the_same_to_the_byte() {
    for seed in [3, 17, 61] {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!((one.hash, one.events), (other.hash, other.events), "seed {seed}");
    }
    assert_ne!(run(3, None, false).hash, run(4, None, false).hash);
    // Whether anybody reads the trace changes nothing.
    assert_eq!(run(5, None, true).hash, run(5, None, false).hash);
}
