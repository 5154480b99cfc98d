//! `cargo xtask bench failover`: rounds of every system in turn, one running
//! at a time, so that all of them meet the same moods of the machine.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::etcd::Etcd;
use super::floor::Floor;
use super::ours::{Idle, Ours};
use super::report::Report;
use super::stats::{Case, Hiccups, Sample, Summary, Timing, flush, flush_file, load_average};
use crate::failure::{Failure, Outcome};
use crate::install;

/// How long the machine is listened to before each turn.
const CALM: Duration = Duration::from_millis(100);

/// Options of the bench.
#[derive(Args)]
pub(crate) struct FailoverArgs {
    /// How often each system plays each case
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Measure these alone (repeat it, or separate by commas)
    #[arg(long, value_delimiter = ',')]
    only: Vec<Family>,
    /// Play these cases alone
    #[arg(long, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Five rounds, a short look at the idle cluster
    #[arg(long)]
    quick: bool,
    /// Where data, logs and the report go; a real disk, or the flushes mean nothing
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
    /// Seconds to watch the idle cluster; 0 leaves it out
    #[arg(long, default_value_t = 30)]
    idle: u64,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    Ours,
    Etcd,
    Floor,
}

/// One column of the report.
enum Driver {
    Floor(Floor),
    Etcd(Etcd),
    Ours(Ours),
}

struct System {
    name: &'static str,
    driver: Driver,
}

impl System {
    /// One turn: every case once.
    fn turn(&mut self, cases: &[Case]) -> Outcome<Vec<(Case, Outcome<Timing>)>> {
        match &mut self.driver {
            Driver::Floor(floor) => {
                Ok(cases.iter().map(|case| (*case, floor.measure(*case))).collect())
            }
            Driver::Etcd(etcd) => etcd.turn(cases),
            Driver::Ours(ours) => ours.turn(cases),
        }
    }
}

/// Runs the bench and prints its report.
pub(crate) fn run(args: &FailoverArgs) -> Outcome {
    let rounds = if args.quick { args.rounds.min(5) } else { args.rounds };
    let idle = Duration::from_secs(if args.quick { args.idle.min(10) } else { args.idle });
    let cases: &[Case] = if args.cases.is_empty() { &Case::ALL } else { &args.cases };
    let target = install::workspace().join("target/bench");
    let out = args.out.clone().unwrap_or_else(|| target.join("failover"));
    let cannot_write = |why: std::io::Error| {
        Failure::new(format!("cannot write to {}", out.display()), why, "choose another --out")
    };
    std::fs::create_dir_all(&out).map_err(cannot_write)?;
    // Children run elsewhere: the path must not depend on where one stands.
    let out = out.canonicalize().map_err(cannot_write)?;
    let wanted = |family| args.only.is_empty() || args.only.contains(&family);
    let mut systems = systems(wanted, args.tenure.as_deref(), &out, &target)?;

    let probe = flush_file(&out).map_err(cannot_write)?;
    let mut flushes = Vec::new();
    let mut samples = Vec::new();
    let begun = Instant::now();
    let load_before = load_average();
    // One list for the calm before each system's turns, one for all turns.
    let hiccups = Hiccups::start(systems.len() + 1);
    let running = systems.len();
    for round in 1..=rounds {
        for (index, system) in systems.iter_mut().enumerate() {
            hiccups.during(index);
            thread::sleep(CALM);
            hiccups.during(running);
            flushes.extend(flush(&probe));
            let turn = Instant::now();
            let results = system.turn(cases);
            let fresh = collect(round, system.name, cases, results);
            progress(round, rounds, system.name, turn.elapsed(), &fresh);
            samples.extend(fresh);
        }
        tell_eta(round, rounds, begun);
    }
    let hiccups = hiccups.stop();
    let ours = systems.iter().rev().find_map(|system| match &system.driver {
        Driver::Ours(ours) => Some(ours),
        _ => None,
    });
    let idle = match ours {
        Some(ours) if !idle.is_zero() => watch_idle(ours, idle),
        _ => None,
    };
    let names: Vec<&str> = systems.iter().map(|system| system.name).collect();
    let report = Report {
        rounds,
        given: args.tenure.as_ref().map(|path| path.display().to_string()),
        seconds: begun.elapsed().as_secs_f64(),
        load: [load_before, load_average()],
        flush: Summary::of(flushes),
        hiccups: names.iter().copied().chain(["all turns"]).zip(hiccups).collect(),
        systems: names,
        cases: cases.to_vec(),
        samples,
        idle,
    };
    finish(&report, &out, args.json)
}

