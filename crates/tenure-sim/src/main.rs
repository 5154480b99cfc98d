//! `cargo xtask sim` runs this: a hunt over many seeds, or one seed with its trace.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tenure_sim::{Mutant, Report, hunt, run};

const USAGE: &str = "usage: tenure-sim --seeds N [--from S] | --seed S [--quiet] | --minutes M \
                     | --mutants   [--mutant NAME] [--threads T]";

#[derive(Debug, Default)]
struct Args {
    seeds: Option<u64>,
    from: u64,
    seed: Option<u64>,
    minutes: Option<u64>,
    mutants: bool,
    mutant: Option<Mutant>,
    threads: usize,
    quiet: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { threads: 1, ..Args::default() };
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value.parse().map_err(|_| format!("{word} needs a number, not {value}"))
        };
        match word.as_str() {
            "--seeds" => args.seeds = Some(number()?),
            "--from" => args.from = number()?,
            "--seed" => args.seed = Some(number()?),
            "--minutes" => args.minutes = Some(number()?),
            "--threads" => args.threads = usize::try_from(number()?).unwrap_or(1),
            "--mutants" => args.mutants = true,
            "--quiet" => args.quiet = true,
            "--mutant" => {
                let name = words.next().unwrap_or_default();
                let known = Mutant::named(&name);
                args.mutant = Some(known.ok_or_else(|| format!("there is no mutant {name}"))?);
            }
            _ => return Err(format!("{word}?")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let good = match args {
        Args { seed: Some(seed), mutant, quiet, .. } => one(seed, mutant, quiet),
        Args { mutants: true, from, seeds, threads, .. } => {
            mutants(from, seeds.unwrap_or(400), threads)
        }
        Args { seeds: None, minutes: None, .. } => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        args => many(&args),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, mutant: Option<Mutant>, quiet: bool) -> bool {
    let outcome = run(seed, mutant, !quiet);
    print!("{}", outcome.trace);
    println!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
    match &outcome.violation {
        Some(violation) => println!("BROKEN: {violation}"),
        None => println!("all invariants held"),
    }
    outcome.violation.is_none()
}

fn many(args: &Args) -> bool {
    let started = Instant::now();
    let last = args.seeds.map(|seeds| args.from + seeds);
    let minutes = args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let stop = |seed: u64, _: &Report| {
        last.is_some_and(|last| seed >= last)
            || minutes.is_some_and(|minutes| started.elapsed() >= minutes)
    };
    let report = hunt(args.from, args.threads, args.mutant, &stop);
    print!("{report}");
    let never = report.never();
    // A kind that is rare needs some seeds to show.
    let judged = report.seeds >= 500;
    for kind in &never {
        println!("never applied: {}", kind.as_str());
    }
    report.failed.is_empty() && (never.is_empty() || !judged)
}

/// Every planted bug must be caught, by an invariant that is there for it.
fn mutants(from: u64, seeds: u64, threads: usize) -> bool {
    let mut good = true;
    // A planted bug may well make a machine panic.
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in Mutant::ALL {
        let stop = |seed: u64, report: &Report| seed >= from + seeds || !report.failed.is_empty();
        let report = hunt(from, threads, Some(*mutant), &stop);
        let first = report.failed.first().and_then(|outcome| outcome.violation.as_ref());
        match (first, report.failed.first()) {
            (Some(violation), Some(outcome)) => {
                let meant = mutant.caught_by().contains(&violation.invariant);
                good &= meant;
                let note = if meant { "" } else { "  (NOT the invariant that is meant)" };
                println!(
                    "{:<28} caught by {} with seed {}{note}",
                    mutant.as_str(),
                    violation.invariant,
                    outcome.seed
                );
            }
            _ => {
                good = false;
                println!("{:<28} NOT CAUGHT in {} seeds", mutant.as_str(), report.seeds);
            }
        }
    }
    good
}
