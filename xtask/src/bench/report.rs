//! The report: a table with ratios for people, JSON for machines, and the
//! goals of the project with what became of them.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::ours::Idle;
use super::stats::{Case, Sample, Summary};

/// Everything one run found out.
pub(crate) struct Report {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// The binary that was given to be measured as ours, if it was not built here.
    pub(crate) given: Option<String>,
    /// Load averages before and after.
    pub(crate) load: [String; 2],
    pub(crate) flush: Option<Summary>,
    pub(crate) hiccups: Vec<(&'static str, Option<Summary>)>,
    pub(crate) systems: Vec<&'static str>,
    pub(crate) cases: Vec<Case>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) idle: Option<Vec<Idle>>,
}

/// A claim of the project: the figure, its bound, and whether it holds.
struct Goal {
    claim: String,
    figure: f64,
    bound: f64,
    at_least: bool,
}

impl Goal {
    fn holds(&self) -> bool {
        if self.at_least { self.figure >= self.bound } else { self.figure <= self.bound }
    }
}

/// Which of the two ends of a measurement.
#[derive(Clone, Copy)]
enum End {
    Grant,
    View,
}

/// Nanoseconds as milliseconds with three figures.
pub(crate) fn milliseconds(ns: u64) -> String {
    duration(std::time::Duration::from_nanos(ns).as_secs_f64() * 1e6)
}

fn duration(us: f64) -> String {
    let ms = us / 1000.0;
    match ms {
        _ if ms >= 100.0 => format!("{ms:.0} ms"),
        _ if ms >= 10.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.2} ms"),
    }
}

fn ratio(figure: Option<f64>) -> String {
    match figure {
        Some(ratio) if ratio >= 10.0 => format!("{ratio:.0}x"),
        Some(ratio) => format!("{ratio:.2}x"),
        None => String::new(),
    }
}

/// The floor with as many nodes.
fn floor_of(system: &str) -> Option<&'static str> {
    match system {
        "ours-5" => Some("floor-5"),
        "ours-3" | "etcd" | "etcd-tuned" => Some("floor-3"),
        _ => None,
    }
}

impl Report {
    fn summary(&self, system: &str, case: Case, end: End) -> Option<Summary> {
        let of = |sample: &&Sample| sample.system == system && sample.case == case;
        let timings = self.samples.iter().filter(of).filter_map(|sample| sample.timing);
        Summary::of(timings.filter_map(|timing| match end {
            End::Grant => timing.grant_ns,
            End::View => timing.view_ns,
        }))
    }

    fn median(&self, system: &str, case: Case) -> Option<f64> {
        self.summary(system, case, End::Grant).map(|summary| summary.p50_us)
    }

    /// Median of one system's case over that of another's.
    fn over(&self, (a, a_case): (&str, Case), (b, b_case): (&str, Case)) -> Option<f64> {
        Some(self.median(a, a_case)? / self.median(b, b_case)?)
    }

    fn failures(&self, system: &str, case: Case) -> usize {
        let failed = |s: &&Sample| s.system == system && s.case == case && s.error.is_some();
        self.samples.iter().filter(failed).count()
    }

