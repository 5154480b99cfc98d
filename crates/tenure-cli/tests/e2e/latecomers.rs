//! A node that was away does not show yesterday's leader as if it were today's.

use crate::support::{Cluster, DEMO, Leader, cluster::Plan};

/// Whatever these nodes showed since then as known is not older than this leader.
fn show_nothing_older(cluster: &Cluster, mark: usize, leader: &Leader) {
    let lines = cluster.journal.lines();
    let known =
        lines[mark..].iter().filter(|line| line.is("view", DEMO) && line.text("view") != "unknown");
    for line in known {
        assert!(line.number("revision") >= leader.token, "{line:?} is older than {leader:?}");
    }
}

#[test]
fn a_node_that_comes_back_knows_nothing_until_it_has_caught_up() {
    let mut cluster = Plan::new(3).start();
    let away = cluster.another(&[&cluster.leader().id]);
    for _ in 0..5 {
        cluster.kill(&away);
        for _ in 0..3 {
            let next = cluster.another(&[&cluster.leader().id]);
            cluster.move_leader(&next);
        }
        let leader = cluster.leader();
        let mark = cluster.journal.mark();
        cluster.start_node(&away);
        assert_eq!(cluster.leader(), leader);
        show_nothing_older(&cluster, mark, &leader);
    }
}

#[test]
fn nor_does_a_node_that_joins() {
    let mut cluster = Plan::new(1).start();
    for name in ["n2", "n3", "n4"] {
        let leader = cluster.leader();
        let mark = cluster.journal.mark();
        cluster.plan_node(name);
        cluster.start_node(name);
        assert_eq!(cluster.leader(), leader);
        show_nothing_older(&cluster, mark, &leader);
        cluster.becomes(name, "voter");
    }
}

#[test]
fn nor_do_all_nodes_that_come_back_together() {
    let mut cluster = Plan::new(3).start();
    for _ in 0..3 {
        let next = cluster.another(&[&cluster.leader().id]);
        cluster.move_leader(&next);
        let (leader, all) = (cluster.leader(), cluster.names());
        cluster.kill_all(&all);
        let mark = cluster.journal.mark();
        for name in &all {
            cluster.start_node(name);
        }
        cluster.leader_after(leader.token);
        show_nothing_older(&cluster, mark, &leader);
    }
}
