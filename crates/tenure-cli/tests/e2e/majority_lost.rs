//! More nodes die than the quorum can bear, up to all of them.

use crate::support::{DEMO, cluster::Plan};

#[test]
fn a_minority_knows_that_it_does_not_know() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    // The leader lives on, so it has something to give up.
    let dead: Vec<_> =
        cluster.names().into_iter().filter(|name| *name != leader.id).take(3).collect();
    let from = cluster.journal.mark();
    cluster.kill_all(&dead);
    let unknown = cluster.all_show("unknown");
    assert!(unknown.text("reason").contains("no quorum: 2 of 5 voters"), "{unknown:?}");

    let refused = cluster.tenure(&format!("leader {DEMO} --timeout 1s")).run().expect(3);
    refused.explains(&["no quorum: 2 of 5 voters reachable", "3 needed"]);
    let all = cluster.tenure(&format!("leader {DEMO} --all --json")).run().expect(3).json();
    let words = all.as_array().unwrap();
    assert_eq!(words.len(), 2, "{all}");
    for word in words {
        assert_eq!((&word["view"], &word["leader"]), (&"unknown".into(), &().into()), "{word}");
        assert!(word["reason"].as_str().unwrap().contains("no quorum"), "{word}");
    }
    // Its outcome is unknown: it is carried out later if a quorum comes back soon enough.
    let change = cluster.tenure(&format!("resume {DEMO} --timeout 500ms")).run().expect(3);
    change.explains(&["no quorum: 2 of 5", "may have happened"]);

    // Longer than any lease that may still be believed in.
    let wait = format!("leader {DEMO} --wait 2500ms");
    cluster.tenure(&wait).run().expect(3).explains(&["no quorum"]);
    let lines = cluster.journal.lines();
    let since = || lines[from..].iter();
    let lost: Vec<_> = since().filter(|line| line.is("lost", DEMO)).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].node.as_str(), lost[0].number("token")), (&*leader.id, leader.token));
    assert_eq!(since().find(|line| line.event == "elected").map(|line| &line.node), None);

    cluster.start_node(&dead[0]);
    let after = cluster.leader_after(leader.token);
    cluster.everybody_says(&after);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_die() {
    let mut cluster = Plan::new(3).start();
    cluster.plan_node("n4");
    cluster.start_node("n4");
    cluster.becomes("n4", "voter");
    for _ in 0..3 {
        let next = cluster.another(&[&cluster.leader().id]);
        cluster.move_leader(&next);
    }
    let leader = cluster.leader();
    let members = cluster.members();
    cluster.tenure(&format!("pause {DEMO}")).ok();
    let history = cluster.history();
    assert_eq!(history.len(), 3);

    let all = cluster.names();
    cluster.kill_all(&all);
    for name in &all {
        cluster.start_node(name);
    }
    cluster.raft_leader();
    assert_eq!(cluster.members(), members);
    // The tenure was acknowledged, so it counts for a full lease; then the pause holds.
    cluster.all_show("vacant");
    let status = cluster.tenure(&format!("status {DEMO} --json")).run().expect(1).json();
    assert_eq!(status["paused"], true, "{status}");
    let after = cluster.history();
    assert_eq!(after[..3], history[..]);
    assert_eq!(after.len(), 4, "{after:?}");
    assert_eq!(after[3]["id"], leader.id.as_str());
    assert_eq!(after[3]["token"], leader.token);

    let from = cluster.journal.mark();
    cluster.tenure(&format!("resume {DEMO}")).ok();
    let next = cluster.leader_after(leader.token);
    cluster.everybody_says(&next);
    let lines = cluster.journal.lines();
    let early = lines[..from].iter().filter(|line| line.event == "elected");
    assert!(early.map(|line| line.number("token")).all(|token| token <= leader.token));
}

#[test]
fn tokens_go_on_through_many_restarts_of_everything() {
    let mut cluster = Plan::new(3).start();
    let mut token = cluster.leader().token;
    for _ in 0..3 {
        let all = cluster.names();
        cluster.kill_all(&all);
        for name in &all {
            cluster.start_node(name);
        }
        token = cluster.leader_after(token).token;
    }
    let history = cluster.history();
    assert_eq!(history.len(), 3, "{history:?}");
    let tokens: Vec<_> = history.iter().map(|past| past["token"].as_u64().unwrap()).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}
