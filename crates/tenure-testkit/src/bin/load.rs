//! `testkit-load URL SESSIONS ELECTIONS CHANGING TTL_MS`: gives a cluster work until its standard
//! input ends; says `ready` when it holds what it is to hold, and at the end a line of JSON.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its words are what it is for

use std::{error::Error, io::Write, process::ExitCode, time::Duration};

use tenure_testkit::bench::{Load, load};
use tokio::sync::watch;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, sessions, elections, changing, ttl] = arguments.as_slice() else {
        return Err("usage: testkit-load URL SESSIONS ELECTIONS CHANGING TTL_MS".into());
    };
    let amount = Load {
        sessions: sessions.parse()?,
        elections: elections.parse()?,
        changing: changing.parse()?,
        ttl: Duration::from_millis(ttl.parse()?),
    };
    let (send, stop) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = send.send(true);
    });
    let say = |line: &str| {
        println!("{line}");
        let _ = std::io::stdout().flush();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = runtime.block_on(load(url, amount, stop, || say("ready")))?;
    say(&serde_json::to_string(&work)?);
    Ok(())
}
