//! Node processes that the bench itself starts, stops, pauses, kills and wakes, and what they say.
//!
//! `tenure dev` looks after its nodes; here nobody may, because what goes wrong is the bench's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::journal::{Entry, Journal, What};
use crate::bench::process::{Held, now};
use crate::failure::{Failure, Outcome};

/// The election that every node contends for.
pub(super) const ELECTION: &str = "demo";
/// Nodes that found the cluster and vote.
pub(super) const VOTERS: usize = 5;
/// Where ports for listening begin: below those that the kernel gives to outgoing connections,
/// so that a node finds its port free when it comes back.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Nodes that a joining one is told of.
const CONTACTS: usize = 5;
/// Stack of a thread that does nothing but read lines.
const STACK: usize = 128 << 10;

/// What a thread that listens to a process tells.
enum Said {
    Line(String),
    Ended { node: String, pid: u32 },
}

/// A process that runs.
struct Running {
    pid: u32,
    held: Held,
}

/// The nodes of one cluster.
pub(super) struct Fleet {
    program: PathBuf,
    dir: PathBuf,
    ttl: Duration,
    /// More arguments for every node, and for the founders.
    pub(super) more: Vec<String>,
    pub(super) more_for_founders: Vec<String>,
    /// Where each node listens, also while it is down; not those that were removed.
    addresses: BTreeMap<String, String>,
    founders: Vec<String>,
    /// The founders and where they listen, as each of them was told at its first start.
    peers: String,
    next_port: u16,
    next_name: usize,
    running: BTreeMap<String, Running>,
    send: Sender<Said>,
    said: Receiver<Said>,
    /// Everything that was said and done so far.
    pub(super) journal: Journal,
}

