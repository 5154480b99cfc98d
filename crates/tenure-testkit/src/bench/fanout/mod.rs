//! How long it takes until the *last* of many watchers is told of a new leader, side by side.
//!
//! All watchers are in this process, each on a connection of its own, on one thread; so it is
//! with every store. A round is a change of the leader, announced by the store's cheapest way:
//! one write of a hundred bytes to what all watch at etcd and ZooKeeper, one `PUBLISH` at Redis.
//! Ours is a real change: the leader resigns, the next one is granted, and the views of all
//! change. Nothing at the peers decides who leads, which is in their favour.

mod etcd;
mod ours;
mod redis;
mod zookeeper;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Pid;
use serde::Serialize;
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    PATIENCE,
    candidate::monotonic_nanos,
    servers::{Etcd, Redis, Server, ZooKeeper},
};

/// Length of what is told: the value that a leader publishes about itself.
const LENGTH: usize = 100;
/// Pause before each change, so that it meets a calm store.
const CALM: Duration = Duration::from_millis(100);
/// Rounds that are not counted.
const WARM_UP: u32 = 2;

/// What one store showed with so many watchers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// The store.
    pub store: String,
    /// Connections that watch.
    pub watchers: usize,
    /// From the change until the last one was told, each round, in milliseconds, sorted.
    pub last_ms: Vec<f64>,
    /// Processor time of all servers for one watcher and change, in microseconds.
    pub server_cpu_us: f64,
    /// Processor time of this process, which is all the watchers, for the same.
    pub watcher_cpu_us: f64,
}

