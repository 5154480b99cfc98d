//! A candidate in a process of its own: says as lines of JSON what it believes, and when.
//!
//! `testkit-candidate URL ELECTION ID TTL_MS [lease-only]`. While it leads it asks its leadership every few
//! milliseconds whether it may act; the first refusal is told as `lost`. On SIGTERM it resigns.
//! With `lease-only` nothing but its lease tells of its death.

#![allow(clippy::print_stdout)] // its lines are what it is for

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tenure::{Elector, Leadership};
use tokio::signal::unix::{SignalKind, signal};

/// How often a leader asks whether it may act.
const STEP: Duration = Duration::from_millis(2);

fn now() -> u128 {
    let time = clock_gettime(ClockId::Monotonic);
    u128::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u128::try_from(time.tv_nsec).unwrap_or(0)
}

fn say(event: &str, token: u64, acted: u128) {
    let now = now();
    println!("{{\"event\":\"{event}\",\"token\":{token},\"mono_ns\":{now},\"acted_ns\":{acted}}}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, election, id, ttl, more @ ..] = arguments.as_slice() else {
        return Err("usage: testkit-candidate URL ELECTION ID TTL_MS [lease-only]".into());
    };
    let local_proof = !more.iter().any(|word| word == "lease-only");
    let ttl = Duration::from_millis(ttl.parse()?);
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let elector = Elector::builder().ttl(ttl).local_proof(local_proof).connect(url).await?;
    let mut campaign = elector.campaign(election, id).value(format!("value of {id}")).start()?;
    say("campaigning", 0, 0);
    loop {
        let leadership = tokio::select! {
            elected = campaign.elected() => elected?,
            _ = asked_to_end.recv() => break,
        };
        let token = leadership.token().get();
        say("elected", token, 0);
        tokio::select! {
            (lost, acted) = act(&leadership) => say(&format!("lost:{lost}"), token, acted),
            _ = asked_to_end.recv() => {
                leadership.resign();
                break;
            }
        }
    }
    campaign.withdraw(Duration::from_secs(5)).await;
    say("left", 0, 0);
    elector.close();
    Ok(())
}

/// Acts for as long as it may. Gives why it stopped, and the moment before it last made sure.
async fn act(leadership: &Leadership) -> (&'static str, u128) {
    let mut acted = 0;
    loop {
        let before = now();
        if let Err(lost) = leadership.check() {
            return (lost.loss.as_str(), acted);
        }
        acted = before;
        if leadership.is_handover_asked() {
            return ("handover", acted);
        }
        tokio::time::sleep(STEP).await;
    }
}
