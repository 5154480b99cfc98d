//! Command lines and surroundings that cannot work: one clear message, a documented exit code.

use std::net::TcpListener;

use crate::support::{DEMO, cluster::Plan, command::Done, ports::free_address, tenure};

/// A command line, its exit code, and words that its message must have.
type Case = (&'static str, i32, &'static [&'static str]);

const CASES: &[Case] = &[
    ("frobnicate", 2, &["frobnicate", "tenure --help"]),
    ("leader", 2, &["<ELECTION>", "tenure leader --help"]),
    ("leader demo --frob", 2, &["--frob", "tenure leader --help"]),
    ("leader demo --timeout 0s", 2, &["0s"]),
    ("leader demo --timeout soon", 2, &["soon", "300ms"]),
    ("leader demo --all --wait", 2, &["--all"]),
    ("leader demo --url http://127.0.0.1:1", 2, &["http://", "tenure://"]),
    ("leader demo --url tenure://127.0.0.1", 2, &["no port"]),
    ("leader a*b --url tenure://127.0.0.1:1", 2, &["a*b"]),
    ("leader demo --url tenure://127.0.0.1:1 --timeout 200ms", 3, &["no node", "127.0.0.1:1"]),
    ("campaign demo --ttl 5", 2, &["unit"]),
    ("campaign demo --ttl 5s..1s", 2, &["5s", "1s", "longer"]),
    ("campaign demo --ttl 1s..", 2, &["a number and a unit"]),
    ("campaign demo --priority high", 2, &["high"]),
    ("evict demo --ban never --yes", 2, &["never"]),
    ("resign demo --if-token x", 2, &["x"]),
    ("transfer demo", 2, &["--to"]),
    ("cluster add n4", 2, &["n4", "HOST:PORT"]),
    ("cluster remove", 2, &["<NODE>"]),
    ("node", 2, &["--id", "tenure node --help"]),
    ("node --id n1 --frob", 2, &["--frob", "tenure node --help"]),
    ("node --id no!good", 2, &["no!good"]),
    ("node --id n1 --ttl soon", 2, &["soon", "300ms"]),
    ("node --id n1 --ttl 5ms", 2, &["10ms"]),
    ("node --id n1 --ttl=-1s", 2, &["-1s"]),
    ("node --id n1 --heartbeat 0s", 2, &["0s"]),
    ("node --id n1 --drift 50%", 2, &["50%", "20%"]),
    ("node --id n1 --drift 1", 2, &["unit"]),
    ("node --id n1 --voters 9", 2, &["9"]),
    ("node --id n1 --listen here", 2, &["here", "HOST:PORT"]),
    ("node --id n1 --listen 0.0.0.0:7400", 2, &["other machines", "--insecure-listen"]),
    ("node --id n1 --peers n1=127.0.0.1:1 --join 127.0.0.1:2", 2, &["--join"]),
    ("node --id n1 --ttl 1s --election-timeout 500ms", 2, &["--ttl 1.5s", "333ms"]),
    ("node --id n1 --election-timeout 100ms --heartbeat 50ms", 2, &["150ms"]),
    ("dev --nodes 0", 2, &["0"]),
    ("dev --ttl 1ms", 2, &["10ms"]),
];

#[test]
fn every_mistake_has_one_clear_message() {
    for (words, code, needed) in CASES {
        let done = tenure(words).run().expect(*code);
        done.explains(needed);
        assert_eq!(done.out, "", "{words}");
        assert_is_json(&tenure(words).arg("--json").run().expect(*code), *code);
    }
}

/// With `--json` the same is said as one object on standard error.
fn assert_is_json(done: &Done, code: i32) {
    let said = done.err.lines().last().unwrap_or_default();
    let said: serde_json::Value =
        serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {done:#?}"));
    assert_eq!(said["code"], code, "{done:#?}");
    assert!(["error", "why", "next"].iter().all(|key| said[key].is_string()), "{done:#?}");
}

#[test]
fn peers_that_cannot_be_a_cluster_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let start = |peers: &str| {
        let words = format!("node --id n1 --data-dir {}/n1 --peers {peers}", dir.path().display());
        tenure(&words).run().expect(2)
    };
    start("n2=127.0.0.1:1").explains(&["n1", "n2", "--join"]);
    start("n1=127.0.0.1:1,n1=127.0.0.1:2").explains(&["n1 twice"]);
    start("n1=127.0.0.1:1,n2=127.0.0.1:1").explains(&["127.0.0.1:1"]);
    let eight: Vec<_> = (1..=8).map(|n| format!("n{n}=127.0.0.1:{n}")).collect();
    start(&eight.join(",")).explains(&["8 founding voters", "--join"]);
    assert!(!dir.path().join("n1").join("identity.json").exists(), "nothing was founded");
}

#[test]
fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let taken = TcpListener::bind(&address).unwrap();
    let words = format!("node --id n1 --data-dir {}/n1 --listen {address}", dir.path().display());
    tenure(&words).run().expect(4).explains(&[&address, "in use", "--listen"]);
    drop(taken);
    // The same command works once the port is free.
    let mut command = crate::support::process::program();
    command.args(words.split_whitespace()).arg("--json");
    let journal = std::sync::Arc::default();
    let said = dir.path().join("log");
    let node = crate::support::process::Process::start("n1", command, &said, &journal);
    journal.wait(0, "start", |line| line.event == "node_started");
    drop(node);
}

#[test]
fn a_cluster_that_cannot_be_joined_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = free_address();
    let words = format!(
        "node --id n4 --data-dir {}/n4 --listen {} --join {nobody}",
        dir.path().display(),
        free_address()
    );
    tenure(&words).run().expect(3).explains(&[&nobody, "--join"]);
}

#[test]
fn a_node_of_another_cluster_is_kept_out() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let mark = cluster.journal.mark();
    // It thinks that it belongs here: the same names and addresses, but founded under a name.
    let stranger = cluster.another(&[&leader.id]);
    cluster.kill(&stranger);
    let mut words = cluster.arguments(&stranger);
    words.retain(|word| !word.starts_with("--data-dir"));
    words.push(format!("--data-dir={}", cluster.path().join("other").display()));
    words.push(String::from("--cluster=other"));
    let mut command = crate::support::process::program();
    command.args(words).arg("--json");
    let said = cluster.path().join("other.log");
    let journal = std::sync::Arc::default();
    let other = crate::support::process::Process::start("other", command, &said, &journal);
    let counted = || {
        let status = cluster.tenure_at(&leader.id, "cluster status --json").ok().json();
        status["refused"]["wrong_cluster"].as_u64().unwrap_or(0)
    };
    cluster.journal.wait_until("refusal", |_| (counted() > 0).then_some(()));
    assert!(other.stderr().contains("wrong cluster"), "{}", other.stderr());
    drop(other);
    cluster.start_node(&stranger);
    assert_eq!(cluster.leader(), leader);
    let lines = cluster.journal.lines();
    let noticed = lines[mark..].iter().find(|line| line.is("lost", DEMO));
    assert!(noticed.is_none(), "{noticed:?}");
    cluster.everybody_says(&leader);
}
