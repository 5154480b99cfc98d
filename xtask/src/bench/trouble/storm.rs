//! `cargo xtask bench storm`: all members join at once, then every node is started again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;
use serde::Serialize;
use serde_json::json;

use super::fleet::{Fleet, VOTERS};
use super::journal::{Entry, What};
use super::judge::{Rules, Verdict, judge};
use super::plan::Kind;
use super::play::Done;
use super::report::{millis, percent, settings};
use super::{JOINS_WITHIN, PER_SECOND, TTL, curve, directory, nanos, program, timeline, write};
use crate::bench::ours::{cpu_ns, kilobytes};
use crate::bench::process::now;
use crate::bench::stats::load_average;
use crate::bench::table::ms;
use crate::failure::Outcome;

/// How often it is looked whether a process has given up.
const LOOK: Duration = Duration::from_millis(20);

/// Options of the bench.
#[derive(Args)]
pub(crate) struct StormArgs {
    /// Size of the cluster; all but the voters join at once
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=2000))]
    nodes: u32,
    /// Members that are started again at the same time; voters always one by one
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,
    /// The founding nodes, which vote, schedule their threads in real time
    #[arg(long)]
    realtime: bool,
    /// Print the report as JSON instead of text
    #[arg(long)]
    json: bool,
    /// Where data, logs, the report and the pictures go
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
}

/// What one half of it showed; times in milliseconds.
#[derive(Debug, Clone, Serialize)]
struct Phase {
    /// From its beginning until the last node showed the leader.
    all_ms: f64,
    /// From its beginning until the last process was started.
    started_ms: f64,
    /// Processes that ended because they could not join, and were started again.
    gave_up: usize,
    /// Share of the time in which every live node showed the valid leader.
    availability: f64,
    /// Share of the time in which there was a valid leader.
    led: f64,
    longest_gap_ms: f64,
    longest_leaderless_ms: f64,
    gaps: usize,
    /// Tenures that began, those among them that no restart explains, and those that began while
    /// another was still valid.
    grants: usize,
    unprovoked: usize,
    overlaps: usize,
    /// From the start of a process until it shows the leader: median and slowest.
    join_ms: [f64; 2],
    /// Processor time of the dearest voter, in milliseconds, and its share of a core.
    voter_cpu_ms: f64,
    voter_cpu_percent: f64,
    /// Largest resident memory of a voter afterwards, in MB.
    voter_rss_mb: f64,
}

/// Runs both halves and prints the report.
pub(crate) fn storm(args: &StormArgs) -> Outcome {
    let out = directory(args.out.as_deref(), "storm")?;
    let program = program(args.tenure.as_deref())?;
    let before = load_average();
    let mut fleet = Fleet::new(&program, &out.join("nodes"), TTL)?;
    fleet.more_for_founders = super::realtime(args.realtime);
    let nodes = args.nodes as usize;
    super::form(&mut fleet, VOTERS, VOTERS)?;
    let (joined, storm) = measured(&mut fleet, |fleet| join(fleet, nodes))?;
    write(&out, "storm.svg", &curve::draw(&joined.title(nodes), &joined.curves(&fleet)))?;
    eprintln!("all in after {}", ms(storm.all_ms));
    let (restarted, rolling) = measured(&mut fleet, |fleet| roll(fleet, args.at_once as usize))?;
    eprintln!("all restarted after {}", ms(rolling.all_ms));
    let title = format!(
        "{nodes} nodes restarted, {} at a time: {} available",
        args.at_once,
        percent(rolling.availability)
    );
    // A mark for each member would hide the others.
    let marks: Vec<_> = restarted.done.iter().filter(|it| it.was != "member").cloned().collect();
    let gaps = &restarted.verdict.gaps;
    write(&out, "rolling.svg", &timeline::draw(&title, restarted.span, &marks, gaps))?;
    write(&out, "journal.jsonl", &fleet.journal.lines())?;
    fleet.end();
    let report = json!({
        "v": 1,
        "bench": "storm",
        "nodes": nodes,
        "at_once": args.at_once,
        "ttl_ms": TTL.as_secs_f64() * 1000.0,
        "settings": settings(args.realtime, ""),
        "storm": storm,
        "rolling": rolling,
        "load_average": [before, load_average()],
    });
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    write(&out, "storm.json", &json)?;
    println!("{}", if args.json { json } else { text(args, &storm, &rolling) });
    eprintln!("report and pictures: {}", out.display());
    Ok(())
}

