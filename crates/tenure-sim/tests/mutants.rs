//! The test of the test: each planted bug is caught, and by an invariant that is there for it.
//! (D. Ongaro's and openraft's practice: a net that has never caught anything proves nothing.)
#![allow(clippy::print_stdout)] // which invariant catches what is the point

use tenure_sim::{Mutant, Outcome, Report, StoreMutant, hunt, run, run_store};

/// Where each was seen first. A change of the simulator moves them; then they are looked for
/// again, which only takes longer.
const SEEN_FIRST: &[(Mutant, u64)] = &[
    (Mutant::RenewedWithoutRound, 15),
    (Mutant::CountsFromReceipt, 5),
    (Mutant::NoDrift, 10),
    (Mutant::ClockStandsStill, 45),
    (Mutant::FastExpiry, 3),
    (Mutant::WallClockDeadlines, 14),
    (Mutant::DeposedExpires, 1),
    (Mutant::EvictionAtOnce, 10),
    (Mutant::NewsWithheld, 2),
    (Mutant::InstallUntold, 728),
    (Mutant::EndOfFileIsDeath, 1),
    (Mutant::SupersedesWhileWorking, 5),
    (Mutant::ResignsWhileWorking, 1),
    (Mutant::GateOpen, 2),
    (Mutant::PersistedEarly, 20),
    (Mutant::SnapshotForgetsSessions, 1),
    (Mutant::LostDiskOldId, 0),
    (Mutant::AnsweredBeforeCommit, 0),
    (Mutant::UnknownIsNo, 6),
    (Mutant::StrangersUnanswered, 0),
    (Mutant::NeverRepeats, 5),
    (Mutant::DeathNamesCandidate, 22),
    (Mutant::TwoChangesAtOnce, 5),
    (Mutant::ShortenedAtQuorumFirst, 118),
    (Mutant::LengthenedAtHolderFirst, 58),
];

/// Seeds that are tried when the recorded one shows nothing.
const BUDGET: u64 = 1600;

type Run<'a> = &'a (dyn Fn(u64) -> Outcome + Sync);

fn caught(first: u64, meant: &[&str], run: Run<'_>) -> Option<(u64, &'static str)> {
    let counted = |seed: u64| run(seed).counting(meant);
    if let Some(violation) = counted(first).violation {
        return Some((first, violation.invariant));
    }
    let stop = |seed: u64, report: &Report| seed >= BUDGET || report.failures > 0;
    let report = hunt(0, 2, &counted, &stop);
    let outcome = report.failed.into_iter().next()?;
    outcome.violation.map(|violation| (outcome.seed, violation.invariant))
}

/// Gives what is wrong, if anything.
fn judge(name: &str, first: u64, meant: &[&str], run: Run<'_>) -> Option<String> {
    let Some((seed, invariant)) = caught(first, meant, run) else {
        return Some(format!("{name}: not caught by any of {meant:?}"));
    };
    println!("{name}: caught by {invariant} with seed {seed}");
    None
}

#[test]
fn every_bug_planted_around_the_quorum_is_caught() {
    let holes = Mutant::ALL.iter().filter_map(|mutant| {
        let first = SEEN_FIRST.iter().find(|(known, _)| known == mutant).map_or(0, |it| it.1);
        let planted = |seed: u64| run(seed, Some(*mutant), false);
        judge(mutant.as_str(), first, mutant.caught_by(), &planted)
    });
    let holes: Vec<String> = holes.collect();
    assert!(holes.is_empty(), "holes in the net:\n{}", holes.join("\n"));
}

#[test]
fn every_bug_planted_around_a_store_is_caught() {
    let holes = StoreMutant::ALL.iter().filter_map(|mutant| {
        let planted = |seed: u64| run_store(mutant.store(), seed, Some(*mutant), false);
        judge(mutant.as_str(), 0, mutant.caught_by(), &planted)
    });
    let holes: Vec<String> = holes.collect();
    assert!(holes.is_empty(), "holes in the net:\n{}", holes.join("\n"));
}
