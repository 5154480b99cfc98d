//! Leadership that changes hands in peace, or by order.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{DEMO, Pace, cluster::Plan};

#[test]
fn resign_and_transfer_move_leadership_at_once() {
    let cluster = Plan::new(3).start();
    let mut pace = Pace::of(cluster.ttl());
    let mut before = cluster.leader();
    for round in 0..4 {
        let to = cluster.another(&[&before.id]);
        let resigns = round % 2 == 0;
        let words = match resigns {
            true => format!("resign {DEMO} --json --if-token {}", before.token),
            false => format!("transfer {DEMO} --to {to} --json"),
        };
        let report = cluster.tenure(&words).ok().json();
        let after = cluster.leader_after(before.token);
        assert_eq!(report["before"]["token"], before.token, "{report}");
        assert_eq!(report["after"]["token"], after.token, "{report}");
        assert_eq!(report["after"]["id"], after.id.as_str(), "{report}");
        assert_ne!(after.id, before.id);
        if !resigns {
            assert_eq!(after.id, to);
        }
        let given_up = cluster.journal.wait(0, "hand-over", |line| {
            line.is("hand_over", DEMO) && line.number("token") == before.token
        });
        pace.add(given_up.mono_ns, cluster.elected(after.token).mono_ns);
        cluster.everybody_says(&after);
        before = after;
    }
    pace.judge();
    let history = cluster.history();
    assert_eq!(history.len(), 4);
    for past in &history {
        assert!(["resigned", "transferred"].contains(&past["reason"].as_str().unwrap()), "{past}");
    }
}

#[test]
fn a_node_that_is_asked_to_end_hands_over_first() {
    let mut cluster = Plan::new(3).start();
    let mut pace = Pace::of(cluster.ttl());
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let before = cluster.leader();
        let (asked, ended) = cluster.terminate(&before.id, signal);
        assert_eq!(ended, code);
        let after = cluster.leader_after(before.token);
        pace.add(asked, cluster.elected(after.token).mono_ns);
        let last = cluster.history().pop().unwrap();
        assert_eq!((&last["id"], &last["reason"]), (&before.id.into(), &"resigned".into()));
        cluster.everybody_says(&after);
        let name = last["id"].as_str().unwrap().to_owned();
        cluster.start_node(&name);
        assert_eq!(cluster.leader(), after);
    }
    pace.judge();
}

#[test]
fn the_quorums_leader_that_is_asked_to_end_leaves_no_gap() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    // Faster than anybody would notice a silent leader of the quorum.
    let timeout = cluster.election_timeout();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let quorum = cluster.another(&[&leader.id]);
        cluster.move_raft_leader(&quorum);
        let mark = cluster.journal.mark();
        let (asked, code) = cluster.terminate(&quorum, Signal::TERM);
        assert_eq!(code, 0);
        let next = cluster.raft_leader();
        let stands = cluster.journal.wait(mark, "next leader of the quorum", |line| {
            line.event == "quorum_leader" && line.node == next
        });
        best = best.min(Duration::from_nanos(stands.mono_ns.saturating_sub(asked)));
        let lines = cluster.journal.lines();
        let noticed = lines[mark..].iter().find(|line| line.is("lost", DEMO));
        assert!(noticed.is_none(), "{noticed:?}");
        cluster.everybody_says(&leader);
        cluster.start_node(&quorum);
        assert_eq!(cluster.leader(), leader);
    }
    assert!(best < timeout, "the next leader came after {best:?} of {timeout:?}");
}

#[test]
fn an_evicted_leader_is_banned_for_a_while() {
    let cluster = Plan::new(3).start();
    let before = cluster.leader();
    cluster
        .tenure(&format!("evict {DEMO} --if-token {}", before.token))
        .run()
        .expect(2)
        .explains(&["confirmation", "--yes"]);
    assert_eq!(cluster.leader(), before);
    let report = cluster.tenure(&format!("evict {DEMO} --ban 2s --yes --json")).ok().json();
    assert_eq!(report["before"]["token"], before.token, "{report}");
    let lost = cluster.journal.wait(0, "word of the evicted", |line| {
        line.is("lost", DEMO) && line.number("token") == before.token
    });
    assert_eq!(lost.text("reason"), "evicted");
    let after = cluster.leader_after(before.token);
    assert_ne!(after.id, before.id);
    let status = cluster.tenure(&format!("status {DEMO} --json")).ok().json();
    assert_eq!(status["banned"], serde_json::json!([before.id]));
    let banned = cluster.tenure(&format!("transfer {DEMO} --to {}", before.id)).run();
    banned.expect(6).explains(&[&before.id]);
    assert_eq!(cluster.history().pop().unwrap()["reason"], "evicted");
    // It contends again by itself when the ban is over.
    cluster.contends(&before.id);
    let status = cluster.tenure(&format!("status {DEMO} --json")).ok().json();
    assert_eq!(status["banned"], serde_json::json!([]));
    assert_eq!(cluster.leader(), after);
    let again = cluster.move_leader(&before.id);
    assert!(again > after.token);
}

#[test]
fn a_paused_election_keeps_its_leader_and_gets_no_other() {
    let mut cluster = Plan::new(3).start();
    let before = cluster.leader();
    cluster.tenure(&format!("pause {DEMO}")).ok();
    cluster.tenure(&format!("pause {DEMO}")).ok();
    cluster.everybody_says(&before);
    let to = cluster.another(&[&before.id]);
    for words in [format!("resign {DEMO}"), format!("transfer {DEMO} --to {to}")] {
        let refused = cluster.tenure(&words).run().expect(4);
        refused.explains(&["is paused", "tenure resume demo"]);
    }
    cluster.everybody_says(&before);
    let mark = cluster.journal.mark();
    cluster.kill(&before.id);
    cluster.all_show("vacant");
    cluster.tenure(&format!("leader {DEMO} --wait 1500ms")).run().expect(1);
    let lines = cluster.journal.lines();
    let early = lines[mark..].iter().find(|line| line.is("elected", DEMO));
    assert!(early.is_none(), "{early:?}");
    cluster.tenure(&format!("resume {DEMO}")).ok();
    let after = cluster.leader_after(before.token);
    cluster.everybody_says(&after);
}

#[test]
fn conditions_on_tokens_protect_the_next_tenure() {
    let cluster = Plan::new(3).start();
    let first = cluster.leader();
    let to = cluster.another(&[&first.id]);
    cluster.move_leader(&to);
    let second = cluster.leader();
    let stale = format!("--if-token {}", first.token);
    for words in ["resign", "evict --yes", &format!("transfer --to {}", first.id)] {
        let refused = cluster.tenure(&format!("{words} {DEMO} {stale}")).run().expect(4);
        refused.explains(&[&first.token.to_string(), &second.token.to_string()]);
    }
    assert_eq!(cluster.leader(), second);
    cluster.tenure(&format!("resign {DEMO} --if-token {}", second.token)).ok();
    cluster.leader_after(second.token);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let cluster = Plan::new(1).without_candidates().start();
    for words in ["status x", "history x", "resign x", "transfer x --to y", "evict x --yes"] {
        let missing = cluster.tenure(words).run().expect(6);
        missing.explains(&["there is no election x", "tenure ls"]);
    }
    cluster.tenure("leader x").run().expect(1);
    cluster.tenure("cluster remove n7 --yes").run().expect(6).explains(&["n7"]);
    cluster.tenure("cluster transfer --to n7").run().expect(6).explains(&["n7"]);
    assert_eq!(cluster.tenure("ls --json").ok().json(), serde_json::json!([]));
}
