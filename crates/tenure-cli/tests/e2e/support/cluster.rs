//! A cluster of `tenure node` processes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Candidate, DEMO, PATIENCE,
    command::{Call, tenure},
    exclusivity,
    gate::Permit,
    journal::{Journal, Line},
    ports::free_address,
    process::{Process, program},
    proxy::Links,
};

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    nodes: usize,
    ttl: Duration,
    campaign: bool,
    links: bool,
    pub(crate) zones: usize,
    more: Vec<String>,
}

/// Who leads, as all live nodes show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Who.
    pub(crate) id: String,
    /// With which token.
    pub(crate) token: u64,
}

#[derive(Debug)]
struct Node {
    address: String,
    /// `--peers` or `--join`.
    start: String,
    process: Option<Process>,
    paused: bool,
    /// Removed from the cluster; what it shows does not count.
    gone: bool,
}

/// A cluster whose nodes contend for one election. Exclusivity is judged when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) journal: Arc<Journal>,
    pub(crate) plan: Plan,
    pub(crate) links: Option<Links>,
    nodes: BTreeMap<String, Node>,
    dir: TempDir,
    _permit: Permit,
}

impl Plan {
    /// This many nodes, each a candidate, with a ttl of one second.
    pub(crate) fn new(nodes: usize) -> Self {
        let ttl = Duration::from_secs(1);
        Self { nodes, ttl, campaign: true, links: false, zones: 0, more: Vec::new() }
    }

    /// With another ttl.
    pub(crate) fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// The nodes themselves do not contend.
    pub(crate) fn without_candidates(self) -> Self {
        Self { campaign: false, ..self }
    }

    /// The nodes reach each other only through links that can be cut, and no death is proved.
    pub(crate) fn with_links(self) -> Self {
        Self { links: true, ..self }
    }

    /// The nodes are dealt out to so many zones in the order of their numbers: n1 is in z1.
    pub(crate) fn with_zones(self, zones: usize) -> Self {
        Self { zones, ..self }
    }

    /// More arguments for every node.
    pub(crate) fn with(mut self, words: &str) -> Self {
        self.more.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Starts the nodes, and waits until all show the same leader if they contend.
    #[track_caller]
    pub(crate) fn start(self) -> Cluster {
        let permit = Permit::take();
        let named: Vec<(String, String)> =
            (1..=self.nodes).map(|number| (format!("n{number}"), free_address())).collect();
        let peers: Vec<_> = named.iter().map(|(name, at)| format!("{name}={at}")).collect();
        let start = format!("--peers={}", peers.join(","));
        let links = self.links.then(|| Links::between(&named));
        let node = |address| Node {
            address,
            start: start.clone(),
            process: None,
            paused: false,
            gone: false,
        };
        let nodes = named.into_iter().map(|(name, address)| (name, node(address)));
        let mut cluster = Cluster {
            journal: Arc::default(),
            plan: self,
            links,
            nodes: nodes.collect(),
            dir: tempfile::Builder::new().prefix("tnr").tempdir().unwrap(),
            _permit: permit,
        };
        for name in cluster.names() {
            cluster.start_node(&name);
        }
        if cluster.plan.campaign {
            cluster.leader();
        }
        cluster.raft_leader();
        cluster
    }
}

impl Cluster {
    pub(crate) fn ttl(&self) -> Duration {
        self.plan.ttl
    }

