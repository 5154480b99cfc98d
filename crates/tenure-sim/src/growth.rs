//! `tenure-sim scale`: healthy clusters of growing size, and how each figure grows.

use std::{process::ExitCode, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tenure_sim::{Grown, Meter, Part, Size, scale};

use crate::args::{USAGE, value};

/// The part in which nothing is asked for.
const REST: &str = "at rest";

struct Wanted {
    sessions: Vec<u32>,
    members: u32,
    ttl: Duration,
    rest: Duration,
    json: bool,
}

/// Runs all sizes and prints what they showed.
pub(crate) fn run(words: impl Iterator<Item = String>) -> ExitCode {
    let wanted = match parse(words) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut all = Vec::new();
    for sessions in wanted.sessions {
        // A member without a session would be no work at all.
        let members = wanted.members.min(sessions);
        eprintln!("simulated: {sessions} sessions on {members} members");
        let size = Size { sessions, members, ttl: wanted.ttl, rest: wanted.rest };
        match scale(size, Meter { cpu, resident }) {
            Ok(grown) => all.push(grown),
            Err(why) => {
                eprintln!("error: {sessions} sessions: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{}", if wanted.json { machine(&all) } else { person(&all) });
    ExitCode::SUCCESS
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
    let mut wanted = Wanted {
        sessions: vec![1000, 10_000, 100_000],
        members: 1000,
        ttl: millis(2000),
        rest: seconds(10),
        json: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sessions" => {
                let list = words.next().unwrap_or_default();
                let one = |text: &str| value::<u32>(&word, Some(text.to_owned()));
                wanted.sessions = list.split(',').map(one).collect::<Result<_, _>>()?;
            }
            "--members" => wanted.members = value(&word, words.next())?,
            "--ttl" => wanted.ttl = millis(value(&word, words.next())?),
            "--rest" => wanted.rest = seconds(value(&word, words.next())?),
            "--json" => wanted.json = true,
            _ => return Err(format!("{word}?")),
        }
    }
    // Ten members at least, so that a tenth of them is somebody.
    let few = |sessions: &u32| *sessions < 20;
    match wanted.members < 10 || wanted.sessions.iter().any(few) {
        true => Err(String::from("at least 10 members and 20 sessions are needed")),
        false => Ok(wanted),
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// As Linux says it; zero where it does not.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn person(all: &[Grown]) -> String {
    let mut text = String::from(
        "SIMULATED: five real replicas, a perfect network, no sockets, no system calls.\n\
         cpu: processor time of this host for the replicas' own code; in % of a core at rest\n",
    );
    for grown in all {
        text += &format!(
            "\n{} sessions, {} elections, {} members: {:.1} MB a replica, snapshot {:.1} MB\n",
            grown.sessions,
            grown.elections,
            grown.members,
            grown.memory as f64 / 1e6,
            grown.snapshot as f64 / 1e6,
        );
        for part in &grown.parts {
            text += &line(part);
        }
    }
    text += "\nhow it grows with the sessions (n^x; 0: constant, 1: linear)\n";
    for (name, slope) in slopes(all) {
        text += &format!("  {name:<44} x = {slope:.2}\n");
    }
    text
}

fn line(part: &Part) -> String {
    let work = format!(
        "  {:<24} {:>8} operations, {:>8.3} us of cpu each, {} entries; {:.1} virtual ms",
        part.name,
        part.operations,
        part.cpu_us_each(),
        part.entries,
        part.virtual_ms,
    );
    let [leader, follower, encoding] =
        [part.leader_cpu_ms, part.follower_cpu_ms, part.encoding_cpu_ms];
    // Shares of a core mean something where virtual time is time, and not only waits.
    if part.name == REST {
        let share = |ms: f64| ms / part.virtual_ms * 100.0;
        let second = |number: u64| number as f64 / part.virtual_ms * 1000.0;
        return format!(
            "{work}\n{:29}leader {:.2} %, a follower {:.2} %, encoding {:.2} %; {:.0} frames/s, \
             {:.0} kB/s\n",
            "",
            share(leader),
            share(follower),
            share(encoding),
            second(part.frames),
            second(part.bytes) / 1e3,
        );
    }
    format!(
        "{work}\n{:29}leader {leader:.1} ms, a follower {follower:.1} ms, encoding {encoding:.1} \
         ms; {} frames, {:.1} MB\n",
        "",
        part.frames,
        part.bytes as f64 / 1e6,
    )
}

/// A figure of one size.
type Figure = fn(&Grown) -> f64;

/// The exponents of what grows, by least squares over the logarithms; with three sizes at least.
fn slopes(all: &[Grown]) -> Vec<(&'static str, f64)> {
    let figures: [(&str, Figure); 8] = [
        ("memory of a replica", |it| it.memory as f64),
        ("at rest: cpu of the leader", |it| it.parts[1].leader_cpu_ms),
        ("at rest: cpu of a follower", |it| it.parts[1].follower_cpu_ms),
        ("at rest: frames", |it| it.parts[1].frames as f64),
        ("at rest: bytes", |it| it.parts[1].bytes as f64),
        ("cpu of one wish (open, contend)", |it| it.parts[0].cpu_us_each()),
        ("a tenth dies, proved: cpu of all", |it| {
            it.parts[2].cpu_us_each() * it.parts[2].operations as f64
        }),
        ("a tenth dies, proved: virtual time", |it| it.parts[2].virtual_ms),
    ];
    let slope = |of: Figure| {
        let points = all.iter().map(|it| (f64::from(it.sessions).ln(), of(it).max(1e-9).ln()));
        let points: Vec<(f64, f64)> = points.collect();
        let count = points.len() as f64;
        let x = points.iter().map(|it| it.0).sum::<f64>() / count;
        let y = points.iter().map(|it| it.1).sum::<f64>() / count;
        let over: f64 = points.iter().map(|(a, b)| (a - x) * (b - y)).sum();
        let under: f64 = points.iter().map(|(a, _)| (a - x).powi(2)).sum();
        over / under
    };
    if all.len() < 3 {
        return Vec::new();
    }
    figures.into_iter().map(|(name, of)| (name, slope(of))).collect()
}

fn machine(all: &[Grown]) -> String {
    let slopes: Vec<_> = slopes(all)
        .into_iter()
        .map(|(name, exponent)| json!({ "name": name, "exponent": exponent }))
        .collect();
    json!({ "v": 1, "simulated": true, "sizes": all, "slopes": slopes }).to_string()
}
