//! `tenure run`: leadership that ends before the command does.

use rustix::process::Signal;

use crate::support::{
    DEMO,
    cluster::Plan,
    wrapper::{MEEK, STUBBORN, Witness, Wrapper},
};

#[test]
fn a_store_that_is_gone_costs_the_command_inside_the_lease() {
    let mut cluster = Plan::new(1).without_candidates().start();
    let witness = Witness::new(cluster.path());
    for (id, script, code) in [("w1", MEEK, 120), ("w2", STUBBORN, 121)] {
        let mut wrapper = Wrapper::start(&cluster, id, "", &witness.script(script));
        wrapper.command_says("runs");
        cluster.kill("n1");
        assert_eq!(wrapper.process.exit_code(), code);
        witness.nothing_is_left();
        let risk = wrapper.says("at_risk");
        assert!(risk.number("remaining_ms") > 0, "{risk:?}");
        let alarm = wrapper.events().into_iter().find(|line| line.event == "safety_alarm");
        assert!(alarm.is_none(), "{alarm:?}");
        cluster.start_node("n1");
        cluster.raft_leader();
    }
    witness.saw_one_at_a_time(2);
}

#[test]
fn an_evicted_leader_stops_first() {
    let cluster = Plan::new(1).without_candidates().start();
    let witness = Witness::new(cluster.path());
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", "--on-lost standby", &witness.script(MEEK));
    second.says("standby");
    cluster.tenure(&format!("evict {DEMO} --yes")).ok();
    second.command_says("runs");
    assert_eq!(first.says("lost").text("reason"), "evicted");
    assert_eq!(first.process.exit_code(), 120);
    witness.saw_one_at_a_time(2);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_hand_over_waits_for_the_command_and_the_place_in_the_queue_is_kept() {
    let cluster = Plan::new(1).without_candidates().start();
    let witness = Witness::new(cluster.path());
    let standby = "--on-lost standby";
    let start = |id: &str| Wrapper::start(&cluster, id, standby, &witness.script(MEEK));
    let first = start("w1");
    first.command_says("runs");
    let second = start("w2");
    second.says("standby");
    cluster.tenure(&format!("transfer {DEMO} --to w2")).ok();
    second.says("child_started");
    assert_eq!(first.says("demoting").text("reason"), "handover");
    let from = cluster.journal.mark();
    cluster.tenure(&format!("transfer {DEMO} --to w1")).ok();
    first.says_from(from, "child_started");
    cluster.journal.wait_until("third start", |_| {
        let tokens = std::fs::read_to_string(cluster.path().join("tokens")).ok()?;
        (tokens.lines().count() == 3).then_some(())
    });
    witness.saw_one_at_a_time(3);
    first.process.ask_to_stop(Signal::TERM);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn an_ill_leader_resigns_and_does_not_come_back_ill() {
    let cluster = Plan::new(1).without_candidates().start();
    let witness = Witness::new(cluster.path());
    let health = cluster.path().join("well");
    std::fs::write(&health, "").unwrap();
    let check = cluster.path().join("check");
    std::fs::write(&check, format!("#!/bin/sh\nexec test -e {}\n", health.display())).unwrap();
    crate::support::wrapper::make_executable(&check);
    let more = "--on-lost standby --check-interval 20ms --check-fail 2 --check";
    let more = format!("{more} {}", check.display());
    let first = Wrapper::start(&cluster, "w1", &more, &witness.script(MEEK));
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", "", &witness.script(MEEK));
    second.says("standby");
    std::fs::remove_file(&health).unwrap();
    second.command_says("runs");
    assert_eq!(first.says("demoting").text("reason"), "check_failed");
    let from = cluster.journal.mark();
    let status = cluster.tenure(&format!("status {DEMO} --json")).ok().json();
    assert_eq!(status["waiting"], serde_json::json!([]), "it contends although it is ill");
    std::fs::write(&health, "").unwrap();
    first.says_from(from, "campaigning");
    second.process.ask_to_stop(Signal::TERM);
    first.says_from(from, "child_started");
    first.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_command_that_fails_is_restarted_with_the_same_token() {
    let cluster = Plan::new(1).without_candidates().start();
    let count = cluster.path().join("count");
    let script =
        format!("echo x >>{0}; test $(wc -l <{0}) -ge 3 && echo enough; exit 5", count.display());
    let more = "--on-exit restart --backoff 10ms..20ms --max-restarts 2";
    let mut wrapper = Wrapper::start(&cluster, "w1", more, &script);
    wrapper.command_says("enough");
    assert_eq!(wrapper.process.exit_code(), 5);
    let starts: Vec<_> = wrapper
        .events()
        .into_iter()
        .filter(|line| line.event == "child_started")
        .map(|line| line.number("token"))
        .collect();
    assert_eq!(starts.len(), 3);
    assert!(starts.iter().all(|token| *token == starts[0]), "{starts:?}");
}