impl Told {
    /// The median round, in milliseconds.
    #[must_use]
    pub fn median_ms(&self) -> f64 {
        self.last_ms.get(self.last_ms.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// What the watchers of one store have heard.
#[derive(Debug)]
struct Heard {
    /// News with a higher number than this count.
    above: AtomicU64,
    told: AtomicUsize,
    latest: AtomicU64,
    all: usize,
    woken: Notify,
}

impl Heard {
    /// Nothing counts before a round has begun: what a watcher is told when it connects is no news.
    fn by(all: usize) -> Self {
        Self {
            above: AtomicU64::new(u64::MAX),
            told: AtomicUsize::new(0),
            latest: AtomicU64::new(0),
            all,
            woken: Notify::new(),
        }
    }

    /// A watcher was told of this number; `last` is the number it was told before.
    fn note(&self, number: u64, last: &mut u64) {
        let above = self.above.load(Ordering::SeqCst);
        if number <= above || *last > above {
            return;
        }
        *last = number;
        self.latest.fetch_max(monotonic_nanos(), Ordering::SeqCst);
        if self.told.fetch_add(1, Ordering::SeqCst) + 1 == self.all {
            self.woken.notify_one();
        }
    }

    /// News above this number are what is waited for now.
    fn begin(&self, above: u64) {
        self.told.store(0, Ordering::SeqCst);
        self.latest.store(0, Ordering::SeqCst);
        self.above.store(above, Ordering::SeqCst);
    }

    async fn everybody(&self, what: &str) -> io::Result<u64> {
        if timeout(PATIENCE, self.woken.notified()).await.is_err() {
            let (told, all) = (self.told.load(Ordering::SeqCst), self.all);
            return Err(io::Error::other(format!("{what}: only {told} of {all} were told")));
        }
        Ok(self.latest.load(Ordering::SeqCst))
    }
}

/// A store, as this bench uses it.
enum Store {
    Ours(Box<ours::Changer>),
    Etcd(etcd::Changer),
    ZooKeeper(zookeeper::Changer),
    Redis(redis::Changer),
}

/// Who runs it: dropped, it is killed.
enum Servers {
    /// And their URL.
    Ours(Vec<Server>, String),
    Etcd(Etcd),
    ZooKeeper(ZooKeeper),
    Redis(Redis),
}

struct Field {
    name: &'static str,
    store: Store,
    servers: Servers,
    heard: Arc<Heard>,
    watchers: JoinSet<io::Result<()>>,
    number: u64,
    took: Vec<f64>,
    server_cpu: Duration,
    watcher_cpu: Duration,
}

/// The stores, in the order of a round.
pub const STORES: [&str; 4] = ["tenure", "etcd", "zookeeper", "redis"];

/// Runs so many rounds with so many watchers on these stores, interleaved. `nodes` starts three
/// nodes of ours in a directory.
///
/// # Errors
/// When a server cannot be started, or a watcher is not told in time.
pub async fn fanout(
    stores: &[&str],
    watchers: usize,
    rounds: u32,
    nodes: impl Fn(&Path) -> io::Result<(Vec<Server>, String)>,
    mut progress: impl FnMut(&str),
) -> io::Result<Vec<Told>> {
    let dir = tempfile::tempdir()?;
    let (mut fields, mut started) = (Vec::new(), Vec::new());
    // All servers first: their ports are free ones, and a thousand watchers take many of those.
    for name in STORES.into_iter().filter(|name| stores.contains(name)) {
        let dir = dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        started.push((name, Servers::start(name, &dir, &nodes)?));
    }
    for (name, servers) in started {
        fields.push(Field::start(name, servers, watchers).await?);
        progress(&format!("{name}: {watchers} watch"));
    }
    for round in 0..rounds + WARM_UP {
        for field in &mut fields {
            let took = field.round(round >= WARM_UP).await?;
            let name = field.name;
            progress(&format!("[{round}/{}] {name:10} {took:.2} ms", rounds + WARM_UP - 1));
        }
    }
    Ok(fields.into_iter().map(|field| field.told(watchers, rounds)).collect())
}

impl Servers {
    fn start(
        name: &str,
        dir: &Path,
        nodes: &impl Fn(&Path) -> io::Result<(Vec<Server>, String)>,
    ) -> io::Result<Self> {
        Ok(match name {
            "tenure" => {
                let (servers, url) = nodes(dir)?;
                Self::Ours(servers, url)
            }
            "etcd" => Self::Etcd(Etcd::start(dir, 3)?),
            "zookeeper" => Self::ZooKeeper(ZooKeeper::start(dir, 3)?),
            _ => Self::Redis(Redis::start(dir, &["save", "", "appendonly", "no"])?),
        })
    }

    fn pids(&self) -> Vec<Pid> {
        match self {
            Self::Ours(servers, _) => servers.iter().filter_map(Server::pid).collect(),
            Self::Etcd(etcd) => etcd.pids(),
            Self::ZooKeeper(zookeeper) => zookeeper.pids(),
            Self::Redis(redis) => redis.pid().into_iter().collect(),
        }
    }
}

impl Field {
    async fn start(name: &'static str, servers: Servers, count: usize) -> io::Result<Self> {
        let heard = Arc::new(Heard::by(count));
        let mut watchers = JoinSet::new();
        let mut number = 0;
        let store = match &servers {
            Servers::Ours(_, url) => {
                let store = ours::start(url, count, &heard, &mut watchers).await?;
                number = store.token();
                Store::Ours(store.into())
            }
            Servers::Etcd(etcd) => {
                Store::Etcd(etcd::start(&etcd.url(), count, &heard, &mut watchers).await?)
            }
            Servers::ZooKeeper(zookeeper) => {
                let hosts = zookeeper.hosts();
                Store::ZooKeeper(zookeeper::start(&hosts, count, &heard, &mut watchers).await?)
            }
            Servers::Redis(redis) => {
                Store::Redis(redis::start(redis.port(), count, &heard, &mut watchers).await?)
            }
        };
        Ok(Self {
            name,
            store,
            servers,
            heard,
            watchers,
            number,
            took: Vec::new(),
            server_cpu: Duration::ZERO,
            watcher_cpu: Duration::ZERO,
        })
    }

    /// One change; how long until the last watcher was told, in milliseconds.
    async fn round(&mut self, counts: bool) -> io::Result<f64> {
        tokio::time::sleep(CALM).await;
        if let Some(ended) = self.watchers.try_join_next() {
            ended.map_err(io::Error::other)??;
            return Err(io::Error::other(format!("a watcher of {} has ended", self.name)));
        }
        let me = [rustix::process::getpid()];
        let before = (cpu(&self.servers.pids()), cpu(&me));
        self.heard.begin(self.number);
        let begun = monotonic_nanos();
        let number = self.number + 1;
        self.number = match &mut self.store {
            Store::Ours(changer) => changer.change().await?,
            Store::Etcd(changer) => changer.change(number).await?,
            Store::ZooKeeper(changer) => changer.change(number).await?,
            Store::Redis(changer) => changer.change(number).await?,
        };
        let last = self.heard.everybody(self.name).await?;
        // What is left to do after the last word belongs to the change, too.
        tokio::time::sleep(CALM).await;
        let took = Duration::from_nanos(last.saturating_sub(begun)).as_secs_f64() * 1e3;
        if counts {
            self.took.push(took);
            self.server_cpu += cpu(&self.servers.pids()).saturating_sub(before.0);
            self.watcher_cpu += cpu(&me).saturating_sub(before.1);
        }
        Ok(took)
    }

    fn told(mut self, watchers: usize, rounds: u32) -> Told {
        self.took.sort_by(f64::total_cmp);
        let all = watchers as f64 * f64::from(rounds).max(1.0);
        Told {
            store: self.name.to_owned(),
            watchers,
            last_ms: self.took,
            server_cpu_us: self.server_cpu.as_secs_f64() * 1e6 / all,
            watcher_cpu_us: self.watcher_cpu.as_secs_f64() * 1e6 / all,
        }
    }
}

/// Time on a core of all threads of these processes so far. A change is too short for the clock
/// ticks of `stat`.
fn cpu(of: &[Pid]) -> Duration {
    let threads = |pid: &Pid| {
        let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
        std::fs::read_dir(tasks).into_iter().flatten().flatten()
    };
    let nanos = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(of.iter().flat_map(threads).filter_map(nanos).sum())
}

/// What is told in this round: its number, and as many bytes as a leader says about itself.
fn news(number: u64) -> String {
    format!("{number:0>LENGTH$}")
}

/// The number in what was told.
fn number(news: &[u8]) -> Option<u64> {
    std::str::from_utf8(news).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_have_a_length_and_a_number() {
        assert_eq!(news(42).len(), LENGTH);
        assert_eq!(number(news(42).as_bytes()), Some(42));
        assert_eq!(number(b"x"), None);
    }

    #[tokio::test]
    async fn a_watcher_counts_once_and_only_for_news() {
        let heard = Heard::by(2);
        let (mut one, mut other) = (0, 0);
        heard.note(4, &mut one);
        heard.note(4, &mut other);
        heard.begin(4);
        heard.note(4, &mut one);
        heard.note(5, &mut one);
        heard.note(6, &mut one);
        assert_eq!(heard.told.load(Ordering::SeqCst), 1);
        heard.note(6, &mut other);
        assert!(heard.everybody("test").await.unwrap() > 0);
    }
}
