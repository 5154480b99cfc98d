//! Ours: a cluster of `tenure dev`, heard through its JSON events. The nodes
//! stamp their events themselves (`mono_ns`, CLOCK_MONOTONIC of this machine),
//! so how late the bench reads them counts for nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{Heard, Held, Line, any_phase, await_lines, now};
use super::stats::{Case, Timing};
use crate::failure::{Failure, Outcome};
use crate::install;

const ELECTION: &str = "demo";
const PATIENCE: Duration = Duration::from_secs(20);
/// Nodes that come up in a second at the very least, on a machine that does other things, too.
const PER_SECOND: usize = 4;
/// How long nothing happens before a kill, so that it hits a calm cluster at
/// any phase of its keepalives.
const CALM: Duration = Duration::from_millis(150);

/// Clusters of one size, a new one for each turn.
pub(crate) struct Ours {
    program: PathBuf,
    dir: PathBuf,
    nodes: usize,
    ttl: &'static str,
}

/// What one node of an idle cluster costs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) node: String,
    pub(crate) rss_kb: u64,
    pub(crate) pss_kb: u64,
    pub(crate) cpu_percent: f64,
}

/// The events of `tenure dev --json` that matter here; others are passed over.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Ready {
        nodes: Vec<Started>,
    },
    NodeStarted(Started),
    NodeExited {
        node: String,
    },
    View(View),
    Elected {
        node: String,
        mono_ns: u64,
        election: String,
        token: u64,
    },
    /// A node leads the quorum and has committed an entry of its term.
    QuorumLeader {
        node: String,
        mono_ns: u64,
        term: u64,
    },
    /// The leader, or the node it told, has taken up a resign or a transfer.
    HandOver {
        mono_ns: u64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Started {
    node: String,
    pid: u32,
}

#[derive(Deserialize)]
struct View {
    node: String,
    mono_ns: u64,
    election: String,
    leader: Option<Leader>,
}

#[derive(Deserialize)]
struct Leader {
    token: u64,
}

/// A running cluster and what its nodes have said.
pub(super) struct Cluster<'a> {
    ours: &'a Ours,
    data: PathBuf,
    dev: Heard,
    lines: Receiver<Line>,
    pub(super) told: Told,
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) nodes: BTreeMap<String, Node>,
    ready: bool,
    /// Node, time and token of the last grant of the election.
    elected: Option<(String, u64, u64)>,
    /// Time and token of each node's own view; no token when it is not led.
    views: BTreeMap<String, (u64, Option<u64>)>,
    /// Node, time and term of the quorum's last leader.
    quorum: Option<(String, u64, u64)>,
    hand_over: Option<u64>,
}

pub(super) struct Node {
    pub(super) pid: u32,
    held: Held,
}

impl Ours {
    /// Builds the binary in release mode; its path.
    pub(crate) fn build() -> Outcome<PathBuf> {
        eprintln!("building ours: cargo build --release -p tenure-cli -j2");
        let root = install::workspace();
        let next = "mend the build, or leave ours out: --only etcd,floor";
        let built = install::cargo()
            .args(["build", "--release", "-p", "tenure-cli", "-j2"])
            .current_dir(&root)
            .status()
            .map_err(|why| Failure::new("cannot run cargo", why, next))?;
        let program = install::target().join("release/tenure");
        if built.success() && program.is_file() {
            return Ok(program);
        }
        Err(Failure::new("cannot build ours", format!("cargo ended with {built}"), next))
    }

    /// `dir` is where the data of the clusters goes.
    pub(crate) fn new(program: &Path, dir: &Path, nodes: usize) -> Outcome<Self> {
        let dir = dir.join(format!("ours-{nodes}"));
        std::fs::create_dir_all(&dir).map_err(|why| {
            Failure::new(format!("cannot create {}", dir.display()), why, "choose another --out")
        })?;
        Ok(Self { program: program.to_path_buf(), dir, nodes, ttl: "1s" })
    }

    /// The same with leases of another length.
    pub(crate) fn with_ttl(self, ttl: &'static str) -> Self {
        Self { ttl, ..self }
    }

    fn patience(&self) -> Duration {
        PATIENCE + Duration::from_secs((self.nodes / PER_SECOND) as u64)
    }

