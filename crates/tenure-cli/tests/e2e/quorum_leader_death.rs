//! `kill -9` of the leader of the quorum: no affair of the leaders of elections.

use crate::support::{DEMO, Pace, cluster::Plan};

#[test]
fn the_death_of_the_quorums_leader_ends_nobody_elses_tenure() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    for _ in 0..2 {
        let quorum = cluster.another(&[&leader.id]);
        cluster.move_raft_leader(&quorum);
        let from = cluster.journal.mark();
        cluster.kill(&quorum);
        // This is answered by the next leader of the quorum.
        cluster.tenure(&format!("pause {DEMO}")).ok();
        cluster.tenure(&format!("resume {DEMO}")).ok();
        assert_ne!(cluster.raft_leader(), quorum);
        cluster.everybody_says(&leader);
        let lines = cluster.journal.lines();
        let ended = lines[from..].iter().find(|line| line.is("lost", DEMO));
        assert!(ended.is_none(), "{ended:?}");
        cluster.start_node(&quorum);
        assert_eq!(cluster.leader(), leader);
    }
    // Grants go on.
    let next = cluster.another(&[&leader.id]);
    assert!(cluster.move_leader(&next) > leader.token);
}

#[test]
fn both_leaders_may_die_in_one_process() {
    let mut cluster = Plan::new(5).start();
    let mut pace = Pace::of(cluster.ttl());
    let mut before = cluster.leader();
    for _ in 0..3 {
        cluster.move_raft_leader(&before.id);
        let killed = cluster.kill(&before.id);
        let after = cluster.leader_after(before.token);
        pace.add(killed, cluster.elected(after.token).mono_ns);
        assert_ne!(cluster.raft_leader(), before.id);
        cluster.everybody_says(&after);
        cluster.start_node(&before.id);
        before = cluster.leader();
        assert_eq!(before, after);
    }
    pace.judge();
}