impl Fleet {
    /// Nothing runs yet. `dir` is emptied; data and logs go there.
    pub(super) fn new(program: &Path, dir: &Path, ttl: Duration) -> Outcome<Self> {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).map_err(|why| {
            Failure::new(format!("cannot create {}", dir.display()), why, "choose another --out")
        })?;
        let (send, said) = mpsc::channel();
        let mut fleet = Self {
            program: program.to_path_buf(),
            dir: dir.to_path_buf(),
            ttl,
            more: Vec::new(),
            more_for_founders: Vec::new(),
            addresses: BTreeMap::new(),
            founders: Vec::new(),
            peers: String::new(),
            next_port: PORTS.start,
            next_name: 1,
            running: BTreeMap::new(),
            send,
            said,
            journal: Journal::default(),
        };
        for _ in 0..VOTERS {
            let name = fleet.name_one()?;
            fleet.founders.push(name);
        }
        let pairs = fleet.addresses.iter().map(|(name, address)| format!("{name}={address}"));
        fleet.peers = pairs.collect::<Vec<_>>().join(",");
        Ok(fleet)
    }

    /// A name and an address that no node had before.
    pub(super) fn name_one(&mut self) -> Outcome<String> {
        let name = format!("n{}", self.next_name);
        self.next_name += 1;
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let port = (self.next_port..PORTS.end).find(free).ok_or_else(|| {
            Failure::new("no free port on 127.0.0.1", "all are taken", "stop what listens there")
        })?;
        self.next_port = port + 1;
        self.addresses.insert(name.clone(), format!("127.0.0.1:{port}"));
        Ok(name)
    }

    /// Those who found the cluster.
    pub(super) fn founders(&self) -> &[String] {
        &self.founders
    }

    /// How clients find the cluster: by its founders, and by a few others.
    pub(super) fn url(&self) -> String {
        let addresses: Vec<_> = self.addresses.values().take(3 * VOTERS).cloned().collect();
        format!("tenure://{}", addresses.join(","))
    }

    /// Names of all nodes whose process runs, or is stopped by a signal.
    pub(super) fn running(&self) -> impl Iterator<Item = &String> {
        self.running.keys()
    }

    /// Its process, if it has one.
    pub(super) fn pid(&self, node: &str) -> Option<u32> {
        self.running.get(node).map(|running| running.pid)
    }

    /// Starts a node, for the first time or again. To be called on the main thread: the kernel
    /// ends the node with the thread that started it.
    pub(super) fn start(&mut self, node: &str) -> Outcome {
        let cannot = |why: std::io::Error| {
            Failure::new(format!("cannot start {node}"), why, "look at limits and free memory")
        };
        let log = self.dir.join(format!("{node}.log"));
        let log = File::options().create(true).append(true).open(log).map_err(cannot)?;
        let mut command = Command::new(&self.program);
        command.args(self.arguments(node)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // What it says is stamped by itself, and it may be quicker than we get back from here.
        let begun = now();
        let mut child = command.spawn().map_err(cannot)?;
        let pid = child.id();
        // It was not waited for yet, so the number is its own.
        let held = Held::new(pid)?;
        let (name, send, stdout) = (node.to_owned(), self.send.clone(), child.stdout.take());
        let listen = move || {
            let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
            for line in lines.map_while(Result::ok) {
                let _ = send.send(Said::Line(line));
            }
            let _ = child.wait();
            let _ = send.send(Said::Ended { node: name, pid });
        };
        thread::Builder::new().stack_size(STACK).spawn(listen).map_err(cannot)?;
        self.running.insert(node.to_owned(), Running { pid, held });
        self.journal.add(Entry { at: begun, node: node.to_owned(), what: What::Begun });
        Ok(())
    }

    fn arguments(&self, node: &str) -> Vec<String> {
        let address = self.addresses.get(node).cloned().unwrap_or_default();
        let mut arguments = vec![
            String::from("node"),
            String::from("--json"),
            format!("--id={node}"),
            format!("--data-dir={}", self.dir.join(node).display()),
            format!("--listen={address}"),
            format!("--campaign={ELECTION}"),
            format!("--ttl={}ms", self.ttl.as_millis()),
            String::from("--lease-events"),
            format!("--die-with-parent={}", std::process::id()),
        ];
        arguments.extend(self.more.iter().cloned());
        let founds = |node: &str| self.founders.iter().any(|founder| founder == node);
        if founds(node) {
            arguments.push(format!("--peers={}", self.peers));
            arguments.extend(self.more_for_founders.iter().cloned());
        } else {
            let others = self.addresses.iter().filter(|(other, _)| *other != node);
            let (first, later): (Vec<_>, Vec<_>) = others.partition(|(other, _)| founds(other));
            let contacts = first.into_iter().chain(later).take(CONTACTS);
            let contacts: Vec<_> = contacts.map(|(_, address)| address.as_str()).collect();
            arguments.push(format!("--join={}", contacts.join(",")));
        }
        arguments
    }

    /// Sends a signal, and writes down that it was sent.
    pub(super) fn signal(&mut self, node: &str, signal: Signal) {
        let Some(running) = self.running.get(node) else { return };
        let at = running.held.signal(signal);
        let what = match signal {
            Signal::KILL => What::Killed,
            Signal::STOP => What::Paused,
            // What it shows counts again once it can act, not while the signal is on its way.
            Signal::CONT => What::Woken,
            _ => What::Asked,
        };
        self.journal.add(Entry { at, node: node.to_owned(), what });
    }

    /// Writes down something that the bench did now.
    fn did(&mut self, node: &str, what: What) {
        self.journal.add(Entry { at: now(), node: node.to_owned(), what });
    }

    /// Takes a node off the list for good; its process ends by a signal that is not asked about.
    pub(super) fn bury(&mut self, node: &str) {
        self.signal(node, Signal::TERM);
        self.addresses.remove(node);
    }

    /// Starts a command of ours on this cluster, without waiting for it.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(["--url", &self.url()]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Takes in what is said until a moment.
    pub(super) fn listen_until(&mut self, until: Instant) {
        loop {
            match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(said) => self.take_in(said),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes in what is said until something holds of it.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) fn listen_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Outcome {
        let until = Instant::now() + patience;
        while !holds(self) {
            match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(said) => self.take_in(said),
                Err(_) => {
                    return Err(Failure::new(
                        format!("waited in vain for {what}"),
                        format!("it did not happen within {patience:?}; {}", self.journal.state()),
                        format!("see the logs in {}", self.dir.display()),
                    ));
                }
            }
            while let Ok(said) = self.said.try_recv() {
                self.take_in(said);
            }
        }
        Ok(())
    }

    fn take_in(&mut self, said: Said) {
        match said {
            Said::Line(line) => self.journal.hear(&line),
            Said::Ended { node, pid } => {
                if self.running.get(&node).is_some_and(|running| running.pid == pid) {
                    self.running.remove(&node);
                    self.did(&node, What::Ended);
                }
            }
        }
    }

    /// Every node that runs shows one leader, who knows it.
    pub(super) fn agrees(&self) -> bool {
        self.journal.agrees(self.running.len())
    }

    /// Ends all processes that it started.
    pub(super) fn end(&mut self) {
        for running in self.running.values() {
            running.held.kill();
        }
        let _ = self.listen_for("the nodes to end", Duration::from_secs(60), |fleet| {
            fleet.running.is_empty()
        });
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.held.kill();
        }
    }
}
