//! Voters are spread over zones, move to where there are none, and go where an operator says.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

use crate::support::{Cluster, PATIENCE, cluster::Plan};

fn status(cluster: &Cluster) -> Value {
    let answers = |name: String| {
        let done = cluster.tenure_at(&name, "cluster status --json").run();
        (done.code == Some(0)).then(|| done.json())
    };
    cluster.live().into_iter().find_map(answers).expect("a node that knows the quorum's leader")
}

/// Names of the voters by their zones.
fn voters(status: &Value) -> BTreeMap<String, Vec<String>> {
    let mut voters = BTreeMap::<_, Vec<_>>::new();
    for member in status["members"].as_array().expect("members") {
        if member["role"] == "voter" {
            let zone = member["zone"].as_str().unwrap_or_default().to_owned();
            voters.entry(zone).or_default().push(member["node"].as_str().unwrap().to_owned());
        }
    }
    voters
}

fn counts(status: &Value) -> Vec<usize> {
    voters(status).values().map(Vec::len).collect()
}

#[track_caller]
fn until(cluster: &Cluster, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(cluster);
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never: {what}; {status}");
    }
}

fn join(cluster: &mut Cluster, name: &str) {
    cluster.plan_node(name);
    cluster.start_node(name);
    cluster.contends(name);
}

#[test]
fn a_zone_that_dies_is_replaced_from_the_others_evenly() {
    let mut cluster = Plan::new(5).with_zones(3).with("--replace-after=1s").start();
    for name in ["n6", "n7", "n8", "n9"] {
        join(&mut cluster, name);
    }
    let known = |status: &Value| counts(status) == [2, 2, 1];
    let before = until(&cluster, "five voters in three zones", known);
    assert_eq!(voters(&before)["z1"], ["n1", "n4"]);
    assert_eq!(before["warnings"].as_array().map(Vec::len), Some(0));
    let text = cluster.tenure("cluster status").ok();
    assert!(text.out.contains("zone") && text.out.contains("z3"), "{text:?}");
    let dead = ["n1", "n4", "n7"].map(String::from);
    cluster.kill_all(&dead);
    let replaced = |status: &Value| {
        let all: Vec<_> = voters(status).into_values().flatten().collect();
        all.len() == 5 && !all.iter().any(|name| dead.contains(name))
    };
    let after = until(&cluster, "five live voters", replaced);
    // Two zones are left: one of them must have three of five votes, and neither has more.
    let mut left = counts(&after);
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
    let warned = after["warnings"][0].as_str().unwrap_or_default();
    assert!(warned.contains("3 of 5 votes"), "{after}");
    let leader = cluster.leader();
    cluster.everybody_says(&leader);
}

#[test]
fn votes_move_to_zones_that_join_later() {
    let mut cluster = Plan::new(3).with_zones(1).with("--voters=3 --replace-after=1s").start();
    cluster.plan.zones = 3;
    for name in ["n5", "n6"] {
        join(&mut cluster, name);
    }
    let leader = cluster.leader();
    until(&cluster, "one voter in each zone", |status| {
        counts(status) == [1, 1, 1] && voters(status)["z2"] == ["n5"]
    });
    // Whoever gave its vote up serves on, and may be restarted in another zone.
    let roles = cluster.members();
    let learner = roles.iter().find(|(_, role)| *role == "learner");
    let learner = learner.expect("two gave their votes up").0.clone();
    assert_eq!(roles.values().filter(|role| *role == "learner").count(), 2);
    assert_eq!(cluster.leader(), leader);
    cluster.everybody_says(&leader);
    cluster.kill(&learner);
    cluster.start_node(&learner);
    let zone = cluster.zone(&learner);
    until(&cluster, "its zone", |status| {
        let members = status["members"].as_array().expect("members");
        members.iter().any(|member| member["node"] == *learner && member["zone"] == *zone)
    });
    // The votes that moved count.
    let stays = voters(&status(&cluster))["z1"][0].clone();
    let next = cluster.leader();
    cluster.kill(&stays);
    let left = cluster.leader_after(if next.id == stays { next.token } else { 0 });
    cluster.everybody_says(&left);
}

#[test]
fn an_operator_says_who_votes() {
    let mut cluster = Plan::new(3).with_zones(3).with("--voters=3").start();
    for name in ["n4", "n5"] {
        join(&mut cluster, name);
    }
    until(&cluster, "zones", |status| counts(status) == [1, 1, 1]);
    cluster.move_raft_leader("n1");
    cluster.tenure("cluster promote n9").run().expect(6).explains(&["n9"]);
    cluster.tenure("cluster promote n4 --instead-of n5").run().expect(4).explains(&["n5"]);
    let worse = cluster.tenure("cluster promote n4 --instead-of n2").run().expect(4);
    worse.explains(&["z1 would have 2 of 3", "same zone as n4"]);
    assert_eq!(cluster.members()["n2"], "voter");
    // The voter of the same zone leads the quorum: it hands over and makes room.
    let done = cluster.tenure("cluster promote n4 --instead-of n1 --json").ok().json();
    assert_eq!((done["promoted"].as_str(), done["instead_of"].as_str()), (Some("n4"), Some("n1")));
    let members = cluster.members();
    assert_eq!((members["n4"].as_str(), members["n1"].as_str()), ("voter", "learner"));
    assert_ne!(cluster.raft_leader(), "n1");
    cluster.tenure("cluster promote n4").ok();
    // And back: a learner has the log already.
    cluster.tenure("cluster promote n1").ok();
    let members = cluster.members();
    assert_eq!((members["n4"].as_str(), members["n1"].as_str()), ("learner", "voter"));
    // Without the vote that was given up, two of three are a quorum.
    let before = cluster.leader();
    cluster.kill("n3");
    let leader = match before.id.as_str() {
        "n3" => cluster.leader_after(before.token),
        _ => cluster.leader(),
    };
    cluster.everybody_says(&leader);
}