    /// The election timeout that the nodes choose for this ttl.
    pub(crate) fn election_timeout(&self) -> Duration {
        (self.plan.ttl / 4).min(Duration::from_millis(500))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn address(&self, name: &str) -> &str {
        &self.nodes[name].address
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Nodes that run and are not stopped.
    pub(crate) fn live(&self) -> Vec<String> {
        let live = |node: &Node| node.process.is_some() && !node.paused && !node.gone;
        self.nodes.iter().filter(|(_, node)| live(node)).map(|(name, _)| name.clone()).collect()
    }

    /// Any live node but these.
    pub(crate) fn another(&self, than: &[&str]) -> String {
        let live = self.live();
        live.into_iter().find(|name| !than.contains(&name.as_str())).expect("one more node")
    }

    #[track_caller]
    pub(crate) fn process(&mut self, name: &str) -> &mut Process {
        self.nodes.get_mut(name).and_then(|node| node.process.as_mut()).expect("it runs")
    }

    /// The command line of a node, without `--json`.
    pub(crate) fn arguments(&self, name: &str) -> Vec<String> {
        let node = &self.nodes[name];
        let mut words = vec![
            String::from("node"),
            format!("--id={name}"),
            format!("--data-dir={}", self.data_dir(name).display()),
            format!("--listen={}", node.address),
            node.start.clone(),
            format!("--ttl={}ms", self.plan.ttl.as_millis()),
            format!("--die-with-parent={}", std::process::id()),
        ];
        if self.plan.campaign {
            words.push(format!("--campaign={DEMO}"));
            // The end of the lease is what a late `lost` is judged by.
            words.push(String::from("--lease-events"));
        }
        if let Some(links) = &self.links {
            words.push(String::from("--local-proof=off"));
            words.extend(links.dial(name));
        }
        if self.plan.zones > 0 {
            words.push(format!("--zone={}", self.zone(name)));
        }
        words.extend(self.plan.more.iter().cloned());
        words
    }

    /// The zone that a node is started in.
    pub(crate) fn zone(&self, name: &str) -> String {
        let number: usize = name.trim_start_matches('n').parse().expect("nodes are numbered");
        format!("z{}", (number - 1) % self.plan.zones + 1)
    }

    /// Starts a node that does not run, and waits until it listens.
    #[track_caller]
    pub(crate) fn start_node(&mut self, name: &str) {
        let from = self.journal.mark();
        let pid = self.spawn(name);
        self.journal.wait(from, &format!("start of {name}"), |line| {
            line.run == pid && line.event == "node_started"
        });
    }

    /// Starts a node that does not run; it may end at once.
    pub(crate) fn spawn(&mut self, name: &str) -> u32 {
        let mut command = program();
        command.args(self.arguments(name)).arg("--json");
        let said = self.dir.path().join(format!("{name}.log"));
        let process = Process::start(name, command, &said, &self.journal);
        let pid = process.pid();
        let node = self.nodes.get_mut(name).unwrap();
        (node.process, node.paused) = (Some(process), false);
        pid
    }

    /// Adds a node that joins through all live ones; it does not run yet.
    pub(crate) fn plan_node(&mut self, name: &str) {
        let contacts: Vec<_> = self.live().iter().map(|at| self.address(at).to_owned()).collect();
        let start = format!("--join={}", contacts.join(","));
        let (address, process) = (free_address(), None);
        let node = Node { address, start, process, paused: false, gone: false };
        self.nodes.insert(name.to_owned(), node);
    }

    /// Kills a node. Gives the moment before.
    pub(crate) fn kill(&mut self, name: &str) -> u64 {
        let node = self.nodes.get_mut(name).unwrap();
        node.process.take().expect("it runs").kill()
    }

    /// Kills several nodes, as much at once as one process can.
    pub(crate) fn kill_all(&mut self, names: &[String]) -> u64 {
        let at = names.iter().map(|name| self.process(name).strike()).max().unwrap();
        for name in names {
            drop(self.nodes.get_mut(name).unwrap().process.take());
        }
        at
    }

    /// Stops a node with SIGSTOP. Gives the moment before.
    pub(crate) fn pause(&mut self, name: &str) -> u64 {
        let node = self.nodes.get_mut(name).unwrap();
        node.paused = true;
        let process = node.process.as_ref().expect("it runs");
        let at = self.journal.note(name, process.pid(), "paused");
        process.signal(Signal::STOP);
        at
    }

    /// Lets a stopped node go on. Gives the moment before.
    pub(crate) fn go_on(&mut self, name: &str) -> u64 {
        let node = self.nodes.get_mut(name).unwrap();
        node.paused = false;
        let process = node.process.as_ref().expect("it runs");
        let at = self.journal.note(name, process.pid(), "goes_on");
        process.signal(Signal::CONT);
        at
    }

    /// Asks a node to end, and waits for it. Gives the moment before, and its exit code.
    #[track_caller]
    pub(crate) fn terminate(&mut self, name: &str, signal: Signal) -> (u64, i32) {
        let mut process = self.nodes.get_mut(name).unwrap().process.take().expect("it runs");
        let at = process.ask_to_stop(signal);
        (at, process.exit_code())
    }

    /// What it shows does not count any more, although it runs.
    pub(crate) fn leave_out(&mut self, name: &str) {
        self.nodes.get_mut(name).unwrap().gone = true;
    }

    /// A node that is expected to end by itself: its exit code and what it said.
    #[track_caller]
    pub(crate) fn ended(&mut self, name: &str) -> (i32, String) {
        let node = self.nodes.get_mut(name).unwrap();
        let mut process = node.process.take().expect("it was started");
        let code = process.exit_code();
        (code, process.stderr())
    }

    fn runs(&self) -> Vec<(String, u32)> {
        let run = |name: String| {
            let pid = self.nodes[&name].process.as_ref().map_or(0, Process::pid);
            (name, pid)
        };
        self.live().into_iter().map(run).collect()
    }

    /// Who leads: waits until all live nodes show the same.
    #[track_caller]
    pub(crate) fn leader(&self) -> Leader {
        self.leader_after(0)
    }

    /// Who leads with a higher token than this: waits until all live nodes show the same.
    #[track_caller]
    pub(crate) fn leader_after(&self, token: u64) -> Leader {
        let runs = self.runs();
        self.journal.wait_until(&format!("leader after token {token}"), |lines| {
            let mut shown = runs.iter().map(|(_, run)| view(lines, *run)?.leader());
            let (id, first) = shown.next()??;
            let agree = shown.all(|other| other == Some((id.clone(), first)));
            // Its own word may be read later than what others say about it.
            let says = |line: &Line| line.is("elected", DEMO) && line.number("token") == first;
            let agree = agree && first > token && lines.iter().any(says);
            agree.then_some(Leader { id, token: first })
        })
    }

    /// Waits until all live nodes show this word about the election; gives one of the lines.
    #[track_caller]
    pub(crate) fn all_show(&self, word: &str) -> Line {
        let runs = self.runs();
        self.journal.wait_until(&format!("view {word:?} on all live nodes"), |lines| {
            let views = runs.iter().map(|(_, run)| view(lines, *run));
            let views: Option<Vec<_>> = views.collect();
            let views = views?;
            views.iter().all(|view| view.text("view") == word).then(|| views[0].clone())
        })
    }

    /// Who leads the Raft group: waits until all live nodes say the same.
    #[track_caller]
    pub(crate) fn raft_leader(&self) -> String {
        let runs = self.runs();
        self.journal.wait_until("leader of the quorum", |lines| {
            let roles: Option<Vec<_>> = runs.iter().map(|(_, run)| role(lines, *run)).collect();
            let mut roles = roles?;
            // They know of no term.
            roles.retain(|line| line.text("role") != "member");
            let leads = |line: &&&Line| line.text("role") == "leader";
            let leader = roles.iter().filter(leads).max_by_key(|line| line.number("term"))?;
            let (term, id) = (leader.number("term"), &leader.body["leader"]);
            let follow = |line: &&Line| line.number("term") == term && line.body["leader"] == *id;
            // And a quorum has confirmed it: that word must not be taken for a later leader's.
            let proved = |line: &Line| line.event == "quorum_leader" && line.number("term") == term;
            let agree = roles.iter().all(follow) && lines.iter().any(proved);
            agree.then(|| leader.node.clone())
        })
    }

    /// When this tenure began, by its holder's own word.
    #[track_caller]
    pub(crate) fn elected(&self, token: u64) -> Line {
        self.journal.wait(0, &format!("word of the holder of token {token}"), |line| {
            line.is("elected", DEMO) && line.number("token") == token
        })
    }

    /// Gives the lead of the quorum to this node.
    #[track_caller]
    pub(crate) fn move_raft_leader(&self, to: &str) {
        if self.raft_leader() != to {
            self.tenure(&format!("cluster transfer --to {to}")).ok();
            assert_eq!(self.raft_leader(), to);
        }
    }

    /// Gives the election to this node. Gives the new token.
    #[track_caller]
    pub(crate) fn move_leader(&self, to: &str) -> u64 {
        let before = self.leader();
        if before.id == to {
            return before.token;
        }
        // Where it was restarted, its former session may have to end first.
        self.contends(to);
        self.tenure(&format!("transfer {DEMO} --to {to}")).ok();
        let after = self.leader_after(before.token);
        assert_eq!(after.id, to);
        after.token
    }

    /// `--url` of these nodes.
    pub(crate) fn url_of(&self, names: &[String]) -> String {
        let at: Vec<_> = names.iter().map(|name| self.address(name)).collect();
        format!("tenure://{}", at.join(","))
    }

    /// `--url` of all live nodes.
    pub(crate) fn url(&self) -> String {
        self.url_of(&self.live())
    }

    /// A command that asks any live node.
    pub(crate) fn tenure(&self, words: &str) -> Call {
        tenure(words).url(&self.url())
    }

    /// A command that asks this node.
    pub(crate) fn tenure_at(&self, name: &str, words: &str) -> Call {
        tenure(words).url(&self.url_of(&[name.to_owned()]))
    }

    /// The present members: their roles by name, as a live node shows them.
    #[track_caller]
    pub(crate) fn members(&self) -> BTreeMap<String, String> {
        // A node that has just joined knows less than the others.
        let asked = self.live().into_iter().find_map(|name| {
            let done = self.tenure_at(&name, "cluster status --json").run();
            (done.code == Some(0)).then(|| done.json())
        });
        let status = asked.expect("a node that knows the leader of the quorum");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        members.iter().map(|member| (text(&member["node"]), text(&member["role"]))).collect()
    }

    /// Waits until a node is a member in this role.
    #[track_caller]
    pub(crate) fn becomes(&self, name: &str, role: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = self.members();
            if members.get(name).map(String::as_str) == Some(role) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} is no {role}: {members:?}");
        }
    }

