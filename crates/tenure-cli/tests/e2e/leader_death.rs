//! `kill -9` of the leader of an election.

use crate::support::{DEMO, Pace, cluster::Plan};

#[test]
fn a_killed_leader_is_succeeded_long_before_its_lease_ends() {
    let mut cluster = Plan::new(5).start();
    let mut pace = Pace::of(cluster.ttl());
    let mut before = cluster.leader();
    for _ in 0..3 {
        let killed = cluster.kill(&before.id);
        let after = cluster.leader_after(before.token);
        assert_ne!(after.id, before.id);
        pace.add(killed, cluster.elected(after.token).mono_ns);
        cluster.everybody_says(&after);
        let last = cluster.history().pop().unwrap();
        assert_eq!(last["id"], before.id.as_str());
        assert_eq!(last["token"], before.token);
        assert_eq!(last["reason"], "died");
        cluster.start_node(&before.id);
        before = after;
    }
    pace.judge();
    assert_eq!(cluster.leader(), before, "nobody loses leadership to a node that comes back");
}

#[test]
fn without_proof_of_death_the_lease_is_waited_for() {
    let mut cluster = Plan::new(3).with("--local-proof=off").start();
    let ttl = u64::try_from(cluster.ttl().as_nanos()).unwrap();
    let before = cluster.leader();
    cluster.journal.wait(0, "lease of the leader", |line| line.is("lease", DEMO));
    let killed = cluster.kill(&before.id);
    let leases = cluster.journal.lines().into_iter().filter(|line| line.event == "lease");
    let until = leases.map(|line| line.mono_ns + line.number("remaining_ms") * 1_000_000);
    let until = until.max().expect("the leader told of its lease");
    let after = cluster.leader_after(before.token);
    let elected = cluster.elected(after.token).mono_ns;
    assert!(elected >= until, "the successor came {} ns before the lease ended", until - elected);
    assert!(elected - killed < 4 * ttl, "the successor came after {} ns", elected - killed);
    assert_eq!(cluster.history().pop().unwrap()["reason"], "expired");
    cluster.everybody_says(&after);
}