    /// The table, the machine's mood, the idle cluster and the goals.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "failover, {} rounds in {:.0} s, one clock; start → end in ms, median and p99\n{}\n",
            self.rounds,
            self.seconds,
            self.table()
        );
        if self.rounds < 100 {
            text += "with fewer than 100 rounds, p99 is the slowest of them\n";
        }
        text += "grant: the successor holds a committed grant; view: the last live node shows it\n";
        text += "kill quorum leader: ours and floor, the next leader has committed; etcd, a new\n";
        text += "lease and key from a survivor. etcd runs with ttl 2 s, its lowest; an `elect` has 60 s\n";
        if let Some(given) = &self.given {
            text += &format!("ours is {given}, as given\n");
        }
        text += &self.mood();
        if let Some(idle) = &self.idle {
            text += "\nidle, ttl 1 s:";
            for node in idle {
                text += &format!(
                    "  {} {:.1} MB rss ({:.1} pss) {:.2} % cpu",
                    node.node,
                    megabytes(node.rss_kb),
                    megabytes(node.pss_kb),
                    node.cpu_percent
                );
            }
            text += "\n";
        }
        for goal in self.goals() {
            let verdict = if goal.holds() { "holds " } else { "MISSED" };
            let relation = if goal.at_least { "at least" } else { "at most" };
            text += &format!(
                "\n{verdict}  {}: {:.2}, {relation} {}",
                goal.claim, goal.figure, goal.bound
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "case", "system", "n", "failed", "grant", "p99", "/ floor", "etcd /", "tuned /",
            "view", "p99", "/ floor",
        ]);
        for case in &self.cases {
            for system in &self.systems {
                if let Some(row) = self.row(system, *case) {
                    table.add_row(row.into_iter().enumerate().map(|(column, text)| {
                        let side =
                            if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
                        Cell::new(text).set_alignment(side)
                    }));
                }
            }
        }
        table
    }

    fn row(&self, system: &str, case: Case) -> Option<Vec<String>> {
        let failed = self.failures(system, case);
        let grant = self.summary(system, case, End::Grant);
        let view = self.summary(system, case, End::View);
        if grant.is_none() && failed == 0 {
            return None;
        }
        let p50 = |s: Option<Summary>| s.map(|s| duration(s.p50_us)).unwrap_or_default();
        let p99 = |s: Option<Summary>| s.map(|s| duration(s.p99_us)).unwrap_or_default();
        let floor = floor_of(system);
        let view_floor = floor.and_then(|floor| self.summary(floor, case, End::View));
        let view_ratio = view.zip(view_floor).map(|(view, floor)| view.p50_us / floor.p50_us);
        let faster = |etcd: &str| {
            let ours = system.starts_with("ours");
            let etcd = ours.then(|| self.over((etcd, case), (system, case))).flatten();
            ratio(etcd)
        };
        Some(vec![
            case.title().to_owned(),
            system.to_owned(),
            grant.map_or(0, |s| s.n).to_string(),
            if failed == 0 { String::new() } else { failed.to_string() },
            p50(grant),
            p99(grant),
            ratio(floor.and_then(|floor| self.over((system, case), (floor, case)))),
            faster("etcd"),
            faster("etcd-tuned"),
            p50(view),
            p99(view),
            ratio(view_ratio),
        ])
    }

    fn mood(&self) -> String {
        let mut text = format!("load average {} → {}", self.load[0], self.load[1]);
        if let Some(flush) = self.flush {
            let (p50, p99) = (duration(flush.p50_us), duration(flush.p99_us));
            text += &format!("; fdatasync {p50}, p99 {p99}");
        }
        text += "\noversleep of a 1 ms sleeper before the turns, p99:";
        for (system, hiccup) in &self.hiccups {
            if let Some(hiccup) = hiccup {
                text += &format!("  {system} {}", duration(hiccup.p99_us));
            }
        }
        let before = self.hiccups.iter().take(self.systems.len());
        let figures = || before.clone().filter_map(|(_, hiccup)| hiccup.map(|h| h.p99_us));
        let (least, most) = (figures().fold(f64::MAX, f64::min), figures().fold(0.0, f64::max));
        // Below half a millisecond it is the timer's own unrest.
        if most > 500.0 && most > 2.0 * least {
            text +=
                "\nthe machine was not equally calm for all of them (over 2x): compare with care";
        }
        text + "\n"
    }

    /// The project's promises that this run can judge, medians against medians.
    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let mut goal = |claim: &str, figure: Option<f64>, bound: f64, at_least: bool| {
            if let Some(figure) = figure {
                goals.push(Goal { claim: claim.to_owned(), figure, bound, at_least });
            }
        };
        let ours = "ours-5";
        goal(
            "kill election leader, 5 nodes: times faster than tuned etcd",
            self.over(("etcd-tuned", Case::Leader), (ours, Case::Leader)),
            300.0,
            true,
        );
        goal(
            "kill election leader, 5 nodes: times the floor",
            self.over((ours, Case::Leader), ("floor-5", Case::Leader)),
            2.5,
            false,
        );
        // The first new grant after the quorum leader's death is, on ours, the
        // one to the successor of the leader that died with it.
        for (etcd, bound) in [("etcd", 100.0), ("etcd-tuned", 15.0)] {
            goal(
                &format!(
                    "first new grant after the quorum leader's death: times faster than {etcd}"
                ),
                self.over((etcd, Case::Quorum), (ours, Case::Both)),
                bound,
                true,
            );
        }
        goal(
            "kill quorum leader, 5 nodes: times the floor",
            self.over((ours, Case::Quorum), ("floor-5", Case::Quorum)),
            3.0,
            false,
        );
        let idle = self.idle.as_deref().unwrap_or_default().iter();
        let most = |figure: fn(&Idle) -> f64| idle.clone().map(figure).reduce(f64::max);
        goal("idle node: MB resident", most(|idle| megabytes(idle.rss_kb)), 10.0, false);
        goal("idle node: % of a core", most(|idle| idle.cpu_percent), 1.0, false);
        goals
    }

    /// All of it, the samples included.
    pub(crate) fn json(&self) -> String {
        let mut results = Vec::new();
        for case in &self.cases {
            for system in &self.systems {
                let failed = self.failures(system, *case);
                let grant = self.summary(system, *case, End::Grant);
                if grant.is_none() && failed == 0 {
                    continue;
                }
                let floor =
                    floor_of(system).and_then(|floor| self.over((system, *case), (floor, *case)));
                results.push(json!({
                    "case": case,
                    "system": system,
                    "failed": failed,
                    "grant": grant,
                    "view": self.summary(system, *case, End::View),
                    "over_floor": floor,
                    "etcd_over_this": self.over(("etcd", *case), (system, *case)),
                    "etcd_tuned_over_this": self.over(("etcd-tuned", *case), (system, *case)),
                }));
            }
        }
        let goals = self.goals();
        let goals = goals.iter().map(|goal| {
            json!({ "claim": goal.claim, "figure": goal.figure, "bound": goal.bound,
                "at_least": goal.at_least, "holds": goal.holds() })
        });
        let hiccups = self
            .hiccups
            .iter()
            .map(|(system, hiccup)| json!({ "system": system, "oversleep": hiccup }));
        let report = json!({
            "v": 1,
            "bench": "failover",
            "rounds": self.rounds,
            "seconds": self.seconds,
            "given": self.given,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load_average": self.load,
            "fdatasync": self.flush,
            "hiccups": hiccups.collect::<Vec<Value>>(),
            "results": results,
            "idle": self.idle,
            "goals": goals.collect::<Vec<Value>>(),
            "samples": self.samples,
        });
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

/// Decimal megabytes.
fn megabytes(kb: u64) -> f64 {
    u32::try_from(kb).map_or(f64::INFINITY, |kb| f64::from(kb) * 1024.0 / 1e6)
}
