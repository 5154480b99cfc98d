//! Three members of Debian's etcd with three candidates, measured where etcd
//! is at its best: native watches, connections kept open, the lowest ttl its
//! defaults accept (its own `elect` command takes 60 s).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::etcd_candidate::{Campaign, Client, number};
use super::process::{Heard, Line, any_phase, await_lines, leashed, myself, now};
use super::stats::{Case, Timing};
use crate::failure::{Failure, Outcome};

const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "election/demo";
/// Seconds; what etcd's defaults raise a smaller one to.
const TTL: u64 = 2;

/// etcd with one set of timings, started anew for each turn.
pub(crate) struct Etcd {
    program: PathBuf,
    dir: PathBuf,
    /// Heartbeat interval and election timeout in milliseconds, if not the defaults.
    tuning: Option<(u32, u32)>,
}

impl Etcd {
    /// `name` is the directory for data and logs.
    pub(crate) fn new(
        program: &Path,
        dir: &Path,
        name: &str,
        tuning: Option<(u32, u32)>,
    ) -> Outcome<Self> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).map_err(|why| {
            Failure::new(format!("cannot create {}", dir.display()), why, "choose another --out")
        })?;
        Ok(Self { program: program.to_path_buf(), dir, tuning })
    }

    /// Starts a cluster, plays the cases, ends it.
    pub(crate) fn turn(&mut self, cases: &[Case]) -> Outcome<Vec<(Case, Outcome<Timing>)>> {
        let mut cluster = Cluster::start(self)?;
        let mut results = Vec::new();
        for case in cases {
            let result = match case {
                Case::Leader => cluster.kill_candidate(),
                Case::Quorum => cluster.kill_member(),
                Case::Both => cluster.kill_both(),
                Case::Resign => cluster.resign(),
                // etcd's election has no hand-over to a named candidate.
                Case::Transfer => continue,
            };
            let broken = result.is_err();
            results.push((*case, result));
            if broken {
                break;
            }
        }
        // A member preallocates 64 MB of log.
        let data: Vec<PathBuf> = (0..MEMBERS).map(|id| cluster.data(id)).collect();
        drop(cluster);
        for dir in data {
            let _ = std::fs::remove_dir_all(dir);
        }
        Ok(results)
    }
}

struct Cluster<'a> {
    etcd: &'a Etcd,
    urls: Vec<String>,
    peers: String,
    peer_urls: Vec<String>,
    members: Vec<Option<Heard>>,
    candidates: HashMap<usize, Heard>,
    started: usize,
    view: View,
    send: Sender<Line>,
    lines: Receiver<Line>,
}

/// What the candidates have said so far.
#[derive(Default)]
struct View {
    /// Candidate, time and token of the last win.
    elected: Option<(usize, u64, u64)>,
    /// Time and token each candidate saw last.
    seen: HashMap<usize, (u64, u64)>,
    watching: HashSet<usize>,
    resigned_at: Option<u64>,
}

impl View {
    fn hear(&mut self, tag: usize, line: &str) -> Option<()> {
        if line == "watching" {
            self.watching.insert(tag);
            return Some(());
        }
        let mut words = line.split(' ');
        let what = words.next()?;
        let at: u64 = words.next()?.parse().ok()?;
        let token = words.next().and_then(|word| word.parse().ok());
        match (what, token) {
            ("start", _) => self.resigned_at = Some(at),
            ("elected", Some(token)) => self.elected = Some((tag, at, token)),
            ("seen", Some(token)) => {
                self.seen.insert(tag, (at, token));
                self.watching.remove(&tag);
            }
            _ => {}
        }
        Some(())
    }

    /// When the last of `live` saw the token.
    fn last_view(&self, live: &HashMap<usize, Heard>, token: u64) -> Option<u64> {
        let at = |tag| self.seen.get(tag).filter(|(_, seen)| *seen == token).map(|(at, _)| *at);
        live.keys().map(at).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn settled(&self, live: &HashMap<usize, Heard>) -> Option<()> {
        let (leader, _, token) = self.elected?;
        let all = live.contains_key(&leader) && live.keys().all(|tag| self.watching.contains(tag));
        (all && self.last_view(live, token).is_some()).then_some(())
    }
}

impl<'a> Cluster<'a> {
    fn start(etcd: &'a Etcd) -> Outcome<Self> {
        let ports = free_ports(2 * MEMBERS)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let urls: Vec<String> = ports[..MEMBERS].iter().map(url).collect();
        let peer_urls: Vec<String> = ports[MEMBERS..].iter().map(url).collect();
        let peers: Vec<String> =
            peer_urls.iter().enumerate().map(|(id, url)| format!("m{id}={url}")).collect();
        let (send, lines) = mpsc::channel();
        let mut cluster = Self {
            etcd,
            urls,
            peers: peers.join(","),
            peer_urls,
            members: Vec::new(),
            candidates: HashMap::new(),
            started: 0,
            view: View::default(),
            send,
            lines,
        };
        for id in 0..MEMBERS {
            let _ = std::fs::remove_dir_all(cluster.data(id));
            let member = cluster.member(id)?;
            cluster.members.push(Some(member));
        }
        cluster.quorum_leader()?;
        for _ in 0..MEMBERS {
            cluster.add_candidate()?;
        }
        cluster.settle()?;
        Ok(cluster)
    }

