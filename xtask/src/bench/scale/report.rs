//! The table, the slopes and the goals of the scale bench, for people and for machines.

use std::fmt;

use comfy_table::Table;
use serde_json::json;

use super::{Cost, Kill, Size};
use crate::bench::stats::Summary;
use crate::bench::table::{ms, numbers, plain};

/// Everything one run found out.
pub(super) struct Report {
    pub(super) rounds: usize,
    /// Load averages before and after.
    pub(super) load: [String; 2],
    pub(super) sizes: Vec<Size>,
}

/// One figure of every size that has it.
pub(in crate::bench) struct Series {
    pub(in crate::bench) name: &'static str,
    pub(in crate::bench) unit: &'static str,
    pub(in crate::bench) points: Vec<(f64, f64)>,
}

impl Series {
    /// The exponent with which it grows, by least squares over the logarithms: 0 is constant, 1
    /// is linear. None with fewer than three points.
    pub(in crate::bench) fn slope(&self) -> Option<f64> {
        let logs: Vec<_> = self.points.iter().map(|(n, y)| (n.ln(), y.max(1e-6).ln())).collect();
        if logs.len() < 3 {
            return None;
        }
        let count = f64::from(u32::try_from(logs.len()).ok()?);
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|it| it.0), mean(|it| it.1));
        let over: f64 = logs.iter().map(|(a, b)| (a - x) * (b - y)).sum();
        let under: f64 = logs.iter().map(|(a, _)| (a - x).powi(2)).sum();
        Some(over / under)
    }

    /// The same for the last step alone: over a long series a fit hides a bend at its end.
    fn last_slope(&self) -> Option<f64> {
        let [.., (a, b), (c, d)] = *self.points else { return None };
        Some((d.max(1e-6) / b.max(1e-6)).ln() / (c / a).ln())
    }
}

/// An exponent in words; measured ones are never round.
pub(in crate::bench) fn growth(exponent: f64) -> &'static str {
    match exponent {
        ..-0.15 => "falls",
        ..0.15 => "constant",
        ..0.75 => "slower than linear",
        ..1.25 => "linear",
        _ => "faster than linear",
    }
}

/// What is plotted and whose growth is told.
pub(super) fn series(sizes: &[Size]) -> Vec<Series> {
    let of = |name, unit, figure: &dyn Fn(&Size) -> Option<f64>| {
        let point = |size: &Size| Some((lossy(size.nodes), figure(size)?));
        Series { name, unit, points: sizes.iter().filter_map(point).collect() }
    };
    let kill = |size: &Size, index: usize, last: bool| {
        let kill = size.kills.get(index)?;
        let summary = if last { kill.last } else { kill.grant };
        summary.map(|summary| summary.p50_us / 1000.0)
    };
    vec![
        of("time to form", "ms", &|size| Some(size.form_ms)),
        of("leader killed: next leader", "ms", &|size| kill(size, 0, false)),
        of("leader killed: last node knows", "ms", &|size| kill(size, 0, true)),
        of("leader and a tenth killed: last node knows", "ms", &|size| kill(size, 2, true)),
        of("quorum's leader killed: next one", "ms", &|size| kill(size, 1, false)),
        of("all nodes asked for the leader", "ms", &|size| Some(size.asked_ms)),
        of("idle voter", "% of a core", &|size| Some(size.voter.cpu_mean)),
        of("idle member", "% of a core", &|size| size.member.map(|member| member.cpu_mean)),
        of("largest idle voter, resident", "MB", &|size| Some(megabytes(size.voter.rss_most_kb))),
        of("what an idle member adds", "MB", &|size| {
            size.member.map(|member| megabytes(member.private_most_kb))
        }),
    ]
}

/// A claim of the project: the figure, its bound, and whether it holds.
struct Goal {
    claim: String,
    figure: f64,
    bound: f64,
}

