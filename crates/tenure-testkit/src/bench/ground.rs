//! What the benches of many elections share: servers of each store to run them on, and the process
//! that contends for all of them.

use std::{
    io::{self, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use super::mass::{Field, Held, Mass, hold, mass};
use crate::servers::{Etcd, Redis, Server, ZooKeeper, free_port};

impl Mass {
    /// As the command lines of the benches say it: elections, sessions, milliseconds of the ttl.
    ///
    /// # Errors
    /// When one of them is no number.
    pub fn parse(elections: &str, sessions: &str, ttl: &str) -> io::Result<Self> {
        let elections = elections.parse().map_err(io::Error::other)?;
        let sessions = sessions.parse().map_err(io::Error::other)?;
        let ttl = Duration::from_millis(ttl.parse().map_err(io::Error::other)?);
        Ok(Self { elections, sessions, ttl })
    }
}

/// The process that the bench starts from the running program once more: `hold URL ELECTIONS
/// SESSIONS TTL_MS NAME`. None when these words are for somebody else.
pub fn holder(words: &[&str]) -> Option<io::Result<()>> {
    let ["hold", url, elections, sessions, ttl, name] = words else { return None };
    Some(Mass::parse(elections, sessions, ttl).and_then(|mass| holds(url, mass, name)))
}

fn holds(url: &str, mass: Mass, name: &str) -> io::Result<()> {
    // Whoever started this is gone when its end of the input is.
    std::thread::spawn(|| {
        let _ = io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let say = |word: &str| {
        // Nobody to tell is the end of this process as well.
        let _ = writeln!(io::stdout(), "{word}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(hold(url, mass, name, say))
}

/// Runs the bench on fresh servers of one of [`super::STORES`]. `tenure` is the program whose nodes
/// are measured.
///
/// # Errors
/// When the servers do not start or cannot be used, or a process of the bench ends before its time.
pub fn held_by(
    store: &str,
    tenure: &Path,
    work: Mass,
    progress: impl FnMut(&str),
) -> io::Result<Held> {
    let dir = tempfile::tempdir()?;
    let run = |url: String, servers| {
        mass(&Field { store: store.to_owned(), url, servers, mass: work }, progress)
    };
    match store {
        "tenure" => {
            let (servers, url) = nodes(tenure, dir.path())?;
            run(url, servers.iter().filter_map(Server::pid).collect())
        }
        "etcd" => {
            let etcd = Etcd::start(dir.path(), 3)?;
            run(etcd.url(), etcd.pids())
        }
        "zookeeper" => {
            let zookeeper = ZooKeeper::start(dir.path(), 3)?;
            run(zookeeper.url(), zookeeper.pids())
        }
        _ => {
            let redis = Redis::start(dir.path(), &["save", "", "appendonly", "no"])?;
            run(redis.url(), redis.pid().into_iter().collect())
        }
    }
}

/// Three nodes of ours, as many as etcd and ZooKeeper have, and their URL.
///
/// # Errors
/// When one of them does not start.
pub fn nodes(tenure: &Path, dir: &Path) -> io::Result<(Vec<Server>, String)> {
    let names = ["n1", "n2", "n3"];
    let ports = names.map(|_| free_port());
    let mut addresses = Vec::new();
    for port in ports {
        addresses.push(format!("127.0.0.1:{}", port?));
    }
    let pairs = names.iter().zip(&addresses);
    let peers: Vec<_> = pairs.clone().map(|(name, at)| format!("{name}={at}")).collect();
    let mut servers = Vec::new();
    for (name, address) in pairs {
        let mut command = Command::new(tenure);
        command.args(["node", "--id", name, "--listen", address, "--peers", &peers.join(",")]);
        command.arg("--data-dir").arg(dir.join(name));
        let log = dir.join(format!("{name}.log"));
        servers.push(Server::start(&mut command, "the program under test", &log)?);
    }
    for (server, address) in servers.iter_mut().zip(&addresses) {
        server.wait_until(|| TcpStream::connect(address).is_ok())?;
    }
    Ok((servers, format!("tenure://{}", addresses.join(","))))
}
