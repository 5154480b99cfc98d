//! Candidates that are processes of their own: `tenure campaign`.

use rustix::process::Signal;

use crate::support::{DEMO, Pace, cluster::Plan, journal::now, tenure};

/// `kill -9` of a leader that is a client, however it reached its node.
fn killed_client(unix: bool) {
    let cluster = Plan::new(3).without_candidates().start();
    let mut pace = Pace::of(cluster.ttl());
    let url = if unix {
        format!("tenure+unix://{}", cluster.data_dir("n2").join("node.sock").display())
    } else {
        cluster.url_of(&[String::from("n2")])
    };
    let start = |id: &str| {
        let dir = cluster.path();
        crate::support::Candidate::start(id, &url, "--ttl 1s", dir, &cluster.journal)
    };
    let mut first = start("c0");
    let mut token = first.says("elected").number("token");
    for round in 1..=3 {
        let second = start(&format!("c{round}"));
        second.says("waiting");
        let killed = first.process.kill();
        let elected = second.says("elected");
        pace.add(killed, elected.mono_ns);
        assert!(elected.number("token") > token);
        token = elected.number("token");
        let last = cluster.history().pop().unwrap();
        assert_eq!(last["reason"], "died", "{last}");
        first = second;
    }
    pace.judge();
}

#[test]
fn the_death_of_a_client_on_tcp_is_proved() {
    killed_client(false);
}

#[test]
fn the_death_of_a_client_on_the_unix_socket_is_proved() {
    killed_client(true);
}

#[test]
fn a_client_that_is_asked_to_end_resigns() {
    let cluster = Plan::new(3).without_candidates().start();
    let mut pace = Pace::of(cluster.ttl());
    let at = [String::from("n1")];
    let mut first = cluster.candidate("c1", &at, "--ttl 1s");
    let token = first.says("elected").number("token");
    let mut second = cluster.candidate("c2", &at, "--ttl 1s");
    second.says("waiting");
    let asked = first.process.ask_to_stop(Signal::TERM);
    let elected = second.says("elected");
    pace.add(asked, elected.mono_ns);
    assert!(elected.number("token") > token);
    assert_eq!(first.says("resigned").number("token"), token);
    assert_eq!(first.process.exit_code(), 0);
    assert_eq!(cluster.history().pop().unwrap()["reason"], "resigned");
    second.process.ask_to_stop(Signal::INT);
    assert_eq!(second.process.exit_code(), 130);
    cluster.tenure(&format!("leader {DEMO}")).run().expect(1);
}

#[test]
fn a_second_process_under_the_same_id_is_refused() {
    let cluster = Plan::new(1).without_candidates().start();
    let at = [String::from("n1")];
    let first = cluster.candidate("same", &at, "--ttl 1s");
    let token = first.says("elected").number("token");
    let twin = tenure(&format!("campaign {DEMO} --id same --ttl 1s"));
    let refused = twin.url(&cluster.url()).run().expect(4);
    refused.explains(&["same", "another process", "--id"]);
    let status = cluster.tenure(&format!("leader {DEMO} --json")).ok().json();
    assert_eq!(status["leader"]["token"], token);
}

#[test]
fn a_clients_leadership_survives_the_death_of_its_node() {
    let mut cluster = Plan::new(3).without_candidates().start();
    let names = cluster.names();
    let candidate = cluster.candidate("c1", &names, "--ttl 1s");
    let token = candidate.says("elected").number("token");
    let other = cluster.candidate("c2", &names, "--ttl 1s");
    other.says("waiting");
    let mark = cluster.journal.mark();
    for name in &names {
        cluster.kill(name);
        let rest = cluster.live();
        // Longer than the lease would last without a renewal.
        for _ in 0..10 {
            for at in &rest {
                let led = cluster.tenure_at(at, &format!("leader {DEMO} --json")).ok().json();
                assert_eq!(led["leader"]["token"], token, "{led}");
            }
        }
        cluster.start_node(name);
        cluster.raft_leader();
    }
    let lines = cluster.journal.lines();
    let ended = lines[mark..].iter().find(|line| ["lost", "elected"].contains(&&*line.event));
    assert!(ended.is_none(), "{ended:?}");
}

#[test]
fn a_higher_priority_comes_first_and_values_are_shown() {
    let cluster = Plan::new(1).without_candidates().start();
    let at = [String::from("n1")];
    let mut first = cluster.candidate("c1", &at, "--ttl 1s --value here:1");
    first.says("elected");
    let shown = cluster.tenure(&format!("leader {DEMO} --json")).ok().json();
    assert_eq!(shown["leader"]["value"], "here:1");
    let low = cluster.candidate("c2", &at, "--ttl 1s");
    low.says("waiting");
    let high = cluster.candidate("c3", &at, "--ttl 1s --priority 7");
    high.says("waiting");
    let status = cluster.tenure(&format!("status {DEMO} --json")).ok().json();
    let order: Vec<_> = status["waiting"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
    assert_eq!(order, ["c3", "c2"]);
    first.process.kill();
    high.says("elected");
}

#[test]
fn an_evicted_client_ends_when_it_is_told_to() {
    let cluster = Plan::new(1).without_candidates().start();
    let at = [String::from("n1")];
    let mut first = cluster.candidate("c1", &at, "--ttl 1s --on-lost exit");
    let token = first.says("elected").number("token");
    let report = cluster.tenure(&format!("evict {DEMO} --yes --json")).ok().json();
    assert_eq!((&report["before"]["token"], &report["after"]), (&token.into(), &().into()));
    assert_eq!(first.says("lost").text("reason"), "evicted");
    assert_eq!(first.process.exit_code(), 1);
}

/// It waited for a second before it asked another node, however short its lease was.
#[test]
fn a_lease_outlives_the_stop_of_the_node_that_its_holder_asks() {
    let mut cluster = Plan::new(3).without_candidates().start();
    // The first that is given is asked; the quorum itself goes on.
    let stopped = cluster.another(&[&cluster.raft_leader()]);
    let mut at = cluster.names();
    at.sort_by_key(|name| *name != stopped);
    let first = cluster.candidate("c1", &at, "--ttl 1s");
    let token = first.says("elected").number("token");
    let mark = cluster.journal.mark();
    let (paused, lease) = (cluster.pause(&stopped), 1_000_000_000);
    let others: Vec<_> = at[1..].to_vec();
    let url = cluster.url_of(&others);
    while now() < paused + 2 * lease {
        let leader = tenure(&format!("leader {DEMO} --json")).url(&url).run();
        assert_eq!(leader.expect(0).json()["leader"]["token"], token);
    }
    let lines = cluster.journal.lines();
    assert!(!lines[mark..].iter().any(|line| line.is("lost", DEMO)));
    cluster.go_on(&stopped);
}