/// When something happened, and what came of it.
struct Measured {
    span: (u64, u64),
    done: Vec<Done>,
    verdict: Verdict,
}

/// What a half of the bench did: when its last process was started, and the marks for a picture.
struct Half {
    started: u64,
    gave_up: usize,
    done: Vec<Done>,
}

fn measured(
    fleet: &mut Fleet,
    work: impl FnOnce(&mut Fleet) -> Outcome<Half>,
) -> Outcome<(Measured, Phase)> {
    let founders = fleet.founders().to_vec();
    // A voter that is started again begins at nothing, so parts are added up.
    let used = |fleet: &Fleet| -> Vec<(String, Option<u32>, u64)> {
        let of = |node: &String| {
            let pid = fleet.pid(node);
            (node.clone(), pid, pid.map_or(0, cpu_ns))
        };
        founders.iter().map(of).collect()
    };
    let (before, from) = (used(fleet), now());
    let Half { started, gave_up, done } = work(fleet)?;
    let to = now();
    let cpu = used(fleet).into_iter().zip(before).map(|((_, pid, after), (_, old, before))| {
        if pid == old { after.saturating_sub(before) } else { after }
    });
    let cpu = cpu.max().unwrap_or(0);
    let rss = |node: &String| {
        fleet.pid(node).map_or(0, |pid| kilobytes(&format!("/proc/{pid}/status"), "VmRSS:"))
    };
    let rss = founders.iter().map(rss).max().unwrap_or(0);
    let rules = Rules { ttl: nanos(TTL), joins_within: nanos(JOINS_WITHIN), wakes_within: 0 };
    let verdict = judge(&fleet.journal.entries, from, to, rules);
    let longest =
        |of: fn(&super::judge::Gap) -> u64| millis(verdict.gaps.iter().map(of).max().unwrap_or(0));
    let mut joins = verdict.joins.clone();
    joins.sort_unstable();
    let joins = [joins.get(joins.len() / 2), joins.last()];
    let phase = Phase {
        all_ms: millis(to - from),
        started_ms: millis(started - from),
        gave_up,
        availability: verdict.availability(),
        led: verdict.led(),
        longest_gap_ms: longest(super::judge::Gap::length),
        longest_leaderless_ms: longest(|gap| gap.leaderless),
        gaps: verdict.gaps.len(),
        grants: verdict.grants,
        unprovoked: verdict.unprovoked,
        overlaps: verdict.overlaps,
        join_ms: joins.map(|join| millis(join.copied().unwrap_or(0))),
        voter_cpu_ms: millis(cpu),
        voter_cpu_percent: millis(cpu) / millis(to - from) * 100.0,
        voter_rss_mb: millis(rss * 1024),
    };
    Ok((Measured { span: (from, to), done, verdict }, phase))
}

fn patience(nodes: usize) -> Duration {
    Duration::from_secs(30) + Duration::from_secs(nodes as u64 / PER_SECOND)
}

/// Everybody at once. A process that gives up is started again, as whoever runs it would do.
fn join(fleet: &mut Fleet, nodes: usize) -> Outcome<Half> {
    let mut all = Vec::new();
    for _ in VOTERS..nodes {
        let name = fleet.name_one()?;
        fleet.start(&name)?;
        all.push(name);
    }
    let started = now();
    eprintln!("{} members are started", nodes - VOTERS);
    let until = Instant::now() + patience(nodes);
    let mut gave_up = 0;
    loop {
        fleet.listen_until(Instant::now() + LOOK);
        let gone: Vec<_> = all.iter().filter(|node| fleet.pid(node).is_none()).collect();
        gave_up += gone.len();
        for node in &gone {
            fleet.start(node)?;
        }
        if gone.is_empty() && fleet.agrees() {
            return Ok(Half { started, gave_up, done: Vec::new() });
        }
        if Instant::now() > until {
            let what = "the last node to show the leader";
            fleet.listen_for(what, Duration::ZERO, |_| false)?;
        }
    }
}

