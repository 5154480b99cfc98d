//! Scripts of what nodes say and what is done to them.

use super::*;

const MS: u64 = 1_000_000;

pub(crate) fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// Three nodes that run and show n1 with token 5.
pub(crate) fn three() -> Model {
    let nodes = ["n1", "n2", "n3"]
        .map(|node| NodeState::down(name(node), format!("127.0.0.1:740{}", &node[1..])));
    let election = ElectionName::new("demo").unwrap();
    let mut model = Model::new(election, Duration::from_secs(1), nodes.to_vec());
    for (number, node) in (1_u32..).zip(["n1", "n2", "n3"]) {
        model.started(&name(node), 100 + number);
        say(
            &mut model,
            node,
            0,
            r#""event":"node_started","id":1,"addr":"127.0.0.1:7401","cluster":"0""#,
        );
        let role = if node == "n2" { "leader" } else { "follower" };
        say(&mut model, node, 0, &format!(r#""event":"role","role":"{role}","term":2,"leader":2"#));
    }
    say(&mut model, "n2", MS, r#""event":"quorum_leader","term":2"#);
    say(&mut model, "n1", 2 * MS, r#""event":"elected","election":"demo","token":5"#);
    for node in ["n1", "n2", "n3"] {
        view(&mut model, node, 3 * MS, "n1", 5);
    }
    model
}

pub(crate) fn say(model: &mut Model, node: &str, at: u64, rest: &str) {
    let pid = model.node(&name(node)).unwrap().pid.unwrap_or(1);
    let line = format!(r#"{{"v":1,"node":"{node}","pid":{pid},"at":"x","mono_ns":{at},{rest}}}"#);
    model.heard(&NodeLine::parse(&line).unwrap_or_else(|| panic!("{line}")));
}

pub(crate) fn view(model: &mut Model, node: &str, at: u64, id: &str, token: u64) {
    let rest = format!(
        r#""event":"view","election":"demo","view":"led","leader":{{"id":"{id}","token":{token}}},"revision":{token}"#
    );
    say(model, node, at, &rest);
}

#[test]
fn the_first_leader_is_no_measurement() {
    let model = three();
    assert_eq!(model.agreed().unwrap().id.as_str(), "n1");
    assert_eq!(model.quorum_leader().unwrap().0.name, name("n2"));
    let first = model.handovers.back().unwrap();
    assert_eq!((first.cause, first.took()), ("first leader", None));
}

#[test]
fn a_kill_is_measured_to_the_first_and_to_the_last_view() {
    let mut model = three();
    model.struck(&name("n1"), "killed", 100 * MS);
    model.exited(&name("n1"), "killed".into(), 101 * MS);
    assert!(model.agreed().is_some(), "the others have not noticed yet");
    // The lines arrive in another order than they were stamped.
    view(&mut model, "n3", 109 * MS, "n2", 9);
    assert!(model.agreed().is_none());
    view(&mut model, "n2", 106 * MS, "n2", 9);
    say(&mut model, "n2", 107 * MS, r#""event":"elected","election":"demo","token":9"#);
    let last = model.handovers.back().unwrap();
    assert_eq!((last.cause, last.took().unwrap().as_millis()), ("killed", 6));
    assert_eq!(last.took_all().unwrap().as_millis(), 9);
    assert_eq!(last.granted, Some(107 * MS));
    assert_eq!(model.leader_node().unwrap().name, name("n2"));
}

#[test]
fn the_last_words_of_an_earlier_process_do_not_count() {
    let mut model = three();
    model.exited(&name("n3"), "killed".into(), 5 * MS);
    model.started(&name("n3"), 999);
    let line = r#"{"v":1,"event":"view","node":"n3","pid":103,"at":"x","mono_ns":9,
        "election":"demo","view":"led","leader":{"id":"n3","token":50},"revision":50}"#;
    model.heard(&NodeLine::parse(line).unwrap());
    assert_eq!(model.token(), Token::new(5));
    assert_eq!(model.node(&name("n3")).unwrap().phase, Phase::Starting);
}

#[test]
fn a_paused_node_is_not_waited_for() {
    let mut model = three();
    model.paused(&name("n1"), 50 * MS);
    view(&mut model, "n2", 1100 * MS, "n3", 12);
    view(&mut model, "n3", 1101 * MS, "n3", 12);
    let last = model.handovers.back().unwrap();
    assert_eq!((last.cause, last.took().unwrap().as_millis()), ("paused", 1050));
    assert!(last.shown_by_all.is_some());
    model.resumed(&name("n1"));
    assert!(model.agreed().is_none(), "what it shows is old");
}

#[test]
fn a_hand_over_begins_when_the_leader_takes_it_up() {
    let mut model = three();
    say(&mut model, "n1", 20 * MS, r#""event":"hand_over","election":"demo","token":5"#);
    view(&mut model, "n2", 23 * MS, "n2", 7);
    let last = model.handovers.back().unwrap();
    assert_eq!((last.cause, last.took().unwrap().as_millis()), ("handed over", 3));
}
