//! Work for a cluster that something else is done to: elections that are held all the time, and
//! others that are won and given up again, so many times a second.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use serde::Serialize;
use tenure::Elector;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Sessions that hold elections, each its own connection.
    pub sessions: u32,
    /// Elections that each of them holds.
    pub elections: u32,
    /// Sessions that win an election and give it up, each twenty times a second at most.
    pub changing: u32,
    /// Length of the leases.
    pub ttl: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Work {
    /// Elections that were held.
    pub held: u64,
    /// How often one of them was lost without being given up, by what its holder was told.
    pub lost: BTreeMap<&'static str, u64>,
    /// Elections that were won and given up.
    pub rounds: u64,
    /// Median from the campaign to the grant of these, in milliseconds.
    pub median_ms: f64,
    /// The slowest of them.
    pub slowest_ms: f64,
    /// Calls that failed and were made again.
    pub errors: u64,
}

/// Elections that one changing session wins and gives up in a second. Not as many as it can: that
/// would be all that the machine has left, and no load but a race.
const PER_SECOND: u32 = 20;

/// Pause before a call that failed is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// Works until `stop` says so; `ready` is called when everything is held for the first time.
///
/// # Errors
/// When the cluster cannot be reached at all, or a name or a URL is none.
pub async fn load(
    url: &str,
    load: Load,
    stop: watch::Receiver<bool>,
    ready: impl FnOnce(),
) -> io::Result<Work> {
    let mut tasks = JoinSet::new();
    let (holds, mut held) = watch::channel(0_u32);
    for session in 0..load.sessions {
        let elector = connect(url, load.ttl).await?;
        for election in 0..load.elections {
            let name = format!("load/held-{session}-{election}");
            tasks.spawn(hold(elector.clone(), name, stop.clone(), holds.clone()));
        }
    }
    let all = load.sessions * load.elections;
    held.wait_for(|held| *held >= all).await.map_err(io::Error::other)?;
    for session in 0..load.changing {
        let elector = connect(url, load.ttl).await?;
        tasks.spawn(change(elector, format!("load/changing-{session}"), stop.clone()));
    }
    ready();
    let (mut work, mut took) = (Work { held: u64::from(all), ..Work::default() }, Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (part, times) = done.map_err(io::Error::other)??;
        for (reason, times) in part.lost {
            *work.lost.entry(reason).or_default() += times;
        }
        work.errors += part.errors;
        took.extend(times);
    }
    took.sort_unstable();
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    work.rounds = took.len() as u64;
    work.median_ms = took.get(took.len() / 2).map(millis).unwrap_or_default();
    work.slowest_ms = took.last().map(millis).unwrap_or_default();
    Ok(work)
}

/// Trouble has not begun, so whoever is there answers.
async fn connect(url: &str, ttl: Duration) -> io::Result<Elector> {
    Elector::builder().ttl(ttl).connect(url).await.map_err(io::Error::other)
}

type Part = io::Result<(Work, Vec<Duration>)>;

/// Holds one election, and wins it back whenever it is lost.
async fn hold(
    elector: Elector,
    name: String,
    mut stop: watch::Receiver<bool>,
    holds: watch::Sender<u32>,
) -> Part {
    let mut work = Work::default();
    let mut first = true;
    loop {
        let campaign = elector.campaign(&name, "one").start();
        let mut campaign = campaign.map_err(io::Error::other)?;
        while let Some(Ok(leadership)) = unless(&mut stop, campaign.elected()).await {
            if std::mem::take(&mut first) {
                holds.send_modify(|held| *held += 1);
            }
            if let Some(lost) = unless(&mut stop, leadership.lost()).await {
                *work.lost.entry(lost.loss.as_str()).or_default() += 1;
            }
        }
        if *stop.borrow() {
            return Ok((work, Vec::new()));
        }
        work.errors += 1;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Wins one election and gives it up, over and over.
async fn change(elector: Elector, name: String, mut stop: watch::Receiver<bool>) -> Part {
    let (mut work, mut took) = (Work::default(), Vec::new());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if unless(&mut stop, pace.tick()).await.is_none() {
            return Ok((work, took));
        }
        let begun = Instant::now();
        let campaign = elector.campaign(&name, "one").start();
        let mut campaign = campaign.map_err(io::Error::other)?;
        match unless(&mut stop, campaign.elected()).await {
            None => return Ok((work, took)),
            Some(Ok(leadership)) => {
                took.push(begun.elapsed());
                leadership.resign();
                // It says that it is left when the store has confirmed it.
                let _ = unless(&mut stop, campaign.elected()).await;
            }
            Some(Err(_)) => {
                work.errors += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// What comes of it, unless the work is to stop first.
async fn unless<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}
