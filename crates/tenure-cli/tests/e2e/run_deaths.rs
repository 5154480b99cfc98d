//! `tenure run`: whoever is killed or stopped, two commands never run at once.

use rustix::process::Signal;

use crate::support::{
    Cluster, Pace,
    cluster::Plan,
    process::Other,
    wrapper::{MEEK, STUBBORN, Witness, Wrapper},
};

fn field() -> (Cluster, Witness) {
    let cluster = Plan::new(1).without_candidates().start();
    let witness = Witness::new(cluster.path());
    (cluster, witness)
}

#[test]
fn a_killed_wrapper_leaves_nothing_and_hands_over_at_once() {
    let (cluster, witness) = field();
    let mut pace = Pace::of(cluster.ttl());
    let mut first = Wrapper::start(&cluster, "w0", "", &witness.script(STUBBORN));
    first.command_says("runs");
    for round in 1..=3 {
        let second = Wrapper::start(&cluster, &format!("w{round}"), "", &witness.script(STUBBORN));
        second.says("standby");
        let killed = first.process.kill();
        pace.add(killed, second.says("child_started").mono_ns);
        second.command_says("runs");
        first = second;
    }
    // Leadership was given up after the death of the tree, without waiting for the lease.
    pace.judge();
    first.process.kill();
    witness.nothing_stays();
    witness.saw_one_at_a_time(4);
    let history = cluster.history();
    assert!(history.iter().all(|past| past["reason"] == "resigned"), "{history:?}");
}

#[test]
fn a_killed_warden_takes_everything_with_it() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(STUBBORN));
    first.command_says("runs");
    let warden = Other::new(first.warden());
    cluster.journal.note("w1", first.process.pid(), "killed");
    warden.signal(Signal::KILL);
    warden.ends();
    assert_eq!(first.process.exit_code(), 121);
    witness.nothing_is_left();
    let said = first.process.stderr();
    crate::support::command::explains(&said, &["supervisor was killed by signal 9"]);
}

/// A bench found it: three wrappers that were a quorum of their own were killed and started again,
/// and gave up, because their sessions of before had not run out.
#[test]
fn a_service_that_is_started_again_waits_for_its_own_lease() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    first.command_says("runs");
    let warden = Other::new(first.warden());
    warden.signal(Signal::STOP);
    first.process.kill();
    warden.signal(Signal::KILL);
    warden.ends();
    witness.nothing_stays();
    let again = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    again.command_says("runs");
    witness.saw_one_at_a_time(2);
    // Somebody else under the same id is told so all the same.
    let mut other = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    assert_eq!(other.process.exit_code(), 125);
    crate::support::command::explains(&other.process.stderr(), &["w1", "--id"]);
    witness.saw_one_at_a_time(2);
}

#[test]
fn a_stopped_warden_loses_its_command_before_its_lease() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(STUBBORN));
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", "", &witness.script(MEEK));
    second.says("standby");
    let warden = Other::new(first.warden());
    cluster.journal.note("w1", first.process.pid(), "killed");
    warden.signal(Signal::STOP);
    second.command_says("runs");
    assert_eq!(cluster.history().pop().unwrap()["reason"], "expired");
    witness.saw_one_at_a_time(2);
    // The kernel has ended it: it could only have found out that it is late.
    warden.ends();
    assert_eq!(first.process.exit_code(), 121);
    assert!(first.process.stderr().contains("did not act in time"), "{}", first.process.stderr());
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_wrapper_of_which_nothing_runs_loses_its_command_before_its_lease() {
    let (cluster, witness) = field();
    let stubborn = "trap '' TERM INT HUP; echo runs; while :; do sleep 0.05; done";
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(stubborn));
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", "", &witness.script(MEEK));
    second.says("standby");
    cluster.journal.note("w1", first.process.pid(), "killed");
    let warden = Other::new(first.warden());
    first.process.signal(Signal::STOP);
    warden.signal(Signal::STOP);
    second.command_says("runs");
    warden.ends();
    witness.saw_one_at_a_time(2);
    first.process.signal(Signal::CONT);
    assert_eq!(first.process.exit_code(), 121);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_stopped_wrapper_stays_the_leader_and_renews() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    let token = first.says("child_started").number("token");
    first.process.signal(Signal::STOP);
    // Somebody who would lead as soon as the lease were over, and waits for three times as long.
    let second = crate::support::tenure("run demo --wait 3s --ttl 1s --stop-timeout 300ms")
        .url(&cluster.url())
        .arg("--kill-margin=150ms")
        .arg("--")
        .arg("true")
        .run();
    second.expect(124);
    let led = cluster.tenure("leader demo --json").ok().json();
    assert_eq!(led["leader"]["token"], token);
    first.process.ask_to_stop(Signal::TERM);
    first.process.signal(Signal::CONT);
    assert_eq!(first.process.exit_code(), 143);
    witness.saw_one_at_a_time(1);
}

