//! How fast a successor leads, ours and with each store's usual client, side by side.
//!
//! Every round goes through all contestants in turn, so that whatever else the machine does
//! hits all of them alike. Times are from the moment before a signal to the successor's own
//! word, both by this machine's monotonic clock.

mod contestant;
mod peers;
mod report;

use std::{io, time::Duration};

use rustix::process::Signal;

use crate::candidate::Candidate;

pub use contestant::Contestant;
pub use peers::Peers;
pub use report::{Report, Row};

/// What ends a tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `kill -9` of the holder.
    Kill,
    /// SIGTERM: the holder gives up in peace.
    Resign,
}

impl End {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Resign => "resign",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Resign => Signal::TERM,
        }
    }
}

/// Times of one contestant for one kind of end.
#[derive(Debug, Clone)]
pub struct Times {
    /// Whose.
    pub contestant: String,
    /// On which store.
    pub store: String,
    /// Whether it is ours.
    pub ours: bool,
    /// What ended the tenures.
    pub end: End,
    /// One for each round that had a successor.
    pub took: Vec<Duration>,
    /// Rounds without one in time.
    pub failed: usize,
}

/// Runs the rounds. `progress` is told of each.
///
/// # Errors
/// When a contestant cannot be started.
pub fn run(
    contestants: &[Contestant],
    rounds: u32,
    ttl: Duration,
    mut progress: impl FnMut(&str),
) -> io::Result<Vec<Times>> {
    let mut times = Vec::new();
    for contestant in contestants {
        for end in [End::Kill, End::Resign] {
            times.push(Times {
                contestant: contestant.name.clone(),
                store: contestant.store.clone(),
                ours: contestant.ours,
                end,
                took: Vec::new(),
                failed: 0,
            });
        }
    }
    for round in 0..rounds {
        for (at, contestant) in contestants.iter().enumerate() {
            for (which, end) in [End::Kill, End::Resign].into_iter().enumerate() {
                let times = &mut times[2 * at + which];
                // Holders die at all phases between two renewals.
                let phase = ttl.mul_f64(0.25 * f64::from(round % 8) / 8.0);
                let took = one(contestant, round, end, ttl, phase)?;
                match took {
                    Some(took) => times.took.push(took),
                    None => times.failed += 1,
                }
                let took =
                    took.map_or_else(|| String::from("nobody"), |took| format!("{took:.1?}"));
                progress(&format!(
                    "[{}/{rounds}] {:10} {:22} {:8} {took}",
                    round + 1,
                    contestant.store,
                    contestant.name,
                    end.as_str(),
                ));
            }
        }
    }
    Ok(times)
}

/// One end of one tenure: how long until somebody else said that it leads.
fn one(
    contestant: &Contestant,
    round: u32,
    end: End,
    ttl: Duration,
    phase: Duration,
) -> io::Result<Option<Duration>> {
    let election = format!("bench-{}-{round}-{}", contestant.tag(), end.as_str().replace(' ', ""));
    let start = |id: &str| -> io::Result<Candidate> {
        Candidate::start(&contestant.program, &contestant.url, &election, id, ttl)
    };
    let mut holder = start("c0")?;
    holder.says("elected");
    let waiting = start("c1")?;
    if contestant.announces {
        waiting.says("campaigning");
    }
    // A waiter is in the queue some time after it said that it contends; and the holder has
    // renewed at least once.
    std::thread::sleep(ttl / 2 + phase);
    let begun = match end {
        End::Kill => holder.kill(),
        End::Resign => holder.signal(end.signal()),
    };
    let elected = waiting.says_within("elected", ttl * 6);
    Ok(elected.map(|line| Duration::from_nanos(line.mono_ns.saturating_sub(begun))))
}
