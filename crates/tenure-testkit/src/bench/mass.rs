//! Very many elections on a few sessions: how fast they are granted, what holding them costs, and
//! how fast somebody else leads all of them when their holder dies.

use std::{
    fmt, fs, io,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    task::Poll,
    time::{Duration, Instant},
};

use rustix::process::Pid;
use serde::Serialize;
use tenure::{Campaign, Elector, Leadership};
use tokio::task::JoinSet;

use crate::PATIENCE;

/// What is asked of each store.
#[derive(Debug, Clone, Copy)]
pub struct Mass {
    /// Elections in all.
    pub elections: u32,
    /// Sessions that hold them, each its share.
    pub sessions: u32,
    /// Length of the leases.
    pub ttl: Duration,
}

/// A store under test.
#[derive(Debug)]
pub(super) struct Field {
    /// What it is called.
    pub store: String,
    /// Where it is.
    pub url: String,
    /// Its servers, for what they cost.
    pub servers: Vec<Pid>,
    /// How much is asked of it.
    pub mass: Mass,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// The store.
    pub store: String,
    /// Elections held.
    pub elections: u32,
    /// Sessions that hold them.
    pub sessions: u32,
    /// Grants in a second, from the first campaign to the last grant.
    pub grants_per_second: f64,
    /// Processor time of all servers for one grant, in microseconds.
    pub cpu_us_per_grant: f64,
    /// Processor time of all servers for each election and renewal interval, in microseconds.
    pub cpu_us_per_renewal: f64,
    /// Memory of the servers while so many are held and as many wait, in MB, largest first.
    pub resident_mb: Vec<f64>,
    /// From `kill -9` of the holder until somebody else leads all of them.
    pub taken_over_in_ms: f64,
    /// The same for the first of them.
    pub first_after_ms: f64,
}

/// Longest wait for what is asked of all elections.
const LONGEST: Duration = Duration::from_secs(60);

/// A process that contends for all of them.
struct Crowd {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(field: &Field, name: &str) -> io::Result<Self> {
        let Mass { elections, sessions, ttl } = field.mass;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", &field.url, &elections.to_string(), &sessions.to_string()])
            .args([&ttl.as_millis().to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let words = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        Ok(Self { child, words: BufReader::new(words) })
    }

    /// Waits until it says this word.
    fn says(&mut self, word: &str) -> io::Result<Instant> {
        let mut line = String::new();
        while self.words.read_line(&mut line)? > 0 {
            if line.trim() == word {
                return Ok(Instant::now());
            }
            line.clear();
        }
        Err(io::Error::other(format!("a process that contends has ended without {word:?}")))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It has ended, or must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it on one store. `progress` is told how far it is.
///
/// # Errors
/// When the store cannot be used, or a process of the bench ends before its time.
pub(super) fn mass(field: &Field, mut progress: impl FnMut(&str)) -> io::Result<Held> {
    let Mass { elections, sessions, ttl } = field.mass;
    let count = f64::from(elections);
    let before = cpu(&field.servers)?;
    let begun = Instant::now();
    let mut holder = Crowd::start(field, "one")?;
    let granted = holder.says("all")?.since(begun);
    let granting = cpu(&field.servers)? - before;
    progress(&format!("{elections} elections granted after {granted:.1?}"));
    // What was asked while they were elected comes to rest.
    std::thread::sleep(ttl);
    let (before, begun) = (cpu(&field.servers)?, Instant::now());
    std::thread::sleep(ttl * 3);
    let renewing = cpu(&field.servers)? - before;
    let renewals = begun.elapsed().as_secs_f64() / (ttl / 4).as_secs_f64() * count;
    let begun = Instant::now();
    let mut next = Crowd::start(field, "two")?;
    next.says("waiting")?;
    progress(&format!("as many wait after {:.1?}", begun.elapsed()));
    std::thread::sleep(ttl);
    let resident_mb = resident(&field.servers)?;
    let killed = Instant::now();
    holder.child.kill()?;
    let first = next.says("first")?.since(killed);
    let all = next.says("all")?.since(killed);
    progress(&format!("holder killed: the first after {first:.1?}, all after {all:.1?}"));
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Held {
        store: field.store.clone(),
        elections,
        sessions,
        grants_per_second: count / granted.as_secs_f64(),
        cpu_us_per_grant: micros(granting) / count,
        cpu_us_per_renewal: micros(renewing) / renewals,
        resident_mb,
        taken_over_in_ms: all.as_secs_f64() * 1e3,
        first_after_ms: first.as_secs_f64() * 1e3,
    })
}

trait Since {
    fn since(self, earlier: Instant) -> Duration;
}

impl Since for Instant {
    fn since(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resident: Vec<_> = self.resident_mb.iter().map(|mb| format!("{mb:.0}")).collect();
        write!(
            f,
            "{:10} {:6} elections on {} sessions: {:.0} grants/s, {:.1} us of processor each; \
             {:.3} us a renewal; {} MB; kill -9: first after {:.1} ms, all after {:.0} ms",
            self.store,
            self.elections,
            self.sessions,
            self.grants_per_second,
            self.cpu_us_per_grant,
            self.cpu_us_per_renewal,
            resident.join("+"),
            self.first_after_ms,
            self.taken_over_in_ms,
        )
    }
}

/// What the kernel says the servers have used so far.
fn cpu(servers: &[Pid]) -> io::Result<Duration> {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let mut ticks = 0;
    for server in servers {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.as_raw_nonzero()))?;
        // The name, in brackets, may hold anything; times are the 12th and 13th word after it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let words = rest.split_whitespace().skip(11).take(2);
        ticks += words.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * 1000 / ticks_per_second))
}

