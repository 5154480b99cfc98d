//! Samples, their quantiles, and the figures that say how calm the machine was.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

/// What happens in one measurement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// kill -9 of the election's leader
    Leader,
    /// kill -9 of the quorum's leader
    Quorum,
    /// kill -9 of the process that leads both
    Both,
    /// The leader steps down
    Resign,
    /// The leader hands over to a named candidate
    Transfer,
}

impl Case {
    /// Every case, in the order of the report.
    pub(crate) const ALL: [Self; 5] =
        [Self::Leader, Self::Quorum, Self::Both, Self::Resign, Self::Transfer];

    /// How the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Leader => "kill election leader",
            Self::Quorum => "kill quorum leader",
            Self::Both => "kill both in one",
            Self::Resign => "resign",
            Self::Transfer => "transfer",
        }
    }
}

/// The result of one measurement, in nanoseconds from its start.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Timing {
    /// Until the successor held a committed grant.
    pub(crate) grant_ns: Option<u64>,
    /// Until the last live node's view showed it.
    pub(crate) view_ns: Option<u64>,
}

impl Timing {
    /// From three stamps of the same clock.
    pub(crate) fn between(start: u64, grant: Option<u64>, view: Option<u64>) -> Self {
        let since = |at: u64| at.saturating_sub(start);
        Self { grant_ns: grant.map(since), view_ns: view.map(since) }
    }
}

/// One measurement of one system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) system: String,
    pub(crate) case: Case,
    #[serde(flatten)]
    pub(crate) timing: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Median, 99th percentile and extremes, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) n: usize,
    pub(crate) min_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl Summary {
    /// Of nanoseconds; `None` when there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = values.into_iter().collect();
        sorted.sort_unstable();
        // Nearest rank: with few samples the 99th percentile is the largest.
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|ns| micros(*ns))
        };
        Some(Self {
            n: sorted.len(),
            min_us: micros(*sorted.first()?),
            p50_us: rank(50)?,
            p99_us: rank(99)?,
            max_us: micros(*sorted.last()?),
        })
    }
}

fn micros(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e6
}

/// A thread that asks to sleep for one millisecond over and over, and notes by
/// how much each sleep was too long: what the machine itself does to a wake-up.
pub(crate) struct Hiccups {
    list: Arc<AtomicUsize>,
    oversleeps: Arc<Mutex<Vec<Vec<u64>>>>,
    over: Arc<AtomicBool>,
    sleeper: Option<JoinHandle<()>>,
}

impl Hiccups {
    /// Starts the sleeper with a number of lists to tell phases apart.
    pub(crate) fn start(lists: usize) -> Self {
        let list = Arc::new(AtomicUsize::new(0));
        let oversleeps = Arc::new(Mutex::new(vec![Vec::new(); lists]));
        let over = Arc::new(AtomicBool::new(false));
        let sleeper = thread::spawn({
            let (list, oversleeps, over) = (list.clone(), oversleeps.clone(), over.clone());
            move || {
                let nap = Duration::from_millis(1);
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    thread::sleep(nap);
                    let late = begun.elapsed().saturating_sub(nap);
                    let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
                    let now = list.load(Ordering::Relaxed);
                    if let Ok(mut oversleeps) = oversleeps.lock()
                        && let Some(list) = oversleeps.get_mut(now)
                    {
                        list.push(late);
                    }
                }
            }
        });
        Self { list, oversleeps, over, sleeper: Some(sleeper) }
    }

    /// From now on oversleeps count for this list.
    pub(crate) fn during(&self, list: usize) {
        self.list.store(list, Ordering::Relaxed);
    }

    /// Ends the sleeper; one summary per list.
    pub(crate) fn stop(mut self) -> Vec<Option<Summary>> {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sleeper) = self.sleeper.take() {
            let _ = sleeper.join();
        }
        let oversleeps = std::mem::take(&mut *match self.oversleeps.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        });
        oversleeps.into_iter().map(Summary::of).collect()
    }
}

/// One flush of a preallocated file's block, in nanoseconds: the disk of these
/// machines has moods, and every figure depends on it.
pub(crate) fn flush(file: &File) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&[1; 256], 0)?;
    let begun = Instant::now();
    file.sync_data()?;
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// A file for [`flush`].
pub(crate) fn flush_file(dir: &Path) -> std::io::Result<File> {
    let file =
        File::options().create(true).truncate(true).write(true).open(dir.join("flush.probe"))?;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// The three load averages.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let of = |n: u64| Summary::of((1..=n).map(|i| i * 1000)).map(|s| (s.p50_us, s.p99_us));
        assert_eq!(of(0), None);
        assert_eq!(of(1), Some((1.0, 1.0)));
        assert_eq!(of(4), Some((2.0, 4.0)));
        assert_eq!(of(50), Some((25.0, 50.0)));
        assert_eq!(of(200), Some((100.0, 198.0)));
    }

    #[test]
    fn a_timing_never_goes_below_zero() {
        let timing = Timing::between(10, Some(25), Some(5));
        assert_eq!((timing.grant_ns, timing.view_ns), (Some(15), Some(0)));
    }
}
