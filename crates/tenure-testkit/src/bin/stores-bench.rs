//! `stores-bench ROUNDS TTL_MS text|json [STORE...]`: see `cargo xtask bench stores`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tenure_testkit::{
    bench::{Contestant, Peers, Report, run},
    servers::{Etcd, Postgres, Redis, ZooKeeper},
};

/// Everything that takes part, and the servers that must live as long.
struct Field {
    contestants: Vec<Contestant>,
    _servers: Vec<Box<dyn std::any::Any>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match bench(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(125)
        }
    }
}

fn bench(arguments: &[String]) -> Result<bool, Box<dyn Error>> {
    let [rounds, ttl, form, only @ ..] = arguments else {
        return Err("usage: stores-bench ROUNDS TTL_MS text|json [STORE...]".into());
    };
    let (rounds, ttl) = (rounds.parse()?, Duration::from_millis(ttl.parse()?));
    let dir = tempfile::tempdir()?;
    eprintln!("installing the usual clients, starting the servers");
    let field = assemble(dir.path(), ttl, only)?;
    let times = run(&field.contestants, rounds, ttl, |line| eprintln!("{line}"))?;
    let report = Report::of(&times, ttl);
    match form.as_str() {
        "json" => println!("{}", serde_json::to_string(&report)?),
        _ => print!("{report}"),
    }
    Ok(report.promises.iter().all(|(_, holds)| *holds))
}

fn candidate() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let candidate = own.with_file_name("testkit-candidate");
    match candidate.is_file() {
        true => Ok(candidate),
        false => Err(format!("{} is not built: cargo build --bins", candidate.display()).into()),
    }
}

fn assemble(dir: &Path, ttl: Duration, only: &[String]) -> Result<Field, Box<dyn Error>> {
    let wanted = |store: &str| only.is_empty() || only.iter().any(|name| name == store);
    let candidate = candidate()?;
    let peers = Peers::install(dir)?;
    let mut contestants = Vec::new();
    let mut servers: Vec<Box<dyn std::any::Any>> = Vec::new();
    let mut add = |store: &str, name: &str, program: &Path, url: String| {
        contestants.push(Contestant {
            name: name.to_owned(),
            store: store.to_owned(),
            ours: name == "tenure",
            announces: name != "etcdctl lock",
            program: program.to_owned(),
            url,
        });
    };
    let place = |store: &str| -> std::io::Result<PathBuf> {
        let place = dir.join(store);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    if wanted("redis") {
        let redis = Redis::start(&place("redis")?, &[])?;
        add("redis", "tenure", &candidate, redis.url());
        add("redis", "redis-py Lock", &peers.python("redis_lock.py")?, redis.url());
        servers.push(Box::new(redis));
    }
    if wanted("etcd") {
        let etcd = Etcd::start(&place("etcd")?, 1)?;
        let url = etcd.url();
        let plain = url.trim_start_matches("etcd://").to_owned();
        add("etcd", "tenure", &candidate, url);
        add("etcd", "etcdctl lock", &peers.etcdctl_lock()?, plain);
        servers.push(Box::new(etcd));
    }
    if wanted("zookeeper") {
        let zookeeper = ZooKeeper::start(&place("zookeeper")?, 1)?;
        let url = zookeeper.url();
        let hosts = url.trim_start_matches("zk://").to_owned();
        add("zookeeper", "tenure", &candidate, url);
        add("zookeeper", "kazoo Election", &peers.python("kazoo_election.py")?, hosts);
        servers.push(Box::new(zookeeper));
    }
    if wanted("postgres") {
        let postgres = Postgres::start(&[])?;
        add("postgres", "tenure", &candidate, postgres.url());
        servers.push(Box::new(postgres));
    }
    if wanted("file") {
        add("file", "tenure", &candidate, format!("file://{}", place("file")?.display()));
    }
    if contestants.is_empty() {
        return Err(format!("none of the stores {only:?} is known (ttl {ttl:?})").into());
    }
    Ok(Field { contestants, _servers: servers })
}