fn resident(servers: &[Pid]) -> io::Result<Vec<f64>> {
    let mut all = Vec::new();
    for server in servers {
        let status = fs::read_to_string(format!("/proc/{}/status", server.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        all.push(kib.unwrap_or_default() * 1024.0 / 1e6);
    }
    all.sort_by(|one, other| other.total_cmp(one));
    Ok(all)
}

/// The process that contends: says `waiting` when it is in the queue of all elections, `first`
/// when it leads one, and `all` when it leads all.
///
/// # Errors
/// When the store cannot be used, or refuses.
pub(super) async fn hold(
    url: &str,
    mass: Mass,
    name: &str,
    mut say: impl FnMut(&str),
) -> io::Result<()> {
    let mut joining = JoinSet::new();
    for session in 0..mass.sessions {
        let (url, name) = (url.to_owned(), format!("{name}-{session}"));
        joining.spawn(async move { contend(&url, mass, session, &name).await });
    }
    let mut campaigns = Vec::new();
    while let Some(joined) = joining.join_next().await {
        campaigns.extend(joined.map_err(io::Error::other)??);
    }
    let (mut held, mut waiting, mut leading) = (Vec::new(), Vec::new(), JoinSet::new());
    let begun = Instant::now();
    for (elector, mut campaign) in campaigns {
        let patience = LONGEST.saturating_sub(begun.elapsed());
        match tokio::time::timeout(patience, elected_or_waiting(&mut campaign)).await {
            Ok(Some(elected)) => {
                held.push((elected.map_err(io::Error::other)?, elector, campaign));
            }
            Ok(None) => waiting.push((elector, campaign)),
            Err(_) => return Err(late("are known", held.len() + waiting.len(), mass)),
        }
    }
    if !waiting.is_empty() {
        say("waiting");
    }
    for (elector, mut campaign) in waiting {
        leading.spawn(async move {
            let elected = campaign.elected().await;
            elected.map(|leadership| (leadership, elector, campaign))
        });
    }
    let mut is_first = held.is_empty();
    while let Some(elected) = leading.join_next().await {
        if begun.elapsed() > LONGEST * 2 {
            return Err(late("are led", held.len(), mass));
        }
        if std::mem::take(&mut is_first) {
            say("first");
        }
        held.push(elected.map_err(io::Error::other)?.map_err(io::Error::other)?);
    }
    // Granted and lost again is not held.
    let kept = held.iter().filter(|(leadership, ..)| leadership.check().is_ok()).count();
    if kept < held.len() {
        return Err(late("are still led", kept, mass));
    }
    say("all");
    core::future::pending::<()>().await;
    drop(held);
    Ok(())
}

/// Whoever leads already need not wait; a place in the queue comes before that.
async fn elected_or_waiting(campaign: &mut Campaign) -> Option<Result<Leadership, tenure::Error>> {
    core::future::poll_fn(|context| {
        let elected = { core::pin::pin!(campaign.elected()).poll(context) };
        match elected {
            Poll::Ready(elected) => Poll::Ready(Some(elected)),
            Poll::Pending if campaign.position().is_some() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn late(what: &str, elections: usize, mass: Mass) -> io::Error {
    let all = mass.elections;
    io::Error::other(format!("only {elections} of {all} elections {what}: too much at once"))
}

async fn contend(
    url: &str,
    mass: Mass,
    session: u32,
    name: &str,
) -> io::Result<Vec<(Elector, Campaign)>> {
    let begun = Instant::now();
    let elector = loop {
        match Elector::builder().ttl(mass.ttl).connect(url).await {
            Ok(elector) => break elector,
            Err(error) if error.is_retryable() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    };
    let mut campaigns = Vec::new();
    for number in (session..mass.elections).step_by(usize::try_from(mass.sessions).unwrap_or(1)) {
        let campaign = elector.campaign(&format!("mass/{number:06}"), name).start();
        campaigns.push((elector.clone(), campaign.map_err(io::Error::other)?));
    }
    Ok(campaigns)
}
