//! A lease that follows what its renewals go through: `--ttl SHORTEST..LONGEST`.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::{DEMO, PATIENCE, cluster::Plan, tenure};

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