    /// Waits until this candidate leads or waits.
    #[track_caller]
    pub(crate) fn contends(&self, id: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.tenure(&format!("status {DEMO} --json")).run().json();
            let waiting = status["waiting"].as_array().cloned().unwrap_or_default();
            if status["leader"]["id"] == id || waiting.iter().any(|one| one["id"] == id) {
                return;
            }
            assert!(Instant::now() < deadline, "{id} does not contend: {status}");
        }
    }

    /// `leader demo --all --json`: every live node gives this leader, and nobody else answers.
    #[track_caller]
    pub(crate) fn everybody_says(&self, leader: &Leader) {
        let roles = self.members();
        let words = self.tenure(&format!("leader {DEMO} --all --json")).ok().json();
        let words = words.as_array().unwrap();
        let nodes: Vec<_> = words.iter().map(|word| word["node"].as_str().unwrap()).collect();
        assert_eq!(nodes, self.live(), "each live node has its word, once");
        for word in words {
            assert_eq!(word["view"], "led", "{word}");
            assert_eq!(word["leader"]["id"], leader.id, "{word}");
            assert_eq!(word["leader"]["token"], leader.token, "{word}");
            assert!(word["revision"].as_u64() >= Some(leader.token), "{word}");
            let age = Duration::from_millis(word["age_ms"].as_u64().unwrap());
            // A member hears of the quorum with its keepalives, and shows that for longer.
            let member = roles.get(word["node"].as_str().unwrap()).is_some_and(|it| it == "member");
            let fresh = self.election_timeout() * if member { 6 } else { 1 };
            assert!(age <= fresh, "{word}");
        }
    }

    /// The past tenures, the latest last.
    #[track_caller]
    pub(crate) fn history(&self) -> Vec<Value> {
        self.tenure(&format!("history {DEMO} --json")).ok().json_lines()
    }

    /// A candidate that is no node, connected with these nodes.
    pub(crate) fn candidate(&self, id: &str, at: &[String], more: &str) -> Candidate {
        Candidate::start(id, &self.url_of(at), more, self.path(), &self.journal)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            println!("{}", self.journal.tail(120));
        } else {
            exclusivity::check(&self.journal);
        }
        for (name, node) in &mut self.nodes {
            let Some(process) = node.process.take() else { continue };
            if failed {
                let said = process.stderr();
                let from = said.len().saturating_sub(4000);
                let from = (from..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
                println!("--- {name}: {}", &said[from..]);
            }
        }
    }
}

/// What a process last showed about the election.
fn view(lines: &[Line], run: u32) -> Option<&Line> {
    lines.iter().rev().find(|line| line.run == run && line.is("view", DEMO))
}

/// What a process last said about its part in the Raft group.
fn role(lines: &[Line], run: u32) -> Option<&Line> {
    lines.iter().rev().find(|line| line.run == run && line.event == "role")
}
