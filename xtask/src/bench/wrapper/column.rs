//! The wrappers that are compared: how each is started, and what belongs to it.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;

use super::lives::signal;
use super::servers::{Make, Server, Way, ask, free_port};
use super::worker::{BENCH, Kind, OWNER};
use crate::failure::{Failure, Outcome};

/// One way to run a command while holding something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    Flock,
    Etcdctl,
    File,
    Embedded,
    Redis,
    Etcd,
}

impl Column {
    pub(super) const ALL: [Self; 6] =
        [Self::Flock, Self::Etcdctl, Self::File, Self::Embedded, Self::Redis, Self::Etcd];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Flock => "flock",
            Self::Etcdctl => "etcdctl lock",
            Self::File => "run, file",
            Self::Embedded => "run, embedded",
            Self::Redis => "run, Redis",
            Self::Etcd => "run, etcd",
        }
    }

    pub(super) fn is_ours(self) -> bool {
        !matches!(self, Self::Flock | Self::Etcdctl)
    }

    pub(super) fn server(self) -> Option<Make> {
        match self {
            Self::Etcdctl | Self::Etcd => Some(Make::Etcd),
            Self::Redis => Some(Make::Redis),
            Self::Flock | Self::File | Self::Embedded => None,
        }
    }
}

/// A wrapper that runs, or waits to.
pub(super) struct Wrapper {
    pub(super) name: String,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Wrapper {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its own processes: itself, and those of the same program below it.
    pub(super) fn processes(&self) -> Vec<u32> {
        let program = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let own = program(self.pid());
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        let same = children.filter(|pid| own.is_some() && program(*pid) == own);
        std::iter::once(self.pid()).chain(same).collect()
    }

    pub(super) fn signal(&self, what: Signal) {
        signal(self.pid(), what);
    }

    pub(super) fn signal_all(&self, what: Signal) {
        for pid in self.processes() {
            signal(pid, what);
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// How it ended, in short.
    pub(super) fn end(&mut self) -> String {
        let _ = self.has_ended();
        match self.ended {
            None => String::from("runs"),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            },
        }
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal_all(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// One cell: a directory, a server, wrappers.
pub(super) struct Stage {
    pub(super) column: Column,
    tenure: PathBuf,
    pub(super) dir: PathBuf,
    ttl: Duration,
    pub(super) server: Option<Server>,
    /// The first wrapper's way to the server.
    pub(super) way: Option<Way>,
    peers: Vec<(String, u16)>,
}

impl Stage {
    pub(super) fn new(column: Column, tenure: &Path, dir: &Path, ttl: Duration) -> Outcome<Self> {
        let cannot = |why| Failure::new("cannot use the directory of the bench", why, "give --out");
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir.join("state")).map_err(cannot)?;
        std::fs::File::create(dir.join("log")).map_err(cannot)?;
        let server = column.server().map(|make| Server::start(make, dir)).transpose()?;
        let way = server.as_ref().map(|server| Way::to(server.port)).transpose()?;
        let peers = match column {
            Column::Embedded => ["a", "b", "c"]
                .iter()
                .map(|name| Ok((String::from(*name), free_port()?)))
                .collect::<Outcome<_>>()?,
            _ => Vec::new(),
        };
        let (tenure, dir) = (tenure.to_owned(), dir.to_owned());
        Ok(Self { column, tenure, dir, ttl, server, way, peers })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts a wrapper. The one called `a` goes to its server by the way that can be cut.
    pub(super) fn start(&self, name: &str, kind: Kind) -> Outcome<Wrapper> {
        let mut command = self.command(name);
        command.args(kind.command(&self.log())?);
        let said = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{name}.log")))
            .map_err(|why| Failure::new("cannot write a log", why, "give another --out"))?;
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TENURE_") {
                command.env_remove(variable);
            }
        }
        command.env(OWNER, name).env(BENCH, std::process::id().to_string());
        command.env("XDG_STATE_HOME", self.dir.join("state")).env("ETCDCTL_API", "3");
        // Signals to the bench's group are not for the wrappers.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(|why| {
            let what = format!("cannot start {}", command.get_program().display());
            Failure::new(what, why, "see whether it can be run by hand")
        })?;
        Ok(Wrapper { name: name.to_owned(), child, ended: None })
    }

    fn command(&self, name: &str) -> Command {
        let port = match (&self.way, &self.server) {
            (Some(way), _) if name == "a" => way.port,
            (_, Some(server)) => server.port,
            _ => 0,
        };
        let dir = self.dir.display();
        let seconds = self.ttl.as_secs().to_string();
        match self.column {
            Column::Flock => {
                let mut command = Command::new("flock");
                command.arg(self.dir.join("lock"));
                command
            }
            Column::Etcdctl => {
                let mut command = Command::new("etcdctl");
                let endpoint = format!("http://127.0.0.1:{port}");
                command.args(["--endpoints", &endpoint, "lock", "--ttl", &seconds, "demo"]);
                command
            }
            Column::File => self.ours(name, &format!("--url file://{dir}/elections")),
            Column::Redis => self.ours(name, &format!("--url redis://127.0.0.1:{port}")),
            Column::Etcd => self.ours(name, &format!("--url etcd://127.0.0.1:{port}")),
            Column::Embedded => self.ours(name, &format!("{} --node-id {name}", self.peer_list())),
        }
    }

    fn peer_list(&self) -> String {
        let peers: Vec<_> =
            self.peers.iter().map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
        format!("--peers {}", peers.join(","))
    }

    fn ours(&self, name: &str, more: &str) -> Command {
        let mut command = Command::new(&self.tenure);
        let ttl = self.ttl.as_millis();
        let time = format!("--ttl {ttl}ms --stop-timeout {}ms --kill-margin 250ms", ttl / 4);
        command.args(["run", "demo", "--id", name]).args(more.split_whitespace());
        command.args(time.split_whitespace()).arg("--");
        command
    }

    /// The names of the wrappers that contend. A quorum needs three.
    pub(super) fn names(&self) -> &'static [&'static str] {
        if self.column == Column::Embedded { &["a", "b", "c"] } else { &["a", "b"] }
    }

    /// Ends the hold of whoever has it, as an operator would.
    pub(super) fn revoke(&self) -> Outcome {
        match (self.column, &self.server) {
            (_, Some(server)) => server.revoke(),
            (Column::Flock, None) => remove(&self.dir.join("lock")),
            (Column::Embedded, None) => {
                let url = format!("tenure://127.0.0.1:{}", self.peers[0].1);
                let words = ["evict", "demo", "--yes", "--url", &url];
                ask(Command::new(&self.tenure).args(words)).map(drop)
            }
            (_, None) => remove(&self.dir.join("elections/demo.lock")),
        }
    }
}

fn remove(file: &Path) -> Outcome {
    std::fs::remove_file(file)
        .map_err(|why| Failure::new("cannot delete the lock file", why, "report this"))
}
