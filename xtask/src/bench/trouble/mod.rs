//! Clusters that something is done to while they work: `cargo xtask bench availability` and
//! `cargo xtask bench storm`. How available leadership was is judged afterwards, by what every
//! node said with its own stamps.

mod curve;
mod fleet;
mod journal;
mod judge;
mod load;
mod plan;
mod play;
mod report;
mod storm;
mod timeline;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use self::storm::{StormArgs, storm};

use self::fleet::{Fleet, VOTERS};
use self::judge::{Rules, judge};
use super::ours::Ours;
use super::process::now;
use super::stats::{Hiccups, load_average};
use crate::failure::{Failure, Outcome};
use crate::install;

/// Length of the leases.
const TTL: Duration = Duration::from_secs(2);
/// Nodes that come up in a second at the very least, on a machine that does other things, too.
const PER_SECOND: u64 = 4;
/// Nodes that may be on their way into the cluster at the same time, when nothing is tried.
const JOIN_AT_ONCE: usize = 32;
/// A node that listens counts after this, whatever it shows.
const JOINS_WITHIN: Duration = Duration::from_secs(5);
/// How long the cluster is left alone before and after.
const CALM: Duration = Duration::from_secs(3);

/// Options of the bench.
#[derive(Args)]
pub(crate) struct AvailabilityArgs {
    /// Size of the cluster
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=2000))]
    nodes: u32,
    /// How often something is done to a node
    #[arg(long, default_value_t = 100)]
    actions: usize,
    /// Chooses what is done to whom and when; the same number gives the same plan
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Mean distance of two actions, in milliseconds
    #[arg(long, default_value_t = 4000)]
    every: u32,
    /// Elections that sessions of their own hold meanwhile, ten on each
    #[arg(long, default_value_t = 500)]
    held: u32,
    /// Sessions that win an election and give it up meanwhile, each 20 times a second
    #[arg(long, default_value_t = 4)]
    changing: u32,
    /// Build the other work without optimisation: quicker to begin
    #[arg(long)]
    unoptimised: bool,
    /// Print the plan as JSON and do nothing
    #[arg(long)]
    plan: bool,
    /// The founding nodes, which vote, schedule their threads in real time
    #[arg(long)]
    realtime: bool,
    /// More arguments for every node: --with "--election-timeout=50ms..500ms"
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    with: String,
    /// Print the report as JSON instead of text
    #[arg(long)]
    json: bool,
    /// Where data, logs, the report and the picture go
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
}