    /// Starts a cluster, plays the cases, ends it.
    pub(crate) fn turn(&mut self, cases: &[Case]) -> Outcome<Vec<(Case, Outcome<Timing>)>> {
        let mut cluster = Cluster::start(self)?;
        let mut results = Vec::new();
        for case in cases {
            let result = cluster.play(*case);
            let broken = result.is_err();
            results.push((*case, result));
            if broken {
                break;
            }
        }
        cluster.stop();
        Ok(results)
    }

    /// Lets a cluster sit for `time` and looks at what each node took.
    pub(crate) fn idle(&self, time: Duration) -> Outcome<Vec<Idle>> {
        let cluster = Cluster::start(self)?;
        thread::sleep(Duration::from_secs(2));
        let cpu = |node: &Node| cpu_ns(node.pid);
        let before: Vec<u64> = cluster.told.nodes.values().map(cpu).collect();
        let begun = now();
        thread::sleep(time);
        let span = Duration::from_nanos(now() - begun).as_secs_f64();
        let idle = cluster.told.nodes.iter().zip(before).map(|((name, node), before)| Idle {
            node: name.clone(),
            rss_kb: kilobytes(&format!("/proc/{}/status", node.pid), "VmRSS:"),
            pss_kb: kilobytes(&format!("/proc/{}/smaps_rollup", node.pid), "Pss:"),
            cpu_percent: Duration::from_nanos(cpu_ns(node.pid).saturating_sub(before))
                .as_secs_f64()
                / span
                * 100.0,
        });
        let idle = idle.collect();
        cluster.stop();
        Ok(idle)
    }
}

impl<'a> Cluster<'a> {
    pub(super) fn start(ours: &'a Ours) -> Outcome<Self> {
        let data = ours.dir.join("data");
        let _ = std::fs::remove_dir_all(&data);
        let (send, lines) = mpsc::channel();
        let mut command = Command::new(&ours.program);
        command
            .args(["dev", "--json", "--ttl", ours.ttl, "--nodes", &ours.nodes.to_string(), "--dir"])
            .arg(&data);
        let dev = Heard::start(&mut command, 0, &send, &ours.dir.join("dev.log"))?;
        let mut cluster = Self { ours, data, dev, lines, told: Told::default() };
        cluster.until("the cluster to be ready", |told| told.ready.then_some(()))?;
        cluster.settle()?;
        Ok(cluster)
    }

    pub(super) fn stop(self) {
        self.dev.stop(Duration::from_secs(5));
    }

