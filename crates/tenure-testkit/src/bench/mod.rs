//! How fast a successor leads, ours and with each store's usual client, side by side.
//!
//! In each round all contestants of a store run at once, and so do the stores, so that whatever
//! else the machine does hits all of them alike. Times are from the moment before a signal to
//! the successor's own word, both by this machine's monotonic clock.

mod contestant;
mod fanout;
mod ground;
mod load;
mod mass;
mod peers;
mod report;
mod steady;

use std::{io, time::Duration};

use rustix::process::Signal;

use crate::{PATIENCE, candidate::Candidate};

pub use contestant::{Contestant, Kind};
pub use fanout::{STORES, Told, fanout};
pub use ground::{held_by, holder, nodes};
pub use load::{Load, Work, load};
pub use mass::{Held, Mass};
pub use peers::Peers;
pub use report::{Report, Row};
pub use steady::{Meter, Steady, steady};

/// The golden ratio, less one.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

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
    /// What it is.
    pub kind: Kind,
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
        for end in &contestant.ends {
            let times_of = Times {
                contestant: contestant.name.clone(),
                store: contestant.store.clone(),
                kind: contestant.kind,
                end: *end,
                took: Vec::new(),
                failed: 0,
            };
            times.push((contestant, times_of));
        }
    }
    for round in 0..rounds {
        // Holders die at moments spread over a whole ttl. In steps of a fraction of it, every
        // moment would lie alike between two renewals of a client that renews at such a fraction:
        // four rounds told nothing about one that renews every quarter. The golden ratio lies
        // evenly in any interval (J. van der Corput, 1935).
        let phase = ttl.mul_f64((f64::from(round) * GOLDEN).fract());
        let took: Vec<_> = std::thread::scope(|scope| {
            let one = |(contestant, times): &(&'_ Contestant, Times)| {
                let (contestant, end) = ((*contestant).clone(), times.end);
                scope.spawn(move || one(&contestant, round, end, ttl, phase))
            };
            let all: Vec<_> = times.iter().map(one).collect();
            let gone = || io::Error::other("a thread of the bench has panicked");
            all.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(gone()))).collect()
        });
        for ((contestant, times), took) in times.iter_mut().zip(took) {
            let took = took?;
            match took {
                Some(took) => times.took.push(took),
                None => times.failed += 1,
            }
            let took = took.map_or_else(|| String::from("nobody"), |took| format!("{took:.1?}"));
            progress(&format!(
                "[{}/{rounds}] {:10} {:22} {:8} {took}",
                round + 1,
                contestant.store,
                contestant.name,
                times.end.as_str(),
            ));
        }
    }
    Ok(times.into_iter().map(|(_, times)| times).collect())
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
        let more: Vec<&str> = contestant.more.iter().map(String::as_str).collect();
        Candidate::start_with(&contestant.program, &contestant.url, &election, id, ttl, &more)
    };
    let mut holder = start("c0")?;
    // A round that cannot even begin has failed, and is counted so.
    if holder.says_within("elected", PATIENCE).is_none() {
        return Ok(None);
    }
    let waiting = start("c1")?;
    if contestant.announces && waiting.says_within("campaigning", PATIENCE).is_none() {
        return Ok(None);
    }
    // A waiter is in the queue some time after it said that it contends; and the holder has
    // renewed at least once.
    std::thread::sleep(ttl / 2 + phase);
    let begun = match end {
        End::Kill => holder.kill(),
        End::Resign => holder.signal(end.signal()),
    };
    let elected = waiting.says_within("elected", ttl * 6 + Duration::from_secs(10));
    Ok(elected.map(|line| Duration::from_nanos(line.mono_ns.saturating_sub(begun))))
}
