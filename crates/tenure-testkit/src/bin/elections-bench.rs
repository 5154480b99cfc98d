//! `elections-bench TENURE ELECTIONS SESSIONS TTL_MS text|json [STORE...]`: see `cargo xtask bench
//! elections`. TENURE is the program whose nodes are measured.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{error::Error, path::Path, process::ExitCode};

use tenure_testkit::bench::{Mass, held_by, holder};

const USAGE: &str = "usage: elections-bench TENURE ELECTIONS SESSIONS TTL_MS text|json [STORE...]";

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
    let [tenure, elections, sessions, ttl, form, only @ ..] = words else {
        return Err(USAGE.into());
    };
    bench(Path::new(tenure), Mass::parse(elections, sessions, ttl)?, form, only)
}

fn bench(tenure: &Path, work: Mass, form: &str, only: &[&str]) -> Done {
    let known = ["tenure", "etcd", "redis"];
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no store {unknown}: {} are known", known.join(", ")).into());
    }
    // A tenth of the work is enough to tell what one election costs where that is much.
    let tenth = Mass { elections: work.elections / 10, ..work };
    let mut all = Vec::new();
    for store in known.into_iter().filter(|name| only.is_empty() || only.contains(name)) {
        eprintln!("{store}: starting its servers");
        let work = if store == "tenure" { work } else { tenth };
        let held = held_by(store, tenure, work, |line| eprintln!("{store}: {line}"))?;
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