    /// Reads events until `done` finds what it looks for in what was told.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&Told) -> Option<T>) -> Outcome<T> {
        let told = &mut self.told;
        if let Some(value) = done(told) {
            return Ok(value);
        }
        await_lines(&self.lines, self.ours.patience(), what, |_, line| {
            told.hear(line);
            done(told)
        })
    }

    /// Waits until every node is up and shows the same leader.
    pub(super) fn settle(&mut self) -> Outcome {
        let size = self.ours.nodes;
        self.until("every node to show the same leader", |told| {
            let (leader, _, token) = told.elected.as_ref()?;
            let (quorum, _, _) = told.quorum.as_ref()?;
            let up = told.nodes.len() == size
                && told.nodes.contains_key(leader)
                && told.nodes.contains_key(quorum);
            (up && told.shown(*token).is_some()).then_some(())
        })
    }

    fn play(&mut self, case: Case) -> Outcome<Timing> {
        self.arrange(case)?;
        thread::sleep(CALM + any_phase(Duration::from_millis(300)));
        self.catch_up();
        match case {
            Case::Leader | Case::Both => {
                let (leader, _, token) = self.told.leading()?;
                let start = self.kill(&leader)?;
                let timing = self.succession(start, token)?;
                self.restart(&leader)?;
                Ok(timing)
            }
            Case::Quorum => self.kill_quorum_leader(),
            Case::Resign => self.hand_over(None),
            Case::Transfer => {
                let to = self.other_than(&self.told.leading()?.0)?;
                self.hand_over(Some(&to))
            }
        }
    }

    /// Brings the two leaderships into one process, or apart, as the case needs.
    pub(super) fn arrange(&mut self, case: Case) -> Outcome {
        self.settle()?;
        let leader = self.told.leading()?.0;
        let quorum = self.told.quorum_leader()?.0;
        let to = match case {
            Case::Leader | Case::Quorum if leader == quorum => self.other_than(&leader)?,
            Case::Both if leader != quorum => quorum,
            _ => return Ok(()),
        };
        self.hand_over(Some(&to)).map(|_| ())
    }

    /// The quorum's leader dies: until its successor has committed. Nobody
    /// else's tenure may end by it.
    pub(super) fn kill_quorum_leader(&mut self) -> Outcome<Timing> {
        let (quorum, _, term) = self.told.quorum_leader()?;
        let (_, _, token) = self.told.leading()?;
        let start = self.kill(&quorum)?;
        let at = self.until("the quorum's next leader", |told| {
            told.quorum.as_ref().filter(|(_, _, now)| *now > term).map(|(_, at, _)| *at)
        })?;
        self.restart(&quorum)?;
        if self.told.leading()?.2 != token {
            return Err(Failure::new(
                "the death of the quorum's leader ended somebody else's tenure",
                format!("the token is no longer {token}"),
                format!("see {}", self.ours.dir.display()),
            ));
        }
        Ok(Timing::between(start, Some(at), None))
    }

    pub(super) fn kill(&mut self, name: &str) -> Outcome<u64> {
        let node = self.told.nodes.remove(name).ok_or_else(|| {
            Failure::new(format!("no node {name}"), "it is not running", "see dev.log")
        })?;
        self.told.views.remove(name);
        Ok(node.held.kill())
    }

    /// Waits for a token above `old` that every live node shows.
    pub(super) fn succession(&mut self, start: u64, old: u64) -> Outcome<Timing> {
        self.until("the next leader", |told| {
            let (_, at, token) = told.elected.as_ref().filter(|(_, _, token)| *token > old)?;
            let last = told.shown(*token)?;
            Some(Timing::between(start, Some(*at), Some(last)))
        })
    }

    pub(super) fn restart(&mut self, name: &str) -> Outcome {
        self.begin_again(name)?;
        self.settle()
    }

    /// Starts a node that was killed.
    pub(super) fn begin_again(&self, name: &str) -> Outcome {
        self.dev_command(&["restart", name])
    }

    /// Asks the leader to step down, or to hand over to `to`, and sees it done.
    ///
    /// The start is the stamp of the process that takes the request up; when
    /// none comes, the time just before the command was started.
    fn hand_over(&mut self, to: Option<&str>) -> Outcome<Timing> {
        let token = self.told.leading()?.2;
        self.told.hand_over = None;
        let asked = now();
        match to {
            Some(to) => self.dev_command(&["transfer", "--to", to])?,
            None => self.dev_command(&["resign"])?,
        }
        let at = self.succession(0, token)?;
        let start = self.told.hand_over.unwrap_or(asked);
        self.settle()?;
        Ok(Timing::between(start, at.grant_ns, at.view_ns))
    }

    fn dev_command(&self, words: &[&str]) -> Outcome {
        let words: Vec<_> = std::iter::once("dev").chain(words.iter().copied()).collect();
        self.command(&words).map(drop)
    }

    /// Runs a command of ours on this cluster; what it prints.
    pub(super) fn command(&self, words: &[&str]) -> Outcome<Vec<u8>> {
        let what = format!("`tenure {}` failed", words.join(" "));
        let log = self.ours.dir.join("dev.log");
        let next = format!("see {}", log.display());
        let output = Command::new(&self.ours.program)
            .args(words)
            .arg("--dir")
            .arg(&self.data)
            .stdin(Stdio::null())
            .output()
            .map_err(|why| Failure::new(what.clone(), why, next.clone()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Failure::new(what, String::from_utf8_lossy(&output.stderr).trim(), next))
    }

    fn other_than(&self, name: &str) -> Outcome<String> {
        self.told.nodes.keys().find(|other| *other != name).cloned().ok_or_else(|| {
            Failure::new("no node to hand over to", "all others are down", "see dev.log")
        })
    }

    /// Takes in what has been said meanwhile.
    pub(super) fn catch_up(&mut self) {
        while let Ok((_, line)) = self.lines.try_recv() {
            self.told.hear(&line);
        }
    }
}

