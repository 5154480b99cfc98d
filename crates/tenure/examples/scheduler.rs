//! A scheduler of which exactly one runs, however many are started.
//!
//! `cargo run -p tenure --example scheduler [URL] [NAME] [TICKS]`, in two terminals with
//! `file:///tmp/scheduler`: the second waits. End the first in any way, and the second goes on.
#![allow(clippy::print_stdout)] // what it says is what it is for

use std::time::Duration;

use tenure::{Elector, Error, Lead, Token};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| String::from("mem://scheduler"));
    let name = arguments.next().unwrap_or_else(|| format!("pid-{}", std::process::id()));
    let ticks: u32 = arguments.next().and_then(|ticks| ticks.parse().ok()).unwrap_or(3);

    let elector = Elector::builder().ttl(Duration::from_secs(2)).connect(&url).await?;
    println!("{name} contends; the longest time without a leader is {:?} after the ttl", {
        elector.capabilities().expiry_delay
    });
    let scheduler = elector.election("examples/scheduler").candidate(&name).value(&name);
    // Called again for each tenure: `schedule` begins anew where the former leader has stopped.
    let done = scheduler.run(|lead| schedule(lead, ticks)).await?;
    println!("{name} has done {done} ticks and hands over");
    Ok(())
}

async fn schedule(lead: Lead, ticks: u32) -> Result<u32, Error> {
    println!("leading with token {}", lead.token());
    for tick in 1..=ticks {
        // Right before each effect; an error here makes `run` contend again.
        let token = lead.check()?;
        start_job(tick, token);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(ticks)
}

fn start_job(tick: u32, token: Token) {
    println!("tick {tick} under token {token}");
}
