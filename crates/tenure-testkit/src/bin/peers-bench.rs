//! `peers-bench TENURE WATCHERS,... ROUNDS ELECTIONS TTL_MS [STORE...]`: see `cargo xtask bench
//! peers`. TENURE is the program whose nodes are measured. Prints JSON; its progress goes to
//! standard error.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{error::Error, io, path::Path, process::ExitCode};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tenure_testkit::bench::{Mass, STORES, fanout, held_by, holder, nodes};

const USAGE: &str = "usage: peers-bench TENURE WATCHERS,... ROUNDS ELECTIONS TTL_MS [STORE...]";
/// Sessions that hold the elections.
const SESSIONS: u32 = 4;

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(125)
        }
    }
}

fn run(words: &[&str]) -> Done {
    if let Some(ended) = holder(words) {
        return Ok(ended?);
    }
    let [tenure, watchers, rounds, elections, ttl, only @ ..] = words else {
        return Err(USAGE.into());
    };
    let work = Mass::parse(elections, &SESSIONS.to_string(), ttl)?;
    bench(Path::new(tenure), watchers, rounds, work, only)
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
        held.push(held_by(store, tenure, work, |line| eprintln!("{store}: {line}"))?);
    }
    println!("{}", json!({ "told": told, "held": held }));
    Ok(())
}