    fn data(&self, id: usize) -> PathBuf {
        self.etcd.dir.join(format!("m{id}"))
    }

    fn member(&self, id: usize) -> Outcome<Heard> {
        let mut command = leashed(self.etcd.program.as_os_str());
        command
            .args([OsStr::new("--data-dir"), self.data(id).as_os_str()])
            .args(["--name", &format!("m{id}"), "--initial-cluster", &self.peers])
            .args(["--listen-client-urls", &self.urls[id]])
            .args(["--advertise-client-urls", &self.urls[id]])
            .args(["--listen-peer-urls", &self.peer_urls[id]])
            .args(["--initial-advertise-peer-urls", &self.peer_urls[id]])
            .args(["--initial-cluster-token", "tenure-bench"])
            .args(["--logger", "zap", "--log-outputs", "stderr"]);
        if let Some((heartbeat, election)) = self.etcd.tuning {
            command.args(["--heartbeat-interval", &heartbeat.to_string()]);
            command.args(["--election-timeout", &election.to_string()]);
        }
        let (silent, _) = mpsc::channel();
        Heard::start(&mut command, id, &silent, &self.etcd.dir.join("members.log"))
    }

    fn add_candidate(&mut self) -> Outcome {
        let tag = self.started;
        self.started += 1;
        let mut command = myself("etcd-candidate");
        command.args(["--endpoints", &self.urls.join(","), "--key", KEY]).args([
            "--ttl",
            &TTL.to_string(),
            "--id",
            &format!("c{tag}"),
        ]);
        let log = self.etcd.dir.join("candidates.log");
        let candidate = Heard::start(&mut command, tag, &self.send, &log)?;
        self.candidates.insert(tag, candidate);
        Ok(())
    }

    /// Waits until one leads and everybody watches.
    fn settle(&mut self) -> Outcome {
        let Self { view, candidates, lines, .. } = self;
        if view.settled(candidates).is_some() {
            return Ok(());
        }
        await_lines(lines, PATIENCE, "etcd's candidates to settle", |tag, line| {
            view.hear(tag, line)?;
            view.settled(candidates)
        })
    }

    /// The member that leads the quorum, once all live ones agree on it.
    fn quorum_leader(&self) -> Outcome<usize> {
        let until = Instant::now() + PATIENCE;
        let mut last = String::from("no member answered");
        while Instant::now() < until {
            match self.agreed_leader() {
                Ok(leader) => return Ok(leader),
                Err(why) => last = why,
            }
            thread::sleep(Duration::from_millis(20));
        }
        let log = self.etcd.dir.join("members.log");
        Err(Failure::new("etcd has no leader", last, format!("see {}", log.display())))
    }

    fn agreed_leader(&self) -> Result<usize, String> {
        let (mut ids, mut leaders) = (Vec::new(), HashSet::new());
        for url in &self.urls {
            let client = Client::new(std::slice::from_ref(url), Duration::from_millis(500));
            let status = client.call("maintenance/status", &json!({}))?;
            ids.push(number(&status["header"]["member_id"]));
            leaders.insert(number(&status["leader"]));
        }
        let leader = leaders.iter().next().copied().flatten();
        let index = ids.iter().position(|id| id.is_some() && *id == leader);
        index.filter(|_| leaders.len() == 1).ok_or_else(|| "the members do not agree".into())
    }

    /// Kills the leading candidate; its successor waits for the lease to end.
    fn kill_candidate(&mut self) -> Outcome<Timing> {
        let (leader, _, token) = self.leading()?;
        thread::sleep(any_phase(Duration::from_millis(1000 * TTL / 3)));
        let start = self.candidates.get_mut(&leader).map_or_else(now, Heard::kill);
        self.candidates.remove(&leader);
        self.succession(start, token)
    }

