//! Hunts over many seeds, with a word on the way.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tenure_sim::{Mutant, Outcome, Report, Store, StoreMutant, hunt, run, run_store};

use crate::args::Args;

/// A kind of fault that is rare needs some seeds to show; with this many, one that was never
/// applied fails the hunt.
const JUDGED_FROM: u64 = 500;
/// How often a long hunt says how far it is.
const WORD_EVERY: Duration = Duration::from_secs(10);

/// Runs seeds over the quorum, then over every modelled store, or over the one that was named.
pub(crate) fn many(args: &Args) -> bool {
    let started = Instant::now();
    let minutes = args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let stores: Vec<Store> = args.store.map_or(Store::ALL.to_vec(), |store| vec![store]);
    let mut reports = Vec::new();
    if args.store.is_none() {
        // The stores' runs are short: they get the last tenth of the time.
        let share = minutes.map(|all| all * 9 / 10);
        let planted = args.mutant;
        reports.push(series(args, "quorum", started, share, &|seed| run(seed, planted, false)));
    }
    if args.mutant.is_none() {
        let planted = args.store_mutant;
        let over = |seed: u64| {
            let at = usize::try_from(seed % stores.len() as u64).unwrap_or(0);
            run_store(stores[at], seed / stores.len() as u64, planted, false)
        };
        reports.push(series(args, "stores", started, minutes, &over));
    }
    let json = reports.iter().map(|(name, report)| ((*name).to_owned(), report.to_json()));
    if args.json {
        println!("{}", serde_json::Value::Object(json.collect()));
    }
    let mut good = true;
    for (name, report) in &reports {
        good &= report.failures == 0;
        if !args.json {
            println!("== {name}\n{report}");
        }
        for kind in report.never() {
            eprintln!("{name}: never applied: {}", kind.as_str());
            good &= report.seeds < JUDGED_FROM;
        }
    }
    good
}

fn series(
    args: &Args,
    name: &'static str,
    started: Instant,
    until: Option<Duration>,
    run: &(dyn Fn(u64) -> Outcome + Sync),
) -> (&'static str, Report) {
    let last = args.seeds.map(|seeds| args.from + seeds);
    let spoken = Mutex::new(Instant::now());
    let stop = |seed: u64, report: &Report| {
        let mut spoken = spoken.lock().unwrap_or_else(PoisonError::into_inner);
        if spoken.elapsed() >= WORD_EVERY {
            *spoken = Instant::now();
            let (failures, took) = (report.failures, started.elapsed().as_secs());
            eprintln!("{took:>6} s  {name}: {} runs, {failures} failed", report.seeds);
        }
        last.is_some_and(|last| seed >= last)
            || until.is_some_and(|until| started.elapsed() >= until)
    };
    (name, hunt(args.from, args.threads, run, &stop))
}

/// Every planted bug must be caught, by an invariant that is there for it.
pub(crate) fn mutants(args: &Args) -> bool {
    // A planted bug may well make a machine panic.
    std::panic::set_hook(Box::new(|_| {}));
    let mut good = true;
    for mutant in Mutant::ALL {
        let by = mutant.caught_by();
        good &= catch(args, mutant.as_str(), by, &|seed| run(seed, Some(*mutant), false));
    }
    for mutant in StoreMutant::ALL {
        let (store, by) = (mutant.store(), mutant.caught_by());
        let planted = |seed: u64| run_store(store, seed, Some(*mutant), false);
        good &= catch(args, &format!("{} {}", store.as_str(), mutant.as_str()), by, &planted);
    }
    good
}

fn catch(args: &Args, name: &str, by: &[&str], run: &(dyn Fn(u64) -> Outcome + Sync)) -> bool {
    let last = args.from + args.seeds.unwrap_or(800);
    let stop = |seed: u64, report: &Report| seed >= last || report.failures > 0;
    let report = hunt(args.from, args.threads, &|seed| run(seed).counting(by), &stop);
    let caught = report.failed.first();
    let found = caught.and_then(|outcome| Some((outcome.violation.as_ref()?, outcome)));
    let Some((violation, outcome)) = found else {
        println!("{name:<36} NOT CAUGHT by {} in {} seeds", by.join(", "), report.seeds);
        return false;
    };
    println!("{name:<36} caught by {}: {}", violation.invariant, outcome.replay());
    true
}
