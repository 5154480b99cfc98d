//! The primary fails under Sentinel while an election is held, again and again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tenure_testkit::{PATIENCE, servers::Sentinels, suite::never_two_leaders_through};

use crate::{program, store};

const TTL: u64 = 800;

/// `TENURE_REDIS_ROUNDS` asks for more than the few of the gate.
fn rounds() -> usize {
    std::env::var("TENURE_REDIS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Rounds of one election: then it is judged, and another one begins.
const JUDGED: usize = 10;

/// Waits until the election is held on that server, by somebody who renews it there.
fn wait_until_held(group: &Sentinels, at: usize, election: &str) {
    let key = format!("{{tenure}}:lease:{election}");
    let lease = |command: &str| {
        let answer = group.servers[at].ask(&[command, &key]);
        answer.unwrap_or_default()
    };
    let left = || lease("PTTL").parse::<i64>().unwrap_or(-1);
    let begun = Instant::now();
    let mut last = i64::MAX;
    // What is left of it grows only when it is granted or renewed.
    loop {
        let now = left();
        if now > last && last > 0 {
            return;
        }
        last = now;
        assert!(begun.elapsed() < PATIENCE, "nobody holds the election on the new primary");
        std::thread::sleep(Duration::from_millis(TTL / 16));
    }
}

/// Two rounds of three kill the primary. The third freezes it instead and wakes it when another
/// one was promoted: until a sentinel tells it otherwise it goes on granting leases.
#[test]
fn primaries_fail_one_after_the_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut group = Sentinels::start(dir.path()).expect("Redis under Sentinel");
    let store = store(group.url(), TTL);
    let (rounds, begun) = (rounds(), Instant::now());
    for first in (1..=rounds).step_by(JUDGED) {
        let last = rounds.min(first + JUDGED - 1);
        let election = format!("failover-{first}");
        never_two_leaders_through(&store, program(), &election, || {
            for round in first..=last {
                fail_over(&mut group, round, &election);
            }
        });
        eprintln!("{last} of {rounds} failovers after {:?}", begun.elapsed());
    }
}

fn fail_over(group: &mut Sentinels, round: usize, election: &str) {
    let old = group.primary().expect("a primary");
    wait_until_held(group, old, election);
    match round % 3 {
        0 => group.servers[old].signal(Signal::STOP),
        _ => group.servers[old].kill(),
    }
    let new = group.wait_for_switch(old).unwrap_or_else(|error| panic!("no failover: {error}"));
    if round.is_multiple_of(3) {
        group.servers[old].signal(Signal::CONT);
    }
    wait_until_held(group, new, election);
    group.servers[old].kill();
    group.revive(old).unwrap_or_else(|error| panic!("no replica: {error}"));
}