    fn resign(&mut self) -> Outcome<Timing> {
        let (leader, _, token) = self.leading()?;
        thread::sleep(any_phase(Duration::from_millis(50)));
        let Some(mut resigning) = self.candidates.remove(&leader) else {
            return Err(Failure::new("nobody leads", "the leader is gone", "see the logs"));
        };
        self.view.resigned_at = None;
        resigning.tell("resign")?;
        let mut timing = self.succession(0, token)?;
        resigning.stop(Duration::from_secs(2));
        // The leader stamps the start itself: the bench's message to it is not etcd's.
        let start = self.view.resigned_at.unwrap_or_default();
        for end in [&mut timing.grant_ns, &mut timing.view_ns] {
            *end = end.map(|at| at.saturating_sub(start));
        }
        Ok(timing)
    }

    /// Kills the quorum's leader; the first lease and key from a survivor counts.
    fn kill_member(&mut self) -> Outcome<Timing> {
        let leader = self.quorum_leader()?;
        thread::sleep(any_phase(Duration::from_millis(100)));
        let survivors: Vec<String> =
            (0..MEMBERS).filter(|id| *id != leader).map(|id| self.urls[id].clone()).collect();
        let start = self.members[leader].as_mut().map_or_else(now, Heard::kill);
        let granted = first_grant(&survivors, start);
        self.revive(leader)?;
        self.settle()?;
        match granted {
            Some(at) => Ok(Timing::between(start, Some(at), None)),
            None => Err(Failure::new(
                "etcd granted nothing after its leader's death",
                format!("no grant within {PATIENCE:?}"),
                format!("see {}", self.etcd.dir.display()),
            )),
        }
    }

    /// Kills the quorum's leader and the leading candidate together.
    fn kill_both(&mut self) -> Outcome<Timing> {
        let quorum = self.quorum_leader()?;
        let (leader, _, token) = self.leading()?;
        thread::sleep(any_phase(Duration::from_millis(1000 * TTL / 3)));
        let start = self.members[quorum].as_mut().map_or_else(now, Heard::kill);
        self.candidates.get_mut(&leader).map_or_else(now, Heard::kill);
        self.candidates.remove(&leader);
        let timing = self.succession(start, token);
        self.revive(quorum)?;
        timing
    }

    fn leading(&self) -> Outcome<(usize, u64, u64)> {
        self.view.elected.ok_or_else(|| {
            Failure::new("nobody leads on etcd", "no candidate said so", "see the logs")
        })
    }

    fn revive(&mut self, id: usize) -> Outcome {
        if let Some(member) = &mut self.members[id] {
            member.reap();
        }
        self.members[id] = None;
        self.members[id] = Some(self.member(id)?);
        self.quorum_leader().map(|_| ())
    }

    /// Waits for a token above `old` that every live candidate has seen, then
    /// brings the candidates back to their number.
    fn succession(&mut self, start: u64, old: u64) -> Outcome<Timing> {
        let Self { view, candidates, lines, .. } = self;
        let timing = await_lines(lines, PATIENCE, "etcd's next leader", |tag, line| {
            view.hear(tag, line)?;
            let (_, at, token) = view.elected.filter(|(_, _, token)| *token > old)?;
            let last = view.last_view(candidates, token)?;
            Some(Timing::between(start, Some(at), Some(last)))
        })?;
        self.add_candidate()?;
        self.settle()?;
        Ok(timing)
    }
}

/// Asks the members for a lease and a key again and again, a fresh attempt
/// every 20 ms to each, so that one that got stuck costs nothing; when the
/// first came back.
fn first_grant(urls: &[String], start: u64) -> Option<u64> {
    let done = AtomicBool::new(false);
    let (send, first) = mpsc::channel();
    thread::scope(|scope| {
        for (index, url) in urls.iter().enumerate() {
            for lane in 0..3_u64 {
                let (send, done) = (send.clone(), &done);
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(20 * lane));
                    let client = Client::new(std::slice::from_ref(url), Duration::from_millis(60));
                    while !done.load(Ordering::Relaxed) {
                        let key = format!("grant/{start}/{index}/{lane}");
                        let won = client
                            .grant(TTL)
                            .and_then(|lease| client.acquire(&key, "probe", &lease))
                            .is_ok_and(|campaign| matches!(campaign, Campaign::Won(_)));
                        if won {
                            let _ = send.send(now());
                            return;
                        }
                    }
                });
            }
        }
        let at = first.recv_timeout(PATIENCE).ok();
        done.store(true, Ordering::Relaxed);
        at
    })
}

/// Ports nobody listens on at the moment.
fn free_ports(count: usize) -> Outcome<Vec<u16>> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| bind()).collect();
    listeners
        .and_then(|all| all.iter().map(|one| Ok(one.local_addr()?.port())).collect())
        .map_err(|why| Failure::new("no free port for etcd", why, "check the loopback device"))
}