#[test]
fn what_does_not_stop_is_killed_before_leadership_goes() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(STUBBORN));
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", "", &witness.script(MEEK));
    second.says("standby");
    first.process.ask_to_stop(Signal::TERM);
    second.command_says("runs");
    assert_eq!(first.process.exit_code(), 137);
    first.says("child_killed");
    witness.saw_one_at_a_time(2);
    second.process.ask_to_stop(Signal::INT);
}

#[test]
fn a_stopped_command_can_still_be_stopped() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(MEEK));
    let child = u32::try_from(first.says("child_started").number("child")).unwrap();
    first.command_says("runs");
    Other::new(child).signal(Signal::STOP);
    first.process.ask_to_stop(Signal::TERM);
    // It died of the request, once it was let go on; nothing had to be killed.
    let code = first.process.exit_code();
    assert!([137, 143].contains(&code), "{code}");
    witness.nothing_is_left();
}

#[test]
fn what_a_command_leaves_behind_ends_before_leadership_does() {
    let (cluster, witness) = field();
    let daemon = "echo runs\n(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' &) &\n\
                  sleep 0.1; exit 3";
    let mut first = Wrapper::start(&cluster, "w1", "", &witness.script(daemon));
    first.says("elected");
    let second = Wrapper::start(&cluster, "w2", "", &witness.script(MEEK));
    assert_eq!(first.process.exit_code(), 3);
    second.command_says("runs");
    witness.saw_one_at_a_time(2);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn whoever_asks_twice_does_not_wait() {
    let (cluster, witness) = field();
    let more = "--ttl 60s --stop-timeout 30s";
    let script = "trap 'echo asked' TERM; echo runs; while :; do sleep 0.02; done";
    let script = witness.script(script);
    let words = format!("--url {} {more}", cluster.url());
    let (dir, journal) = (cluster.path(), &cluster.journal);
    let mut first = Wrapper::spawn(dir, journal, "w1", "demo", &words, &script);
    first.command_says("runs");
    first.process.ask_to_stop(Signal::TERM);
    first.command_says("asked");
    first.process.ask_to_stop(Signal::TERM);
    // A wrapper that waits for thirty seconds would make this fail.
    assert_eq!(first.process.exit_code(), 137);
    witness.nothing_is_left();
}

#[test]
fn in_a_control_group_everything_dies_by_one_write() {
    let (cluster, witness) = field();
    let mut first = Wrapper::start(&cluster, "w1", "--cgroup", &witness.script(STUBBORN));
    let answer = first.says("child_started");
    first.command_says("runs");
    let child = answer.number("child");
    let groups = std::fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    assert!(own.contains(&format!("tenure-{}", first.warden())), "{groups}");
    first.process.ask_to_stop(Signal::TERM);
    assert_eq!(first.process.exit_code(), 137);
    witness.nothing_is_left();
}