/// Every node is stopped in peace and started again.
fn roll(fleet: &mut Fleet, at_once: usize) -> Outcome<Half> {
    let all: Vec<String> = fleet.running().cloned().collect();
    let patience = patience(all.len());
    let (voters, members): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|node| fleet.journal.votes(node));
    let groups = voters.chunks(1).chain(members.chunks(at_once));
    let (mut started, mut done) = (now(), Vec::new());
    for group in groups {
        for node in group {
            let leads = fleet.journal.holder().is_some_and(|(holder, _)| holder == node);
            let was = match (leads, fleet.journal.votes(node)) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "member",
            };
            let (kind, node) = (Kind::Leave, node.clone());
            done.push(Done { at: now(), kind, did: "stop", node: node.clone(), was, lasts_ms: 0 });
            fleet.signal(&node, Signal::TERM);
        }
        fleet.listen_for("stopped nodes to end", patience, |fleet| {
            group.iter().all(|node| fleet.pid(node).is_none())
        })?;
        for node in group {
            fleet.start(node)?;
        }
        started = now();
        fleet.listen_for("restarted nodes to show the leader", patience, |fleet| {
            group.iter().all(|node| fleet.journal.is_current(node))
        })?;
    }
    fleet.listen_for("the last node to show the leader", patience, Fleet::agrees)?;
    Ok(Half { started, gave_up: 0, done })
}

impl Measured {
    fn title(&self, nodes: usize) -> String {
        let took = ms(millis(self.span.1 - self.span.0));
        format!("{} nodes join {VOTERS} voters at once: {took}", nodes - VOTERS)
    }

    /// How many members were started, and how many showed a leader for the first time, when.
    fn curves(&self, fleet: &Fleet) -> Vec<curve::Curve> {
        let within = |entry: &&Entry| (self.span.0..=self.span.1).contains(&entry.at);
        let entries = || fleet.journal.entries.iter().filter(within);
        let seconds = |at: u64| millis(at - self.span.0) / 1000.0;
        let firsts = |name: &'static str, wanted: fn(&What) -> bool| {
            let mut seen = std::collections::BTreeSet::new();
            let founders = fleet.founders();
            let mut times: Vec<f64> = entries()
                .filter(|entry| wanted(&entry.what) && !founders.contains(&entry.node))
                .filter(|entry| seen.insert(&entry.node))
                .map(|entry| seconds(entry.at))
                .collect();
            times.sort_by(f64::total_cmp);
            curve::Curve { name, times }
        };
        vec![
            firsts("processes started", |what| *what == What::Begun),
            firsts("listen", |what| *what == What::Listens),
            firsts("show the leader", |what| {
                matches!(what, What::Shows(super::journal::Shown::Led(_)))
            }),
        ]
    }
}

fn text(args: &StormArgs, storm: &Phase, rolling: &Phase) -> String {
    let (nodes, at_once) = (args.nodes as usize, args.at_once);
    let (ttl, how) = (TTL.as_secs(), settings(args.realtime, ""));
    let mut text = format!("storm: {nodes} nodes on this machine, ttl {ttl} s{how}\n");
    let titles = [
        format!("{} members join {VOTERS} running voters at once", nodes - VOTERS),
        format!("every node stopped and started again, members {at_once} at a time"),
    ];
    for (title, phase) in titles.iter().zip([storm, rolling]) {
        text += &format!("\n{title}\n");
        let [median, slowest] = phase.join_ms.map(ms);
        for line in [
            format!("the last node shows the leader after {}", ms(phase.all_ms)),
            format!(
                "the last process was started after {}; {} gave up and were started again",
                ms(phase.started_ms),
                phase.gave_up
            ),
            format!("a process shows the leader {median} after its start (slowest {slowest})"),
            format!(
                "dearest voter: {} of processor, {:.1} % of a core; largest {:.1} MB",
                ms(phase.voter_cpu_ms),
                phase.voter_cpu_percent,
                phase.voter_rss_mb
            ),
            format!(
                "{} of the time every live node showed the valid leader; {} there was one",
                percent(phase.availability),
                percent(phase.led)
            ),
            format!(
                "{} gaps, longest {}, longest without a leader {}",
                phase.gaps,
                ms(phase.longest_gap_ms),
                ms(phase.longest_leaderless_ms)
            ),
            format!(
                "{} tenures began, {} though nothing was done to the leader, {} overlapped",
                phase.grants, phase.unprovoked, phase.overlaps
            ),
        ] {
            text += &format!("  {line}\n");
        }
    }
    text
}
