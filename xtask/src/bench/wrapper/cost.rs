//! What a wrapper costs: time until the command has run, and memory while it runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;

use super::column::{Column, Stage};
use super::lives::Lives;
use super::worker::Kind;
use crate::failure::{Failure, Outcome};

/// What one wrapper cost.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    /// Median time of `true` alone, in microseconds.
    pub(super) plain_us: u64,
    /// The same below `flock`.
    pub(super) flock_us: u64,
    /// The same below `tenure run` on `file://`.
    pub(super) run_us: u64,
    /// Proportional set size of all processes of `tenure run`, in kilobytes.
    pub(super) pss_kb: u64,
    /// Unique set size of all of them.
    pub(super) uss_kb: u64,
    /// Resident set size of each of them.
    pub(super) rss_kb: Vec<u64>,
}

/// Measures on `file://`, the three in turn.
pub(super) fn measure(tenure: &Path, dir: &Path, rounds: usize) -> Outcome<Cost> {
    let stage = Stage::new(Column::File, tenure, dir, Duration::from_secs(5))?;
    let url = format!("file://{}", dir.join("elections").display());
    let lock = dir.join("lock");
    let mut commands = [Command::new("true"), Command::new("flock"), Command::new(tenure)];
    commands[1].arg(&lock).arg("true");
    commands[2].args(["run", "cost", "--url", &url, "--", "true"]);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            let done = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
            let took = begun.elapsed();
            if !done.is_ok_and(|status| status.success()) {
                let what = format!("{} does not run `true`", command.get_program().display());
                return Err(Failure::new(what, "it failed", "run it by hand"));
            }
            // The first round reads programs from the disk.
            if round > 0 {
                times.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
    let [plain_us, flock_us, run_us] = times.map(median);
    let lives = Lives::follow(&stage.log())
        .map_err(|why| Failure::new("cannot follow the commands", why, "give another --out"))?;
    let mut wrapper = stage.start("a", Kind::Meek)?;
    while lives.all().is_empty() && !wrapper.has_ended() {
        thread::sleep(Duration::from_millis(5));
    }
    // Some renewals later it has all that it needs.
    thread::sleep(Duration::from_secs(3));
    let rollups: Vec<_> = wrapper
        .processes()
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .collect();
    let total = |name: &str| rollups.iter().map(|rollup| field(rollup, name)).sum::<u64>();
    let (pss_kb, uss_kb) = (total("Pss:"), total("Private_Clean:") + total("Private_Dirty:"));
    let rss_kb = rollups.iter().map(|rollup| field(rollup, "Rss:")).collect();
    wrapper.signal(Signal::TERM);
    while !wrapper.has_ended() {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(Cost { plain_us, flock_us, run_us, pss_kb, uss_kb, rss_kb })
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn field(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

impl Cost {
    /// For people.
    pub(super) fn told(&self) -> String {
        let ms = |us: u64| format!("{:.1} ms", Duration::from_micros(us).as_secs_f64() * 1e3);
        let over = self.run_us.saturating_sub(self.plain_us);
        let mb = |kb: u64| format!("{}.{} MB", kb / 1024, kb % 1024 * 10 / 1024);
        let rss: Vec<_> = self.rss_kb.iter().map(|kb| mb(*kb)).collect();
        format!(
            "start to end of `true` (medians, in turn): alone {}, below flock {}, below tenure run \
             on file:// {}\n  over the plain command {} (asked: at most 30 ms), {:.1} times \
             flock's {}\nmemory of all processes of tenure run together: PSS {} (asked: under \
             10 MB), unique {}; resident each: {}",
            ms(self.plain_us),
            ms(self.flock_us),
            ms(self.run_us),
            ms(over),
            Duration::from_micros(self.run_us).as_secs_f64()
                / Duration::from_micros(self.flock_us.max(1)).as_secs_f64(),
            ms(self.flock_us),
            mb(self.pss_kb),
            mb(self.uss_kb),
            rss.join(", "),
        )
    }
}
