//! Many seeds, and a report.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Mutant, Outcome,
    faults::{Counts, Kind},
    run::run,
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
    /// Runs in which an invariant did not hold.
    pub failed: Vec<Outcome>,
    /// Real time.
    pub took: Duration,
}

/// Failed runs that are kept; the report counts on.
const KEPT: usize = 20;

impl Report {
    fn take(&mut self, outcome: Outcome) {
        self.seeds += 1;
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
        if outcome.violation.is_some() && self.failed.len() < KEPT {
            self.failed.push(outcome);
        }
    }

    /// Kinds of faults that were never applied.
    #[must_use]
    pub fn never(&self) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|kind| self.faults.of(*kind) == 0).collect()
    }
}

/// Runs the seeds from `from` until `stop` says so, on this many threads. Each run is a
/// function of its seed alone, so the threads only share the work.
#[must_use]
pub fn hunt(
    from: u64,
    threads: usize,
    mutant: Option<Mutant>,
    stop: &(dyn Fn(u64, &Report) -> bool + Sync),
) -> Report {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = {
                        let report = report.lock().unwrap_or_else(PoisonError::into_inner);
                        stop(seed, &report)
                    };
                    if enough {
                        break;
                    }
                    let outcome = run(seed, mutant, false);
                    report.lock().unwrap_or_else(PoisonError::into_inner).take(outcome);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = started.elapsed();
    report.failed.sort_by_key(|outcome| outcome.seed);
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated as f64 / 3.6e12;
        let took = self.took.as_secs_f64().max(1e-9);
        writeln!(f, "seeds               {}", self.seeds)?;
        writeln!(f, "events              {}", self.events)?;
        writeln!(
            f,
            "simulated           {hours:.2} h, {:.0} times real time",
            hours * 3600.0 / took
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
        for kind in Kind::ALL {
            writeln!(f, "  {:<32} {}", kind.as_str(), self.faults.of(*kind))?;
        }
        for outcome in &self.failed {
            if let Some(violation) = &outcome.violation {
                writeln!(f, "seed {}: {violation}", outcome.seed)?;
                writeln!(f, "  replay: cargo xtask sim --seed {}", outcome.seed)?;
            }
        }
        Ok(())
    }
}