fn systems(
    wanted: impl Fn(Family) -> bool,
    tenure: Option<&Path>,
    out: &Path,
    target: &Path,
) -> Outcome<Vec<System>> {
    let mut systems = Vec::new();
    if wanted(Family::Floor) {
        for (name, nodes) in [("floor-3", 3), ("floor-5", 5)] {
            systems.push(System { name, driver: Driver::Floor(Floor::new(nodes, out)?) });
        }
    }
    if wanted(Family::Ours) {
        let program = match tenure {
            Some(given) => given.canonicalize().map_err(|why| {
                Failure::new(format!("cannot find {}", given.display()), why, "check --tenure")
            })?,
            None => Ours::build()?,
        };
        for (name, nodes) in [("ours-3", 3), ("ours-5", 5)] {
            systems.push(System { name, driver: Driver::Ours(Ours::new(&program, out, nodes)?) });
        }
    }
    if wanted(Family::Etcd) {
        let cache = target.join("debian");
        let program =
            install::unpacked("etcd", "etcd-server", "the bench compares with it", &cache)?;
        for (name, tuning) in [("etcd", None), ("etcd-tuned", Some((10, 100)))] {
            let etcd = Etcd::new(&program, out, name, tuning)?;
            systems.push(System { name, driver: Driver::Etcd(etcd) });
        }
    }
    Ok(systems)
}

fn collect(
    round: usize,
    system: &str,
    cases: &[Case],
    results: Outcome<Vec<(Case, Outcome<Timing>)>>,
) -> Vec<Sample> {
    let sample = |case, result: Outcome<Timing>| {
        let (timing, error) = match result {
            Ok(timing) => (Some(timing), None),
            Err(failure) => (None, Some(failure.brief())),
        };
        Sample { round, system: system.to_owned(), case, timing, error }
    };
    match results {
        Ok(results) => results.into_iter().map(|(case, result)| sample(case, result)).collect(),
        // The system did not come up: that fails what would have come first.
        Err(failure) => cases.first().map(|case| sample(*case, Err(failure))).into_iter().collect(),
    }
}

fn progress(round: usize, rounds: usize, system: &str, took: Duration, samples: &[Sample]) {
    let figures: Vec<String> = samples
        .iter()
        .map(|sample| match (&sample.timing, &sample.error) {
            (Some(Timing { grant_ns: Some(ns), .. }), _) => {
                format!("{:?} {}", sample.case, super::report::milliseconds(*ns))
            }
            (_, Some(error)) => format!("{:?} FAILED ({error})", sample.case),
            _ => format!("{:?} -", sample.case),
        })
        .collect();
    let took = took.as_secs_f32();
    eprintln!("[{round}/{rounds}] {system:<10} {took:5.1} s  {}", figures.join(", "));
}

fn tell_eta(round: usize, rounds: usize, begun: Instant) {
    let done = begun.elapsed().as_secs_f64();
    let left = done / round as f64 * (rounds - round) as f64;
    eprintln!("[{round}/{rounds}] {done:.0} s so far, about {left:.0} s to go");
}

fn watch_idle(ours: &Ours, time: Duration) -> Option<Vec<Idle>> {
    eprintln!("watching an idle cluster for {} s", time.as_secs());
    ours.idle(time).inspect_err(|failure| eprintln!("could not: {failure}")).ok()
}

fn finish(report: &Report, out: &Path, json: bool) -> Outcome {
    let as_json = report.json();
    let as_text = report.text();
    let file = |name: &str, text: &str| {
        std::fs::write(out.join(name), text).map_err(|why| {
            Failure::new(format!("cannot write {name}"), why, "choose another --out")
        })
    };
    file("report.json", &as_json)?;
    file("report.txt", &as_text)?;
    println!("{}", if json { &as_json } else { &as_text });
    eprintln!("report and logs: {}", out.display());
    let failed = report.samples.iter().filter(|sample| sample.error.is_some()).count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(
            format!("{failed} of {} measurements failed", report.samples.len()),
            "see FAILED in the progress above",
            format!("the logs are in {}", out.display()),
        )),
    }
}
