//! `peers-bench TENURE WATCHERS,... ROUNDS ELECTIONS TTL_MS [STORE...]`: see `cargo xtask bench
//! peers`. TENURE is the program whose nodes are measured. Prints JSON; its progress goes to
//! standard error.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tenure_testkit::{
    bench::{Field, Held, Mass, STORES, fanout, hold, mass},
    servers::{Etcd, Redis, Server, ZooKeeper, free_port},
};

const USAGE: &str = "usage: peers-bench TENURE WATCHERS,... ROUNDS ELECTIONS TTL_MS [STORE...]";
/// Sessions that hold the elections.
const SESSIONS: u32 = 4;

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        // What `mass` starts once more.
        ["hold", url, elections, sessions, ttl, name] => {
            of(elections, sessions, ttl).and_then(|mass| holds(url, mass, name))
        }
        [tenure, watchers, rounds, elections, ttl, only @ ..] => {
            of(elections, &SESSIONS.to_string(), ttl)
                .and_then(|mass| bench(Path::new(tenure), watchers, rounds, mass, only))
        }
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(125)
        }
    }
}

fn of(elections: &str, sessions: &str, ttl: &str) -> Done<Mass> {
    let ttl = Duration::from_millis(ttl.parse()?);
    Ok(Mass { elections: elections.parse()?, sessions: sessions.parse()?, ttl })
}

fn holds(url: &str, mass: Mass, name: &str) -> Done {
    // Whoever started this is gone when its end of the input is.
    std::thread::spawn(|| {
        let _ = io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let say = |word: &str| {
        println!("{word}");
        let _ = io::stdout().flush();
    };
    Ok(runtime()?.block_on(hold(url, mass, name, say))?)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A connection is a descriptor, here and in each server that this starts.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn bench(tenure: &Path, watchers: &str, rounds: &str, work: Mass, only: &[&str]) -> Done {
    if let Some(unknown) = only.iter().find(|name| !STORES.contains(name)) {
        return Err(format!("there is no store {unknown}: {} are known", STORES.join(", ")).into());
    }
    let stores: Vec<&str> =
        STORES.into_iter().filter(|name| only.is_empty() || only.contains(name)).collect();
    allow_many_files();
    let rounds = rounds.parse()?;
    let mut told = Vec::new();
    for watchers in watchers.split(',').filter(|count| !count.is_empty()) {
        let watchers: usize = watchers.parse()?;
        let progress = |line: &str| eprintln!("{line}");
        let nodes = |dir: &Path| nodes(tenure, dir);
        let of_all = fanout(&stores, watchers, rounds, nodes, progress);
        told.extend(runtime()?.block_on(of_all)?);
    }
    let mut held = Vec::new();
    for store in stores.iter().filter(|_| work.elections > 0) {
        eprintln!("{store}: {} elections", work.elections);
        held.push(held_by(store, tenure, work)?);
    }
    println!("{}", json!({ "told": told, "held": held }));
    Ok(())
}

/// The same elections on every store, on whatever that needs.
fn held_by(store: &str, tenure: &Path, work: Mass) -> Done<Held> {
    let dir = tempfile::tempdir()?;
    let run = |url: String, servers| {
        let field = Field { store: store.to_owned(), url, servers, mass: work };
        mass(&field, |line| eprintln!("{store}: {line}"))
    };
    Ok(match store {
        "tenure" => {
            let (servers, url) = nodes(tenure, dir.path())?;
            run(url, servers.iter().filter_map(Server::pid).collect())?
        }
        "etcd" => {
            let etcd = Etcd::start(dir.path(), 3)?;
            run(etcd.url(), etcd.pids())?
        }
        "zookeeper" => {
            let zookeeper = ZooKeeper::start(dir.path(), 3)?;
            run(zookeeper.url(), zookeeper.pids())?
        }
        _ => {
            let redis = Redis::start(dir.path(), &["save", "", "appendonly", "no"])?;
            run(redis.url(), redis.pid().into_iter().collect())?
        }
    })
}

/// Three nodes of ours, as many as etcd and ZooKeeper have.
fn nodes(tenure: &Path, dir: &Path) -> io::Result<(Vec<Server>, String)> {
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
        server.wait_until(|| std::net::TcpStream::connect(address).is_ok())?;
    }
    Ok((servers, format!("tenure://{}", addresses.join(","))))
}
