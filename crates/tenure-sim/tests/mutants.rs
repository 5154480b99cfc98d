//! The test of the test: each planted bug is caught, and by an invariant that is there for it.
//! (D. Ongaro's and openraft's practice: a net that has never caught anything proves nothing.)

use tenure_sim::{Mutant, Report, hunt, run};

/// Where each was seen first. A change of the simulator moves them; then they are looked for
/// again, which only takes longer.
const SEEN_FIRST: [(Mutant, u64); 26] = [
    (Mutant::RenewedWithoutRound, 142),
    (Mutant::CountsFromReceipt, 15),
    (Mutant::NoDrift, 18),
    (Mutant::ClockStandsStill, 2),
    (Mutant::FastExpiry, 5),
    (Mutant::WallClockDeadlines, 14),
    (Mutant::DeposedExpires, 1),
    (Mutant::EvictionAtOnce, 29),
    (Mutant::NewsWithheld, 2),
    (Mutant::InstallUntold, 219),
    (Mutant::EndOfFileIsDeath, 3),
    (Mutant::SameIncarnation, 0),
    (Mutant::SupersedesWhileWorking, 1),
    (Mutant::ResignsWhileWorking, 1),
    (Mutant::GateOpen, 2),
    (Mutant::TokensCountFromStart, 0),
    (Mutant::VoteNotWritten, 0),
    (Mutant::PersistedEarly, 12),
    (Mutant::SnapshotForgetsSessions, 1),
    (Mutant::LostDiskOldId, 1),
    (Mutant::AnsweredBeforeCommit, 1),
    (Mutant::UnknownIsNo, 1),
    (Mutant::ConfirmedFromMemory, 0),
    (Mutant::WatchGoesBack, 0),
    (Mutant::StrangersUnanswered, 361),
    (Mutant::NeverRepeats, 1),
];

/// Seeds that are tried when the recorded one shows nothing.
const BUDGET: u64 = 800;

fn caught(mutant: Mutant, first: u64) -> Option<(u64, &'static str)> {
    if let Some(violation) = run(first, Some(mutant), false).violation {
        return Some((first, violation.invariant));
    }
    let stop = |seed: u64, report: &Report| seed >= BUDGET || !report.failed.is_empty();
    let report = hunt(0, 2, Some(mutant), &stop);
    let outcome = report.failed.into_iter().next()?;
    outcome.violation.map(|violation| (outcome.seed, violation.invariant))
}

#[test]
fn every_planted_bug_is_caught() {
    assert!(Mutant::ALL.iter().all(|mutant| SEEN_FIRST.iter().any(|(known, _)| known == mutant)));
    let mut holes = Vec::new();
    for (mutant, first) in SEEN_FIRST {
        let name = mutant.as_str();
        match caught(mutant, first) {
            Some((seed, invariant)) if mutant.caught_by().contains(&invariant) => {
                println!("{name}: caught by {invariant} with seed {seed}");
            }
            other => holes.push(format!("{name}: {other:?}, meant {:?}", mutant.caught_by())),
        }
    }
    assert!(holes.is_empty(), "holes in the net:\n{}", holes.join("\n"));
}
