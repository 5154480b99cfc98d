//! What the rounds say.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{End, Kind, Steady, Times};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The store.
    pub store: String,
    /// Whose.
    pub client: String,
    /// What ended the tenures.
    pub end: String,
    /// Rounds with a successor.
    pub rounds: usize,
    /// Rounds without one in time.
    pub failed: usize,
    /// In milliseconds.
    pub median_ms: Option<f64>,
    /// In milliseconds.
    pub slowest_ms: Option<f64>,
    /// Median as a share of the ttl.
    pub of_ttl: Option<f64>,
    /// How many times longer than ours on the same store.
    pub times_ours: Option<f64>,
}

/// All of them, and what is promised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Length of the leases, in milliseconds.
    pub ttl_ms: f64,
    /// The lines.
    pub rows: Vec<Row>,
    /// What a thousand elections cost when nothing happens.
    pub steady: Vec<Steady>,
    /// What is promised, and whether it holds.
    pub promises: Vec<(String, bool)>,
}

/// Share of the ttl that the median failover of ours may take.
const OF_TTL: f64 = 1.05;
/// How many times faster than a polling client a resignation of ours reaches the next holder.
const RESIGN: f64 = 10.0;

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(times: &Times) -> Option<Duration> {
    let mut took = times.took.clone();
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

impl Report {
    /// Draws the sum.
    #[must_use]
    pub fn of(all: &[Times], steady: Vec<Steady>, ttl: Duration) -> Self {
        let ours = |times: &Times| {
            let same = |one: &&Times| {
                one.kind == Kind::Ours && one.store == times.store && one.end == times.end
            };
            all.iter().find(same).and_then(median)
        };
        let ratio = |times: &Times| {
            let (ours, other) = (ours(times)?, median(times)?);
            (times.kind != Kind::Ours).then(|| millis(other) / millis(ours).max(f64::EPSILON))
        };
        let row = |times: &Times| Row {
            store: times.store.clone(),
            client: times.contestant.clone(),
            end: times.end.as_str().to_owned(),
            rounds: times.took.len(),
            failed: times.failed,
            median_ms: median(times).map(millis),
            slowest_ms: times.took.iter().max().copied().map(millis),
            of_ttl: median(times).map(|median| millis(median) / millis(ttl)),
            times_ours: ratio(times),
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        let mut promises = Vec::new();
        for (times, row) in all.iter().zip(&rows) {
            let (store, client) = (&row.store, &row.client);
            let within = row.of_ttl.is_some_and(|share| share <= OF_TTL) && times.failed == 0;
            let ratio = row.times_ours;
            match (times.end, times.kind) {
                (End::Kill, Kind::Ours | Kind::LeaseOnly) => promises.push((
                    format!(
                        "{store}, {client}: a killed holder is succeeded in {OF_TTL} ttl (median)"
                    ),
                    within,
                )),
                (End::Kill, _) => promises.push((
                    format!("{store}: after a kill ours is not later than {client}"),
                    ratio.is_some_and(|ratio| ratio >= 1.0),
                )),
                (End::Resign, Kind::Polling) => promises.push((
                    format!("{store}: after a resignation ours is {RESIGN}x faster than {client}"),
                    ratio.is_some_and(|ratio| ratio >= RESIGN),
                )),
                (End::Resign, _) => {}
            }
        }
        Self { ttl_ms: millis(ttl), rows, steady, promises }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| String::from("-"), |value| format!("{value:.2}{unit}"))
        };
        writeln!(
            f,
            "| store | client | end | rounds | failed | median | slowest | / ttl | / ours |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.store,
                row.client,
                row.end,
                row.rounds,
                row.failed,
                cell(row.median_ms, " ms"),
                cell(row.slowest_ms, " ms"),
                cell(row.of_ttl, ""),
                cell(row.times_ours, "x"),
            )?;
        }
        writeln!(f, "ttl {:.0} ms; from the signal to the successor's own word", self.ttl_ms)?;
        for steady in &self.steady {
            writeln!(f, "{steady}")?;
        }
        for (promise, holds) in &self.promises {
            writeln!(f, "{} {promise}", if *holds { "holds  " } else { "MISSED " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(store: &str, kind: Kind, end: End, took: &[u64]) -> Times {
        Times {
            contestant: format!("{kind:?}"),
            store: store.to_owned(),
            kind,
            end,
            took: took.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            failed: 0,
        }
    }

    #[test]
    fn ratios_are_of_the_same_store_and_end() {
        let all = [
            times("redis", Kind::Ours, End::Kill, &[1900, 2000, 2090]),
            times("redis", Kind::Polling, End::Kill, &[2500, 2100, 2400]),
            times("etcd", Kind::LeaseOnly, End::Kill, &[3000]),
            times("redis", Kind::Ours, End::Resign, &[5]),
            times("redis", Kind::Polling, End::Resign, &[49]),
        ];
        let report = Report::of(&all, Vec::new(), Duration::from_secs(2));
        assert_eq!(report.rows[1].times_ours, Some(1.2));
        assert_eq!(report.rows[0].of_ttl, Some(1.0));
        let held: Vec<_> = report.promises.iter().map(|(_, holds)| *holds).collect();
        assert_eq!(held, [true, true, false, false]);
    }
}