/// Runs the bench of trouble and prints its report.
pub(crate) fn availability(args: &AvailabilityArgs) -> Outcome {
    let every = Duration::from_millis(u64::from(args.every));
    let plan = plan::plan(args.seed, args.actions, every, TTL);
    if args.plan {
        println!("{}", serde_json::to_string_pretty(&plan).unwrap_or_default());
        return Ok(());
    }
    let out = directory(args.out.as_deref(), "availability")?;
    let program = program(args.tenure.as_deref())?;
    let has_load = args.held + args.changing > 0;
    let worker = if has_load { Some(load::build(!args.unoptimised)?) } else { None };
    let before = load_average();
    let mut fleet = Fleet::new(&program, &out.join("nodes"), TTL)?;
    fleet.more = args.with.split_whitespace().map(str::to_owned).collect();
    fleet.more_for_founders = realtime(args.realtime);
    form(&mut fleet, args.nodes as usize, JOIN_AT_ONCE)?;
    let start =
        |worker: PathBuf| load::Work::start(&worker, &fleet.url(), args.held, args.changing, TTL);
    let work = worker.map(start).transpose()?;
    eprintln!("{} elections are held beside, {} sessions change", args.held, args.changing);
    let hiccups = Hiccups::start(1);
    fleet.listen_until(std::time::Instant::now() + CALM);
    let from = now();
    let played = play::play(&mut fleet, &plan, |number, done| {
        let after = Duration::from_nanos(done.at - from).as_secs_f64();
        let lasts =
            if done.lasts_ms > 0 { format!(" for {} ms", done.lasts_ms) } else { String::new() };
        eprintln!(
            "[{number}/{}] {after:6.1} s  {} {} ({}){lasts}",
            args.actions, done.did, done.node, done.was
        );
    });
    let to = now();
    fleet.listen_until(std::time::Instant::now() + CALM);
    // First of all: of a run that failed it is the only evidence.
    write(&out, "journal.jsonl", &fleet.journal.lines())?;
    let played = played?;
    let hiccups = hiccups.stop().into_iter().next().flatten();
    let load = work.map(load::Work::stop).transpose()?.unwrap_or_default();
    fleet.end();
    let rules = Rules { ttl: nanos(TTL), joins_within: nanos(JOINS_WITHIN), wakes_within: 0 };
    let lenient = Rules { wakes_within: nanos(TTL), ..rules };
    let entries = &fleet.journal.entries;
    let report = report::Report {
        nodes: args.nodes as usize,
        seed: args.seed,
        actions: args.actions,
        skipped: played.skipped,
        ttl_ms: TTL.as_secs_f64() * 1000.0,
        settings: report::settings(args.realtime, &args.with),
        span: (from, to),
        done: played.done,
        strict: judge(entries, from, to, rules),
        lenient: judge(entries, from, to, lenient),
        load,
        hiccups,
        load_average: [before, load_average()],
    };
    let title = format!(
        "{} nodes, {} actions: {} available",
        report.nodes,
        report.actions,
        report::percent(report.strict.availability())
    );
    let svg = timeline::draw(&title, report.span, &report.done, &report.strict.gaps);
    write(&out, "availability.svg", &svg)?;
    write(&out, "availability.json", &report.json())?;
    println!("{}", if args.json { report.json() } else { report.text() });
    eprintln!("report and picture: {}", out.display());
    Ok(())
}

/// What the founding nodes are told besides.
fn realtime(wanted: bool) -> Vec<String> {
    wanted.then(|| String::from("--realtime")).into_iter().collect()
}

/// Brings up a cluster of this size, so many at once.
fn form(fleet: &mut Fleet, nodes: usize, at_once: usize) -> Outcome {
    let patience = Duration::from_secs(20) + Duration::from_secs(nodes as u64 / PER_SECOND);
    for founder in fleet.founders().to_vec() {
        fleet.start(&founder)?;
    }
    fleet.listen_for("the voters to agree on a leader", patience, Fleet::agrees)?;
    let mut started = VOTERS;
    while started < nodes {
        let name = fleet.name_one()?;
        fleet.start(&name)?;
        started += 1;
        fleet.listen_for("nodes to join", patience, |fleet| {
            let here = fleet.running().filter(|node| fleet.journal.listens(node)).count();
            started - here < at_once
        })?;
        if started.is_multiple_of(100) {
            eprintln!("{started} nodes are started");
        }
    }
    fleet.listen_for("every node to show the same leader", patience, Fleet::agrees)?;
    eprintln!("{nodes} nodes run and show one leader");
    Ok(())
}

fn directory(given: Option<&Path>, name: &str) -> Outcome<PathBuf> {
    // Each node is held by descriptors, here and in what it starts.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let usual = || install::target().join("bench").join(name);
    let out = given.map_or_else(usual, Path::to_path_buf);
    let made = std::fs::create_dir_all(&out).and_then(|()| out.canonicalize());
    made.map_err(|why| {
        Failure::new(format!("cannot write to {}", out.display()), why, "choose another --out")
    })
}

fn program(given: Option<&Path>) -> Outcome<PathBuf> {
    let Some(given) = given else { return Ours::build() };
    given.canonicalize().map_err(|why| {
        Failure::new(format!("cannot find {}", given.display()), why, "check --tenure")
    })
}

fn write(out: &Path, name: &str, text: &str) -> Outcome {
    std::fs::write(out.join(name), text)
        .map_err(|why| Failure::new(format!("cannot write {name}"), why, "choose another --out"))
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
