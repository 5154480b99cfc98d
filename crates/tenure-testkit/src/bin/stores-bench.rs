//! `stores-bench ROUNDS TTL_MS text|json [STORE...]`: see `cargo xtask bench stores`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tenure_testkit::{
    bench::{Contestant, End, Kind, Meter, Peers, Report, Steady, run, steady},
    proxy::Proxy,
    servers::{Etcd, Postgres, Redis, ZooKeeper, four_letters},
};

/// Everything that takes part, and what must live as long.
struct Field {
    contestants: Vec<Contestant>,
    meters: Vec<Meter>,
}

/// Lease while a thousand elections are held.
const STEADY_TTL: Duration = Duration::from_secs(4);

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
    let field = assemble(dir.path(), only)?;
    let times = run(&field.contestants, rounds, ttl, |line| eprintln!("{line}"))?;
    let report = Report::of(&times, hold_many(&field.meters)?, ttl);
    match form.as_str() {
        "json" => println!("{}", serde_json::to_string(&report)?),
        _ => print!("{report}"),
    }
    Ok(report.promises.iter().all(|(_, holds)| *holds))
}

fn hold_many(meters: &[Meter]) -> Result<Vec<Steady>, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for meter in meters {
        eprintln!("{}: a thousand elections of one process", meter.store);
        all.push(runtime.block_on(steady(meter, STEADY_TTL))?);
    }
    Ok(all)
}

fn candidate() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let candidate = own.with_file_name("testkit-candidate");
    match candidate.is_file() {
        true => Ok(candidate),
        false => Err(format!("{} is not built: cargo build --bins", candidate.display()).into()),
    }
}

fn assemble(dir: &Path, only: &[String]) -> Result<Field, Box<dyn Error>> {
    let known = ["redis", "etcd", "zookeeper", "postgres", "file"];
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no store {unknown}: {} are known", known.join(", ")).into());
    }
    let wanted = |store: &str| only.is_empty() || only.iter().any(|name| name == store);
    let candidate = candidate()?;
    let peers = Peers::install(dir)?;
    let mut field = Field { contestants: Vec::new(), meters: Vec::new() };
    let usual = |store: &str, name: &str, kind: Kind, program: &Path, url: &str| Contestant {
        name: name.to_owned(),
        store: store.to_owned(),
        kind,
        announces: name != "etcdctl lock",
        program: program.to_owned(),
        url: url.to_owned(),
        more: Vec::new(),
        ends: vec![End::Kill, End::Resign],
    };
    let ours = |store: &str, url: &str| {
        let ours = usual(store, "tenure", Kind::Ours, &candidate, url);
        let lease_only = Contestant {
            name: String::from("tenure, lease only"),
            kind: Kind::LeaseOnly,
            more: vec![String::from("lease-only")],
            ends: vec![End::Kill],
            ..ours.clone()
        };
        [ours, lease_only]
    };
    let place = |store: &str| -> std::io::Result<PathBuf> {
        let place = dir.join(store);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    if wanted("redis") {
        let redis = Redis::start(&place("redis")?, &[])?;
        let url = redis.url();
        field.contestants.extend(ours("redis", &url));
        let program = peers.python("redis_lock.py")?;
        field.contestants.push(usual("redis", "redis-py Lock", Kind::Polling, &program, &url));
        field.meters.push(meter("redis", &url, Some(redis.port()), move || {
            // What scripts call counts as commands too; what clients send is read once.
            let said = redis.ask(&["INFO", "stats"])?;
            number(&said, "total_reads_processed:")
        })?);
    }
    if wanted("etcd") {
        let etcd = Etcd::start(&place("etcd")?, 1)?;
        let (url, port) = (etcd.url(), etcd.port());
        let plain = url.trim_start_matches("etcd://").to_owned();
        field.contestants.extend(ours("etcd", &url));
        let lock = peers.etcdctl_lock()?;
        let lock = usual("etcd", "etcdctl lock", Kind::Usual, &lock, &plain);
        // It ignores SIGTERM while its command runs, so it does not resign.
        field.contestants.push(Contestant { ends: vec![End::Kill], ..lock });
        let elect = peers.etcdctl_elect()?;
        let elect = usual("etcd", "etcdctl elect", Kind::Usual, &elect, &plain);
        // Its lease is 60 s long and cannot be set.
        field.contestants.push(Contestant { ends: vec![End::Resign], ..elect });
        // The server counts the messages of calls and of streams.
        field.meters.push(meter("etcd", &url, Some(port), move || etcd.received())?);
    }
    if wanted("zookeeper") {
        let zookeeper = ZooKeeper::start(&place("zookeeper")?, 1)?;
        let (url, port) = (zookeeper.url(), zookeeper.port());
        let hosts = url.trim_start_matches("zk://").to_owned();
        field.contestants.extend(ours("zookeeper", &url));
        let kazoo = peers.python("kazoo_election.py")?;
        field.contestants.push(usual("zookeeper", "kazoo Election", Kind::Usual, &kazoo, &hosts));
        field.meters.push(meter("zookeeper", &url, Some(port), move || {
            let _running = &zookeeper;
            number(&four_letters(port, "mntr")?.replace('\t', ":"), "zk_packets_received:")
        })?);
    }
    if wanted("postgres") {
        let postgres = Postgres::start(&[])?;
        let (url, port) = (postgres.url(), postgres.port());
        field.contestants.extend(ours("postgres", &url));
        field.meters.push(meter("postgres", &url, Some(port), move || {
            let said = postgres.sql("SELECT sum(xact_commit) FROM pg_stat_database")?;
            number(&said, "")
        })?);
    }
    if wanted("file") {
        let url = format!("file://{}", place("file")?.display());
        field.contestants.push(usual("file", "tenure", Kind::Ours, &candidate, &url));
        field.meters.push(meter("file", &url, None, || Ok(0))?);
    }
    Ok(field)
}

fn meter(
    store: &str,
    url: &str,
    port: Option<u16>,
    served: impl Fn() -> std::io::Result<u64> + 'static,
) -> std::io::Result<Meter> {
    let proxy = port.map(Proxy::before).transpose()?;
    let url = match (&proxy, port) {
        (Some(proxy), Some(port)) => proxy.url(url, port),
        _ => url.to_owned(),
    };
    Ok(Meter { store: store.to_owned(), url, proxy, served: Box::new(served) })
}

/// The number after a key.
fn number(said: &str, key: &str) -> std::io::Result<u64> {
    let after = said.lines().find_map(|line| line.trim().strip_prefix(key));
    let digits =
        after.map(|after| after.chars().take_while(char::is_ascii_digit).collect::<String>());
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| std::io::Error::other(format!("no number after {key:?} in {said:?}")))
}
