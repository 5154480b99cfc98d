//! What the trouble did to leadership, for people and for machines.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table};
use serde::Serialize;
use serde_json::{Value, json};

use super::judge::{Gap, Verdict};
use super::plan::Kind;
use super::play::Done;
use crate::bench::stats::Summary;
use crate::bench::table::{ms, numbers, plain};

/// Share of time that is asked for.
pub(super) const ASKED: f64 = 0.999;
/// Gaps that the text lists; the JSON has all.
const LISTED: usize = 40;

/// Everything one run found out.
pub(super) struct Report {
    pub(super) nodes: usize,
    pub(super) seed: u64,
    pub(super) actions: usize,
    pub(super) skipped: usize,
    pub(super) ttl_ms: f64,
    /// What was not as usual.
    pub(super) settings: String,
    /// Nanoseconds of the clock when it began and ended.
    pub(super) span: (u64, u64),
    pub(super) done: Vec<Done>,
    pub(super) strict: Verdict,
    /// When a node that wakes has a ttl to look around.
    pub(super) lenient: Verdict,
    /// What became of the other work of the cluster.
    pub(super) load: Value,
    pub(super) hiccups: Option<Summary>,
    pub(super) load_average: [String; 2],
}

/// All gaps after one kind of action.
#[derive(Debug, Default, Serialize)]
struct Cause {
    gaps: usize,
    total_ms: f64,
    longest_ms: f64,
    leaderless_ms: f64,
}

/// What was not as usual, for the end of a headline.
pub(super) fn settings(realtime: bool, more: &str) -> String {
    let realtime = if realtime { ", founding nodes in real time" } else { "" };
    let more = if more.is_empty() { String::new() } else { format!(", with {more}") };
    format!("{realtime}{more}")
}

/// What was done last before a gap, in words.
pub(super) fn just_before<'a>(done: &'a [Done], gap: &Gap) -> Option<&'a Done> {
    // A signal is stamped before it is sent, so nothing that follows from it is earlier.
    done.iter().rev().find(|done| done.at <= gap.from)
}

impl Report {
    fn causes(&self) -> Vec<(String, Cause)> {
        let mut causes: BTreeMap<String, Cause> = BTreeMap::new();
        for gap in &self.strict.gaps {
            let name = match just_before(&self.done, gap) {
                _ if gap.lease_over.is_some() => String::from("the lease of a paused leader ends"),
                Some(done) => format!("{} ({})", done.did, done.was),
                None => String::from("nothing"),
            };
            let cause = causes.entry(name).or_default();
            let length = millis(gap.length());
            cause.gaps += 1;
            cause.total_ms += length;
            cause.longest_ms = cause.longest_ms.max(length);
            cause.leaderless_ms += millis(gap.leaderless);
        }
        let mut causes: Vec<_> = causes.into_iter().collect();
        causes.sort_by(|(_, one), (_, other)| other.total_ms.total_cmp(&one.total_ms));
        causes
    }

    pub(super) fn text(&self) -> String {
        let seconds = millis(self.span.1 - self.span.0) / 1000.0;
        let mut text = format!(
            "availability: {} nodes, {} actions in {seconds:.0} s (seed {}), ttl {} ms{}\n",
            self.nodes, self.actions, self.seed, self.ttl_ms, self.settings
        );
        let holds = if self.strict.availability() >= ASKED { "holds " } else { "MISSED" };
        text += &format!(
            "\n{holds} {} of the time a valid leader that every live node shows; asked {}\n",
            percent(self.strict.availability()),
            percent(ASKED)
        );
        text += &format!(
            "       {} when a node that wakes has one ttl to look around\n",
            percent(self.lenient.availability())
        );
        text += &format!("       {} a valid leader, whoever knew it\n", percent(self.strict.led()));
        text += &format!(
            "       {} grants, {} of them beside a tenure that was still valid, {} though nothing \
             was done to the leader before\n",
            self.strict.grants, self.strict.overlaps, self.strict.unprovoked
        );
        if self.skipped > 0 {
            text += &format!("       {} actions found nobody to be done to\n", self.skipped);
        }
        text += &format!("\nwhat was done\n{}\n", self.actions_table());
        text += &format!("\ngaps, by what was done last before\n{}\n", self.causes_table());
        text += &format!("\ngaps in the order of length\n{}\n", self.gaps_table());
        for (what, times) in [
            ("a started process shows the leader after", &self.strict.joins),
            ("a woken process shows the leader after", &self.strict.wakes),
        ] {
            if let Some(summary) = Summary::of(times.iter().copied()) {
                text += &format!("\n{what} {}", spread(summary));
            }
        }
        text += &format!("\nother work meanwhile: {}", self.load);
        if let Some(hiccups) = self.hiccups {
            text += &format!("\na sleep of 1 ms was too long by {}", spread(hiccups));
            // Nodes wait half a second for a silent leader of the quorum.
            if hiccups.max_us / 1000.0 > self.ttl_ms / 8.0 {
                text += "\n  NOTE: the machine stood still for longer than nodes wait for each \
                         other between two\n  heartbeats; gaps without a cause above may be its own";
            }
        }
        text += &format!("\nload average {} → {}\n", self.load_average[0], self.load_average[1]);
        text
    }

