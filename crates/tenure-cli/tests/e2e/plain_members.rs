//! Nodes without a log: they ask a voter, contend, show who leads, and take a dead voter's place.

use crate::support::{Cluster, DEMO, Pace, cluster::Plan};

/// Three voters, and two nodes without a log.
fn three_and_two(more: &str) -> Cluster {
    let mut cluster = Plan::new(3).with("--voters=3").with(more).start();
    for name in ["n4", "n5"] {
        cluster.plan_node(name);
        cluster.start_node(name);
        cluster.leader();
        cluster.contends(name);
        assert_eq!(cluster.members()[name], "member");
    }
    cluster
}

#[test]
fn a_member_leads_and_its_death_is_proved_at_once() {
    let mut cluster = three_and_two("");
    let token = cluster.move_leader("n4");
    let killed = cluster.kill("n4");
    let next = cluster.leader_after(token);
    Pace::of(cluster.ttl()).add(killed, cluster.elected(next.token).mono_ns);
    cluster.everybody_says(&next);
    // It comes back as what it was, and leads again.
    cluster.start_node("n4");
    assert!(cluster.move_leader("n4") > next.token);
    assert_eq!(cluster.members()["n4"], "member");
}

#[test]
fn a_leader_outlives_the_voter_that_it_asks() {
    let mut cluster = three_and_two("");
    let token = cluster.move_leader("n4");
    for _ in 0..3 {
        let mark = cluster.journal.mark();
        let voter = ["n1", "n2", "n3"].into_iter().find(|name| *name == cluster.raft_leader());
        let voter = voter.expect("a voter leads the quorum");
        cluster.kill(voter);
        let now = cluster.leader();
        assert_eq!((now.id.as_str(), now.token), ("n4", token));
        cluster.start_node(voter);
        assert_eq!(cluster.leader(), now);
        cluster.everybody_says(&now);
        let lines = cluster.journal.lines();
        let lost = lines[mark..].iter().find(|line| line.is("lost", DEMO));
        assert!(lost.is_none(), "{lost:?}");
    }
}

#[test]
fn without_a_quorum_a_member_says_that_it_does_not_know() {
    let mut cluster = three_and_two("");
    let token = cluster.leader().token;
    let voters: Vec<_> = ["n1", "n2", "n3"].map(String::from).to_vec();
    let mark = cluster.journal.mark();
    let killed = cluster.kill_all(&voters);
    cluster.all_show("unknown");
    for line in &cluster.journal.lines()[mark..] {
        let late = line.text("view") != "unknown" || line.mono_ns > killed;
        assert!(late, "it knew before there was anything to know: {line:?}");
    }
    let answer = cluster.tenure_at("n4", &format!("leader {DEMO} --local")).run().expect(3);
    assert!(answer.err.contains("no voter is reached"), "{answer:?}");
    for name in &voters {
        cluster.start_node(name);
    }
    let leader = cluster.leader_after(token);
    cluster.everybody_says(&leader);
}

#[test]
fn a_dead_voter_is_replaced_and_told_so_when_it_comes_back() {
    let mut cluster = three_and_two("--replace-after=1s");
    let leader = cluster.leader();
    let dead = ["n1", "n2", "n3"]
        .into_iter()
        .find(|name| *name != leader.id && *name != cluster.raft_leader());
    let dead = dead.expect("a voter that leads nothing");
    cluster.kill(dead);
    cluster.becomes("n4", "voter");
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while cluster.members().contains_key(dead) {
        assert!(std::time::Instant::now() < deadline, "{:?}", cluster.members());
    }
    assert_eq!(cluster.members()["n5"], "member");
    assert_eq!(cluster.leader(), leader);
    cluster.spawn(dead);
    let (code, said) = cluster.ended(dead);
    assert_eq!(code, 125, "{said}");
    assert!(said.contains("removed from the cluster"), "{said}");
    // Its vote counts: two of the three that vote now are a quorum.
    let other = ["n1", "n2", "n3"].into_iter().find(|name| *name != dead && *name != leader.id);
    cluster.kill(other.expect("another voter"));
    cluster.move_leader("n4");
}
