//! Many seeds, shared by threads.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{Outcome, Report};

/// Runs the seeds from `from` until `stop` says so, on this many threads. Each run is a
/// function of its seed alone, so the threads only share the work. `stop` is asked before each
/// run, with what there is so far.
#[must_use]
pub fn hunt(
    from: u64,
    threads: usize,
    run: &(dyn Fn(u64) -> Outcome + Sync),
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
                    let outcome = run(seed);
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
