//! What a thousand elections cost when nothing happens.

use std::time::{Duration, Instant};

use tenure::Elector;
use tenure_testkit::{PATIENCE, servers::Redis};

use crate::FLEETING;

const ELECTIONS: usize = 1000;
const TTL: Duration = Duration::from_secs(4);

fn counted(redis: &Redis, key: &str) -> u64 {
    let info = redis.ask(&["INFO", "all"]).expect("an answer");
    let line = info.lines().find_map(|line| line.strip_prefix(key));
    let line = line.unwrap_or_else(|| panic!("no {key} in INFO"));
    let number = line.chars().take_while(char::is_ascii_digit).collect::<String>();
    number.parse().expect("a number")
}

/// One renewal of all of them takes a handful of commands, not one for each.
#[tokio::test]
async fn a_thousand_elections_are_renewed_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path(), &FLEETING).expect("Redis");
    let elector = Elector::builder().ttl(TTL).connect(&redis.url()).await.expect("Redis");
    let mut campaigns = Vec::new();
    for at in 0..ELECTIONS {
        let election = format!("steady/{at:04}");
        campaigns.push(elector.campaign(&election, "one").start().expect("a campaign"));
    }
    let mut held = Vec::new();
    for campaign in &mut campaigns {
        let elected = tokio::time::timeout(PATIENCE, campaign.elected()).await;
        held.push(elected.expect("in time").expect("a grant"));
    }
    // What was asked while they were elected comes to rest.
    tokio::time::sleep(TTL).await;
    let calls = || counted(&redis, "cmdstat_evalsha:calls=");
    let (begun, calls_before) = (Instant::now(), calls());
    let bytes = counted(&redis, "total_net_input_bytes:");
    tokio::time::sleep(TTL * 3).await;
    let (calls, bytes) =
        (calls() - calls_before, counted(&redis, "total_net_input_bytes:") - bytes);
    let renewals = begun.elapsed().as_secs_f64() / (TTL / 4).as_secs_f64();
    for leadership in &held {
        assert!(leadership.check().is_ok(), "{:?}", leadership.check());
    }
    eprintln!(
        "{ELECTIONS} elections, ttl {TTL:?}, a renewal every {:?}: {:.1} script calls and {:.0} \
         bytes for each renewal, {:.1} bytes for each election; {:.1} script calls a second",
        TTL / 4,
        calls as f64 / renewals,
        bytes as f64 / renewals,
        bytes as f64 / renewals / ELECTIONS as f64,
        calls as f64 / begun.elapsed().as_secs_f64(),
    );
    assert!(calls as f64 <= renewals * 6.0, "{calls} script calls in {renewals:.1} renewals");
}