    fn actions_table(&self) -> Table {
        let mut table = plain(&["", "leader", "quorum's leader", "both", "voter", "member"]);
        for kind in Kind::ALL {
            let count = |was: &str| {
                // Who was hit is what it was when it began.
                let begins = |done: &&Done| {
                    done.kind == kind && !matches!(done.did, "wake" | "start again" | "join")
                };
                self.done.iter().filter(begins).filter(|done| done.was == was).count().to_string()
            };
            table.add_row(numbers(vec![
                kind.to_string(),
                count("leader"),
                count("quorum's leader"),
                count("leader of both"),
                count("voter"),
                count("member"),
            ]));
        }
        table
    }

    fn causes_table(&self) -> Table {
        let mut table = plain(&["after", "gaps", "in all", "longest", "of it no leader"]);
        for (name, cause) in self.causes() {
            table.add_row(numbers(vec![
                name,
                cause.gaps.to_string(),
                ms(cause.total_ms),
                ms(cause.longest_ms),
                ms(cause.leaderless_ms),
            ]));
        }
        table
    }

    fn gaps_table(&self) -> Table {
        let mut table =
            plain(&["at", "length", "no leader", "wrong/live", "for example", "before"]);
        let mut gaps: Vec<_> = self.strict.gaps.iter().collect();
        gaps.sort_by_key(|gap| std::cmp::Reverse(gap.length()));
        for gap in gaps.into_iter().take(LISTED) {
            let before = just_before(&self.done, gap).map(|done| {
                if let Some(node) = &gap.lease_over {
                    return format!("the lease of {node} ends, which is paused");
                }
                let since = millis(gap.from - done.at);
                format!("{} {} ({}) {} before", done.did, done.node, done.was, ms(since))
            });
            let mut cells: Vec<_> = numbers(vec![
                format!("{:.1} s", millis(gap.from - self.span.0) / 1000.0),
                ms(millis(gap.length())),
                ms(millis(gap.leaderless)),
                format!("{}/{}", gap.wrong, gap.live),
            ]);
            cells.push(Cell::new(gap.example.clone().unwrap_or_default()));
            cells.push(Cell::new(before.unwrap_or_default()));
            table.add_row(cells);
        }
        table
    }

    pub(super) fn json(&self) -> String {
        let gap = |gap: &Gap| {
            json!({
                "at_ms": millis(gap.from - self.span.0),
                "length_ms": millis(gap.length()),
                "leaderless_ms": millis(gap.leaderless),
                "wrong": gap.wrong,
                "live": gap.live,
                "example": gap.example,
                "lease_over": gap.lease_over,
                "before": just_before(&self.done, gap),
            })
        };
        let gaps = |verdict: &Verdict| verdict.gaps.iter().map(gap).collect::<Vec<_>>();
        let causes: Vec<_> = self
            .causes()
            .into_iter()
            .map(|(after, cause)| json!({ "after": after, "cause": cause }))
            .collect();
        let report = json!({
            "v": 1,
            "bench": "availability",
            "nodes": self.nodes,
            "seed": self.seed,
            "actions": self.actions,
            "skipped": self.skipped,
            "ttl_ms": self.ttl_ms,
            "settings": self.settings,
            "seconds": millis(self.span.1 - self.span.0) / 1000.0,
            "began_mono_ns": self.span.0,
            "availability": self.strict.availability(),
            "availability_lenient": self.lenient.availability(),
            "led": self.strict.led(),
            "asked": ASKED,
            "holds": self.strict.availability() >= ASKED,
            "grants": self.strict.grants,
            "overlaps": self.strict.overlaps,
            "unprovoked": self.strict.unprovoked,
            "causes": causes,
            "gaps": gaps(&self.strict),
            "gaps_lenient": gaps(&self.lenient),
            "joins": Summary::of(self.strict.joins.iter().copied()),
            "wakes": Summary::of(self.strict.wakes.iter().copied()),
            "done": self.done,
            "load": self.load,
            "hiccups": self.hiccups,
            "load_average": self.load_average,
        });
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

/// Nanoseconds as milliseconds.
#[allow(clippy::cast_precision_loss)] // hours in nanoseconds are far below 2^53
pub(super) fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn spread(summary: Summary) -> String {
    let [median, most] = [summary.p50_us, summary.max_us].map(|us| ms(us / 1000.0));
    format!("{median} (most {most}, {} times)", summary.n)
}

/// A share near one: with as many digits as tell it from one.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}
