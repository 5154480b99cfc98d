//! `elections-bench TENURE ELECTIONS SESSIONS TTL_MS text|json [STORE...]`: see `cargo xtask bench
//! elections`. TENURE is the program whose nodes are measured.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{
    error::Error,
    io::Write,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use tenure_testkit::{
    bench::{Field, Mass, hold, mass},
    servers::{Etcd, Redis, Server, free_port},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["hold", url, elections, sessions, ttl, name] => {
            of(elections, sessions, ttl).and_then(|mass| holds(url, mass, name))
        }
        [tenure, elections, sessions, ttl, form, only @ ..] => {
            of(elections, sessions, ttl).and_then(|mass| bench(Path::new(tenure), mass, form, only))
        }
        _ => {
            Err("usage: elections-bench TENURE ELECTIONS SESSIONS TTL_MS text|json [STORE...]"
                .into())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(125)
        }
    }
}

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn of(elections: &str, sessions: &str, ttl: &str) -> Done<Mass> {
    let ttl = Duration::from_millis(ttl.parse()?);
    Ok(Mass { elections: elections.parse()?, sessions: sessions.parse()?, ttl })
}

fn holds(url: &str, mass: Mass, name: &str) -> Done {
    // Whoever started this is gone when its end of the input is.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let say = |word: &str| {
        println!("{word}");
        let _ = std::io::stdout().flush();
    };
    Ok(runtime.block_on(hold(url, mass, name, say))?)
}

fn bench(tenure: &Path, mass_of: Mass, form: &str, only: &[&str]) -> Done {
    let known = ["tenure", "etcd", "redis"];
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no store {unknown}: {} are known", known.join(", ")).into());
    }
    let mut all = Vec::new();
    for store in known.into_iter().filter(|name| only.is_empty() || only.contains(name)) {
        let dir = tempfile::tempdir()?;
        eprintln!("{store}: starting its servers");
        let told = |line: &str| eprintln!("{store}: {line}");
        // A tenth of the work is enough to tell what one election costs where that is much.
        let tenth = Mass { elections: mass_of.elections / 10, ..mass_of };
        let held = match store {
            "tenure" => {
                let (servers, url) = nodes(tenure, dir.path())?;
                let pids = servers.iter().filter_map(Server::pid).collect();
                mass(&Field { store: store.into(), url, servers: pids, mass: mass_of }, told)?
            }
            "etcd" => {
                let etcd = Etcd::start(dir.path(), 3)?;
                let (url, servers) = (etcd.url(), etcd.pids());
                mass(&Field { store: store.into(), url, servers, mass: tenth }, told)?
            }
            _ => {
                let redis = Redis::start(dir.path(), &["save", "", "appendonly", "no"])?;
                let (url, servers) = (redis.url(), redis.pid().into_iter().collect());
                mass(&Field { store: store.into(), url, servers, mass: tenth }, told)?
            }
        };
        if form != "json" {
            println!("{held}");
        }
        all.push(held);
    }
    if form == "json" {
        println!("{}", serde_json::to_string(&all)?);
    }
    Ok(())
}

fn nodes(tenure: &Path, dir: &Path) -> Done<(Vec<Server>, String)> {
    let mut peers = Vec::new();
    for name in ["n1", "n2", "n3"] {
        peers.push((name, free_port()?));
    }
    let list: Vec<_> =
        peers.iter().map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
    let (mut servers, mut addresses) = (Vec::new(), Vec::new());
    for (name, port) in &peers {
        let mut command = Command::new(tenure);
        command.args(["node", "--id", name, "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--peers", &list.join(",")]).arg("--data-dir").arg(dir.join(name));
        let log = dir.join(format!("{name}.log"));
        let mut server = Server::start(&mut command, "the program under test", &log)?;
        server.wait_for_port(*port)?;
        servers.push(server);
        addresses.push(format!("127.0.0.1:{port}"));
    }
    Ok((servers, format!("tenure://{}", addresses.join(","))))
}