impl Told {
    fn hear(&mut self, line: &str) {
        // A line this bench does not know must not end it.
        let Ok(event) = serde_json::from_str::<Event>(line) else { return };
        match event {
            Event::Ready { nodes } => {
                self.ready = true;
                nodes.into_iter().for_each(|node| self.start(node));
            }
            Event::NodeStarted(node) => self.start(node),
            Event::NodeExited { node } => {
                self.nodes.remove(&node);
                self.views.remove(&node);
            }
            Event::View(view) if view.election == ELECTION => {
                let token = view.leader.map(|leader| leader.token);
                self.views.insert(view.node, (view.mono_ns, token));
            }
            Event::Elected { node, mono_ns, election, token } if election == ELECTION => {
                if self.elected.as_ref().is_none_or(|(_, _, last)| token > *last) {
                    self.elected = Some((node, mono_ns, token));
                }
            }
            Event::QuorumLeader { node, mono_ns, term } => {
                if self.quorum.as_ref().is_none_or(|(_, _, last)| term > *last) {
                    self.quorum = Some((node, mono_ns, term));
                }
            }
            Event::HandOver { mono_ns } => {
                self.hand_over.get_or_insert(mono_ns);
            }
            Event::View(_) | Event::Elected { .. } | Event::Other => {}
        }
    }

    fn start(&mut self, started: Started) {
        if let Ok(held) = Held::new(started.pid) {
            self.nodes.insert(started.node, Node { pid: started.pid, held });
        }
    }

    /// When the last live node's view showed the token, if all do.
    fn shown(&self, token: u64) -> Option<u64> {
        let at = |node| match self.views.get(node) {
            Some((at, Some(shown))) if *shown == token => Some(*at),
            _ => None,
        };
        self.nodes.keys().map(at).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    pub(super) fn leading(&self) -> Outcome<(String, u64, u64)> {
        self.elected.clone().ok_or_else(|| {
            Failure::new("nobody leads", "no node said it was elected", "see dev.log")
        })
    }

    pub(super) fn quorum_leader(&self) -> Outcome<(String, u64, u64)> {
        self.quorum.clone().ok_or_else(|| {
            Failure::new("the quorum has no leader", "no node said it leads", "see dev.log")
        })
    }
}

/// Time on a core of all threads of a process.
pub(super) fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |path: PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| of_task(task.path())).sum()
}

/// A figure in kB from a file of /proc.
pub(super) fn kilobytes(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut told = Told::default();
        let me = std::process::id();
        for line in lines {
            told.hear(&line.replace("PID", &me.to_string()));
        }
        told
    }

    const READY: &str = r#"{"v":1,"event":"ready","at":"x","mono_ns":1,"nodes":[
        {"node":"n1","pid":PID,"addr":"127.0.0.1:7001","socket":"s"},
        {"node":"n2","pid":PID,"addr":"127.0.0.1:7002","socket":"s"}]}"#;

    fn view(node: &str, at: u64, token: u64) -> String {
        format!(
            r#"{{"v":1,"event":"view","node":"{node}","mono_ns":{at},"election":"demo",
            "view":"led","leader":{{"id":"n2","token":{token}}},"revision":7}}"#
        )
    }

    #[test]
    fn a_leader_is_shown_when_every_live_node_shows_it() {
        let mut told = told(&[READY, &view("n1", 5, 42)]);
        assert_eq!(told.shown(42), None);
        told.hear(&view("n2", 9, 42));
        assert_eq!(told.shown(42), Some(9));
        told.hear(
            r#"{"event":"view","node":"n1","mono_ns":11,"election":"demo","view":"unknown"}"#,
        );
        assert_eq!(told.shown(42), None);
        told.hear(r#"{"event":"node_exited","node":"n1","pid":1}"#);
        assert_eq!(told.shown(42), Some(9));
    }

    #[test]
    fn other_elections_and_unknown_events_are_passed_over() {
        let told = told(&[
            r#"{"event":"elected","node":"n3","mono_ns":3,"election":"other","token":1}"#,
            r#"{"event":"something_new","node":"n3"}"#,
            "not json",
            r#"{"event":"elected","node":"n3","mono_ns":4,"election":"demo","token":2}"#,
            r#"{"event":"quorum_leader","node":"n1","mono_ns":4,"term":3}"#,
        ]);
        assert_eq!(told.elected, Some(("n3".into(), 4, 2)));
        assert_eq!(told.quorum, Some(("n1".into(), 4, 3)));
    }
}
