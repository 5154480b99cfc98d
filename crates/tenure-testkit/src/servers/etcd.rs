//! etcd, of one member or more.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use super::process::{Server, free_port};

/// In milliseconds: the lowest that showed no change of leaders by itself under load.
const HEARTBEAT: u32 = 50;
const ELECTION: u32 = 500;

/// Members of one cluster on this machine; killed when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
    members: Vec<Option<Server>>,
}

impl Etcd {
    /// Starts so many members, with their data in `dir`, and waits until they have a leader.
    ///
    /// # Errors
    /// When etcd is not installed or does not get ready.
    pub fn start(dir: &Path, members: usize) -> io::Result<Self> {
        let port = |_| Ok((free_port()?, free_port()?));
        let ports = (0..members).map(port).collect::<io::Result<_>>()?;
        let members = (0..members).map(|_| None).collect();
        let mut etcd = Self { dir: dir.to_owned(), ports, members };
        for at in 0..etcd.members.len() {
            etcd.members[at] = Some(etcd.spawn(at, etcd.ports[at].0)?);
        }
        for at in 0..etcd.members.len() {
            etcd.wait(at, etcd.ports[at].0)?;
        }
        Ok(etcd)
    }

    fn spawn(&self, at: usize, client: u16) -> io::Result<Server> {
        let peer = |at: usize| format!("http://127.0.0.1:{}", self.ports[at].1);
        let cluster: Vec<_> =
            (0..self.ports.len()).map(|at| format!("n{at}={}", peer(at))).collect();
        let client = format!("http://127.0.0.1:{client}");
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("n{at}")])
            .arg("--data-dir")
            .arg(self.dir.join(format!("n{at}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(at), "--initial-advertise-peer-urls", &peer(at)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--heartbeat-interval", &HEARTBEAT.to_string()])
            .args(["--election-timeout", &ELECTION.to_string()])
            .args(["--logger", "zap", "--log-outputs", "stderr"]);
        Server::start(&mut command, "etcd-server", &self.dir.join(format!("n{at}.log")))
    }

    fn wait(&mut self, at: usize, client: u16) -> io::Result<()> {
        let ready = || metric(client, "etcd_server_has_leader") == Some(1);
        self.members[at].as_mut().map_or(Ok(()), |member| member.wait_until(ready))
    }

    /// Names all members.
    #[must_use]
    pub fn url(&self) -> String {
        let members: Vec<_> =
            self.ports.iter().map(|(client, _)| format!("127.0.0.1:{client}")).collect();
        format!("etcd://{}", members.join(","))
    }

    /// The processes of all members.
    #[must_use]
    pub fn pids(&self) -> Vec<Pid> {
        self.members.iter().flatten().filter_map(Server::pid).collect()
    }

    /// Sends all members a signal.
    pub fn signal(&self, signal: Signal) {
        self.members.iter().flatten().for_each(|member| member.signal(signal));
    }

    /// Kills a member as a crash would.
    pub fn kill(&mut self, at: usize) {
        self.members[at] = None;
    }

    /// Starts a member that was killed, with its data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self, at: usize) -> io::Result<()> {
        self.restart_elsewhere(at, self.ports[at].0)
    }

    /// The same, where clients do not look for it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart_elsewhere(&mut self, at: usize, port: u16) -> io::Result<()> {
        self.members[at] = None;
        self.members[at] = Some(self.spawn(at, port)?);
        self.wait(at, port)
    }

    /// The member that leads.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| metric(self.ports[*at].0, "etcd_server_is_leader") == Some(1);
        (0..self.members.len()).filter(|at| self.members[*at].is_some()).find(leads)
    }

    /// Asks a member with etcd's own command; `port` as it listens now.
    ///
    /// # Errors
    /// When the command cannot be started or fails.
    pub fn ctl(port: u16, arguments: &[&str]) -> io::Result<String> {
        let Output { status, stdout, stderr } = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=127.0.0.1:{port}"))
            .args(arguments)
            .output()
            .map_err(|error| {
                let hint = format!("cannot start etcdctl: {error}; apt-get install etcd-client");
                io::Error::new(error.kind(), hint)
            })?;
        match status.success() {
            true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
            false => Err(io::Error::other(String::from_utf8_lossy(&stderr).into_owned())),
        }
    }

    /// Messages that the first member has received so far, in calls and in streams.
    ///
    /// # Errors
    /// When it does not say.
    pub fn received(&self) -> io::Result<u64> {
        let text = metrics(self.port()).ok_or_else(|| io::Error::other("etcd tells no metrics"))?;
        let lines = text.lines().filter(|line| line.starts_with("grpc_server_msg_received_total"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Where the first member listens for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0].0
    }
}

/// A number that a member tells about itself.
fn metric(port: u16, name: &str) -> Option<u64> {
    let text = metrics(port)?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// Everything that it tells about itself.
fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