impl Report {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "scale: real processes on one machine, ttl 2 s, {} rounds of each kill; medians\n{}\n",
            self.rounds,
            self.table()
        );
        text += &format!("load average {} → {}\n", self.load[0], self.load[1]);
        text +=
            "cpu: % of one core; rss: most of any node; own: private pages alone, what one more\n";
        text += "node costs; last: the last live node shows the successor\n\nhow it grows (n^x):";
        for series in series(&self.sizes) {
            if let Some(slope) = series.slope() {
                let last = series.last_slope().unwrap_or(slope);
                text += &format!(
                    "\n  {:<44} x = {slope:5.2}  {:<18}  last step {last:5.2}  {}",
                    series.name,
                    growth(slope),
                    growth(last)
                );
            }
        }
        text += "\n";
        for goal in self.goals() {
            let verdict = if goal.figure <= goal.bound { "holds " } else { "MISSED" };
            text +=
                &format!("\n{verdict}  {}: {:.2}, at most {}", goal.claim, goal.figure, goal.bound);
        }
        for (size, kill) in self.failures() {
            text +=
                &format!("\nFAILED with {size} nodes: {}: {}", kill.what, kill.failed.join("; "));
        }
        text
    }

    fn failures(&self) -> impl Iterator<Item = (usize, &Kill)> {
        let all = self.sizes.iter();
        let all = all.flat_map(|size| size.kills.iter().map(|kill| (size.nodes, kill)));
        all.filter(|(_, kill)| !kill.failed.is_empty())
    }

    fn table(&self) -> Table {
        let mut table = plain(&[
            "nodes",
            "form",
            "all asked",
            "voter cpu",
            "rss",
            "own",
            "member cpu",
            "rss",
            "own",
            "kill leader",
            "last",
            "kill quorum's",
            "kill 10 %",
            "last",
        ]);
        for size in &self.sizes {
            table.add_row(numbers(row(size)));
        }
        table
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let Some(size) = self.sizes.iter().max_by_key(|size| size.nodes) else { return goals };
        let nodes = size.nodes;
        let mut goal = |claim: &str, figure: Option<f64>, bound: f64| {
            if let Some(figure) = figure {
                goals.push(Goal { claim: format!("{nodes} nodes: {claim}"), figure, bound });
            }
        };
        goal("seconds to form", Some(size.form_ms / 1000.0), 60.0);
        let last = size.kills.first().and_then(|kill| kill.last);
        goal(
            "leader killed, slowest until the last node knows, ms",
            last.map(|it| it.max_us / 1000.0),
            1000.0,
        );
        goal("dearest idle voter, % of a core", Some(size.voter.cpu_most), 5.0);
        goal("largest idle voter, MB resident", Some(megabytes(size.voter.rss_most_kb)), 50.0);
        let own = size.member.map(|member| megabytes(member.private_most_kb));
        goal("what an idle member adds, MB", own, 3.0);
        goals
    }

    pub(super) fn json(&self) -> String {
        let slopes: Vec<_> = series(&self.sizes)
            .iter()
            .map(|series| {
                let (slope, last) = (series.slope(), series.last_slope());
                json!({
                    "name": series.name,
                    "exponent": slope,
                    "growth": slope.map(growth),
                    "last_step": last,
                    "last_growth": last.map(growth),
                })
            })
            .collect();
        let goals: Vec<_> = self
            .goals()
            .iter()
            .map(|goal| {
                json!({ "claim": goal.claim, "figure": goal.figure, "bound": goal.bound,
                    "holds": goal.figure <= goal.bound })
            })
            .collect();
        let report = json!({
            "v": 1,
            "bench": "scale",
            "rounds": self.rounds,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "load_average": self.load,
            "sizes": self.sizes,
            "slopes": slopes,
            "goals": goals,
        });
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

fn row(size: &Size) -> Vec<String> {
    let cost = |cost: Option<Cost>| match cost {
        Some(cost) => [
            format!("{:.2} %", cost.cpu_mean),
            format!("{:.1} MB", megabytes(cost.rss_most_kb)),
            format!("{:.1} MB", megabytes(cost.private_most_kb)),
        ],
        None => Default::default(),
    };
    let time = |kill: usize, last: bool| {
        let summary =
            size.kills.get(kill).and_then(|kill| if last { kill.last } else { kill.grant });
        summary.map(|summary| ms(summary.p50_us / 1000.0)).unwrap_or_default()
    };
    let mut row = vec![size.nodes.to_string(), ms(size.form_ms), ms(size.asked_ms)];
    row.extend(cost(Some(size.voter)));
    row.extend(cost(size.member));
    row.extend([time(0, false), time(0, true), time(1, false), time(2, false), time(2, true)]);
    row
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} % (most {:.2}), {:.1} MB rss, {:.1} MB of its own",
            self.cpu_mean,
            self.cpu_most,
            megabytes(self.rss_most_kb),
            megabytes(self.private_most_kb)
        )
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |summary: Option<Summary>| match summary {
            Some(it) => format!("{} (most {})", ms(it.p50_us / 1000.0), ms(it.max_us / 1000.0)),
            None => String::from("-"),
        };
        write!(f, "{}: grant {}, last node {}", self.what, told(self.grant), told(self.last))?;
        self.failed.iter().try_for_each(|why| write!(f, "; FAILED: {why}"))
    }
}

/// Decimal megabytes.
fn megabytes(kb: u64) -> f64 {
    u32::try_from(kb).map_or(f64::INFINITY, |kb| f64::from(kb) * 1024.0 / 1e6)
}

fn lossy(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_exponents() {
        let of = |power: f64| {
            let points = [3.0_f64, 10.0, 100.0, 1000.0].map(|n| (n, 7.0 * n.powf(power)));
            Series { name: "", unit: "", points: points.to_vec() }.slope().unwrap()
        };
        for power in [0.0, 0.5, 1.0, 2.0] {
            assert!((of(power) - power).abs() < 1e-9);
        }
        let words = [-0.3, 0.02, 0.5, 0.9, 1.9].map(growth);
        let expected = ["falls", "constant", "slower than linear", "linear", "faster than linear"];
        assert_eq!(words, expected);
    }
}
