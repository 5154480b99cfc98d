//! Leases that follow what their renewals go through, `--ttl SHORTEST..LONGEST`, and a quorum whose
//! nodes wait for their leader as long as they must, `--election-timeout SHORTEST..LONGEST`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Cluster, DEMO, PATIENCE, cluster::Plan, tenure};

const LONGEST: u64 = 2000;

#[test]
fn a_lease_is_shorter_in_calm_and_longer_after_a_stall() {
    let cluster = Plan::new(3).without_candidates().start();
    let names = cluster.names();
    let lease = || cluster.tenure(&format!("leader {DEMO} --json")).ok().json()["leader"].take();
    let first = cluster.candidate("c1", &names, "--ttl 1s..2s");
    let token = first.says("elected").number("token");
    assert_eq!(lease()["ttl_ms"], LONGEST, "nothing is known about its renewals yet");

    let shorter = first.says("retimed").number("ttl_ms");
    assert!((1000..LONGEST).contains(&shorter), "{shorter}");
    // The quorum follows when nothing rests on the longer lease any more; until then it says so.
    let patience = Instant::now() + PATIENCE;
    while lease()["ttl_ms"] == LONGEST {
        assert!(Instant::now() < patience, "the quorum never granted the shorter lease");
    }
    assert_eq!(lease()["token"], token, "it was held all the time");

    // It sleeps for longer than its lease.
    first.process.signal(Signal::STOP);
    let patience = Instant::now() + PATIENCE;
    while cluster.tenure(&format!("leader {DEMO}")).run().code == Some(0) {
        assert!(Instant::now() < patience, "its lease never ran out");
    }
    let woken = cluster.journal.mark();
    first.process.signal(Signal::CONT);
    assert_eq!(first.says_from(woken, "lost").number("token"), token);
    assert!(first.says_from(woken, "elected").number("token") > token);
    let longer = lease()["ttl_ms"].as_u64().unwrap();
    assert!(longer > shorter && longer <= LONGEST, "{shorter} ms, then {longer} ms");
}

#[test]
fn stores_with_leases_of_one_length_refuse_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let call = tenure(&format!("campaign {DEMO} --ttl 1s..5s")).url(&url);
    call.run().expect(2).explains(&["one length", "tenure://"]);
}

#[test]
fn nodes_wait_for_the_quorums_leader_as_long_as_what_they_measure_says() {
    const LONGEST: f64 = 2000.0;
    let plan = Plan::new(3).without_candidates().with_ttl(Duration::from_secs(6));
    let mut cluster = plan.with("--election-timeout=50ms..2s").start();
    let names = cluster.names();
    let status = |cluster: &Cluster, name: &str| {
        cluster.tenure_at(name, "cluster status --json").ok().json()
    };
    let waits = |cluster: &Cluster, name: &str| {
        status(cluster, name)["election_timeout_ms"].as_f64().unwrap()
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let patience = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < patience, "{what}");
        }
    };

    let all_wait_less = || names.iter().all(|name| waits(&cluster, name) < LONGEST);
    until("nothing was wrong, and they waited as long as ever", &all_wait_less);
    let leader = cluster.raft_leader();
    let beat = status(&cluster, &leader)["heartbeat_ms"].as_f64().unwrap();
    let shortest = names.iter().map(|name| waits(&cluster, name)).fold(LONGEST, f64::min);
    assert!(beat < shortest, "a heartbeat every {beat} ms, and somebody waits {shortest} ms");

    // Whoever waits the longest time, whatever is measured, begins to look for a leader after that.
    let mark = cluster.journal.mark();
    let stopped = cluster.pause(&leader);
    let next = cluster.journal.wait(mark, "another leader of the quorum", |line| {
        line.event == "role" && line.text("role") == "leader" && line.node != leader
    });
    let after = Duration::from_nanos(next.mono_ns - stopped);
    assert!(after < Duration::from_secs(2), "the next one led after {after:?}");
    cluster.go_on(&leader);
}
