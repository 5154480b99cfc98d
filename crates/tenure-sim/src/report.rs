//! What many seeds gave, for people and for programs.

use std::{fmt, time::Duration};

use crate::{
    Outcome,
    faults::{Counts, Kind},
};

/// What many seeds gave.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Runs.
    pub seeds: u64,
    /// Events of all runs.
    pub events: u64,
    /// Simulated time of all runs, in nanoseconds.
    pub simulated: u128,
    /// Faults by kind.
    pub faults: Counts,
    /// Grants.
    pub grants: u64,
    /// Stale writes that resources turned away.
    pub fenced_off: u64,
    /// Longest failover after the death of a leader, in nanoseconds, and its seed.
    pub failover: (u64, u64),
    /// Longest recovery after the end of the faults, in nanoseconds, and its seed.
    pub recovery: (u64, u64),
    /// Longest recovery as a share of its bound, in one thousandth.
    pub of_bound: u64,
    /// Runs in which an invariant did not hold, the first of them.
    pub failed: Vec<Outcome>,
    /// How many there were in all.
    pub failures: u64,
    /// Real time.
    pub took: Duration,
    /// The runs were over modelled stores, not over the quorum.
    pub over_stores: bool,
}

/// Failed runs that are kept; the report counts on.
const KEPT: usize = 20;

impl Report {
    pub(crate) fn take(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.over_stores |= outcome.store.is_some();
        self.events += outcome.events;
        self.simulated += u128::from(outcome.simulated);
        self.faults.merge(&outcome.faults);
        self.grants += outcome.grants;
        self.fenced_off += outcome.fenced_off;
        self.failover = self.failover.max((outcome.failover, outcome.seed));
        self.recovery = self.recovery.max((outcome.recovery, outcome.seed));
        if let Some(share) = (outcome.recovery * 1000).checked_div(outcome.bound) {
            self.of_bound = self.of_bound.max(share);
        }
        if outcome.violation.is_some() {
            self.failures += 1;
            if self.failed.len() < KEPT {
                self.failed.push(outcome);
            }
        }
    }

    /// Simulated time over real time.
    #[must_use]
    pub fn pace(&self) -> f64 {
        self.simulated as f64 / 1e9 / self.took.as_secs_f64().max(1e-9)
    }

    /// Kinds of faults that were never applied.
    #[must_use]
    pub fn never(&self) -> Vec<Kind> {
        let kinds = Kind::ALL.iter().copied();
        kinds.filter(|kind| self.concerns(*kind) && self.faults.of(*kind) == 0).collect()
    }

    fn concerns(&self, kind: Kind) -> bool {
        kind.is_of_stores() == self.over_stores
    }

    /// The report for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        let kinds = Kind::ALL.iter().filter(|kind| self.concerns(**kind));
        let faults: serde_json::Map<_, _> =
            kinds.map(|kind| (kind.as_str().to_owned(), self.faults.of(*kind).into())).collect();
        let failed = self.failed.iter().filter_map(|outcome| {
            let violation = outcome.violation.as_ref()?;
            Some(serde_json::json!({
                "seed": outcome.seed,
                "invariant": violation.invariant,
                "at_ms": ms(violation.at),
                "why": violation.why,
                "replay": outcome.replay(),
            }))
        });
        serde_json::json!({
            "seeds": self.seeds,
            "events": self.events,
            "simulated_hours": self.simulated as f64 / 3.6e12,
            "took_seconds": self.took.as_secs_f64(),
            "pace": self.pace(),
            "elections_held": self.grants,
            "stale_writes_fenced": self.fenced_off,
            "worst_failover": { "ms": ms(self.failover.0), "seed": self.failover.1 },
            "worst_recovery": {
                "ms": ms(self.recovery.0),
                "seed": self.recovery.1,
                "share_of_bound": self.of_bound as f64 / 1000.0,
            },
            "faults": faults,
            "never_applied": self.never().iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
            "failures": self.failures,
            "failed": failed.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated as f64 / 3.6e12;
        let took = self.took.as_secs_f64().max(1e-9);
        writeln!(f, "seeds               {}", self.seeds)?;
        writeln!(f, "events              {}", self.events)?;
        writeln!(
            f,
            "simulated           {hours:.2} h of clusters, {:.0} times real time",
            self.pace()
        )?;
        writeln!(
            f,
            "took                {took:.1} s, {:.0} seeds a minute",
            self.seeds as f64 * 60.0 / took
        )?;
        writeln!(f, "elections held      {}", self.grants)?;
        writeln!(f, "stale writes fenced {}", self.fenced_off)?;
        let ms = |nanos: u64| nanos / 1_000_000;
        writeln!(f, "worst failover      {} ms (seed {})", ms(self.failover.0), self.failover.1)?;
        writeln!(
            f,
            "worst recovery      {} ms (seed {}); at most {:.0} % of a run's bound",
            ms(self.recovery.0),
            self.recovery.1,
            self.of_bound as f64 / 10.0
        )?;
        writeln!(f, "faults              {}", self.faults.total())?;
        for kind in Kind::ALL.iter().filter(|kind| self.concerns(**kind)) {
            writeln!(f, "  {:<32} {}", kind.as_str(), self.faults.of(*kind))?;
        }
        writeln!(f, "runs that failed    {}", self.failures)?;
        for outcome in &self.failed {
            if let Some(violation) = &outcome.violation {
                writeln!(f, "seed {}: {violation}", outcome.seed)?;
                writeln!(f, "  replay: {}", outcome.replay())?;
            }
        }
        Ok(())
    }
}
