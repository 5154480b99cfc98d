//! `tenure run` wherever the election is kept, and for whoever looks on.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::Arc,
};

use rustix::process::Signal;

use crate::support::{
    DEMO,
    cluster::Plan,
    exclusivity,
    gate::Permit,
    journal::Journal,
    ports::free_address,
    wrapper::{FAST, MEEK, STUBBORN, Witness, Wrapper},
};

#[test]
fn without_a_url_one_of_all_on_this_machine_runs() {
    let _permit = Permit::take();
    let dir = tempfile::tempdir().unwrap();
    let (journal, witness) = (Arc::<Journal>::default(), Witness::new(dir.path()));
    let start = |id: &str, script: &str| {
        Wrapper::spawn(dir.path(), &journal, id, DEMO, FAST, &witness.script(script))
    };
    let mut first = start("w1", STUBBORN);
    first.command_says("runs");
    let mut second = start("w2", MEEK);
    second.says("campaigning");
    first.process.kill();
    second.command_says("runs");
    let third = start("w3", MEEK);
    third.says("campaigning");
    second.process.ask_to_stop(Signal::TERM);
    assert_eq!(second.process.exit_code(), 143);
    third.command_says("runs");
    witness.saw_one_at_a_time(3);
    third.process.ask_to_stop(Signal::TERM);
    exclusivity::check(&journal);
}

#[test]
fn three_identical_command_lines_are_a_quorum_of_their_own() {
    let _permit = Permit::take();
    let dir = tempfile::Builder::new().prefix("tnr").tempdir().unwrap();
    let (journal, witness) = (Arc::<Journal>::default(), Witness::new(dir.path()));
    let peers: Vec<_> =
        ["a", "b", "c"].iter().map(|name| format!("{name}={}", free_address())).collect();
    let start = |name: &str| {
        let more = format!("{FAST} --peers {} --node-id {name}", peers.join(","));
        Wrapper::spawn(dir.path(), &journal, name, DEMO, &more, &witness.script(MEEK))
    };
    let mut all: Vec<_> = ["a", "b", "c"].iter().map(|name| start(name)).collect();
    let runs = |line: &crate::support::journal::Line| line.text("text") == "runs";
    let first = journal.wait(0, "first start", runs);
    let place = all.iter().position(|one| one.process.pid() == first.run).unwrap();
    let from = journal.mark();
    all[place].process.kill();
    let second = journal.wait(from, "second start", runs);
    assert_ne!(second.run, first.run);
    for wrapper in &all {
        wrapper.process.ask_to_stop(Signal::TERM);
    }
    drop(all);
    witness.nothing_stays();
    witness.saw_one_at_a_time(2);
}

fn ask(socket: &std::path::Path, path: &str) -> (u32, serde_json::Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (code, serde_json::from_str(body).unwrap())
}

#[test]
fn others_on_this_machine_may_ask_who_leads() {
    let cluster = Plan::new(1).without_candidates().start();
    let socket = |id: &str| cluster.path().join(format!("{id}.sock"));
    let start = |id: &str| {
        let more = format!("--listen unix:{}", socket(id).display());
        Wrapper::start(&cluster, id, &more, MEEK)
    };
    let mut first = start("w1");
    first.command_says("runs");
    let second = start("w2");
    second.says("standby");
    let token = first.says("elected").number("token");
    let codes = |id: &str| {
        ["/leader", "/standby", "/livez", "/readyz", "/nowhere"].map(|at| ask(&socket(id), at).0)
    };
    assert_eq!(codes("w1"), [200, 503, 200, 200, 404]);
    assert_eq!(codes("w2"), [503, 200, 200, 200, 404]);
    let own = ask(&socket("w1"), "/v1/self").1;
    assert_eq!((&own["role"], &own["token"]), (&"leader".into(), &token.into()));
    assert_eq!(ask(&socket("w1"), "/").1["name"], "w1");
    first.process.ask_to_stop(Signal::TERM);
    first.process.wait();
    second.says("child_started");
    assert_eq!(codes("w2"), [200, 503, 200, 200, 404]);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn the_service_manager_hears_the_wrapper() {
    let cluster = Plan::new(1).without_candidates().start();
    let path = cluster.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let run = cluster.tenure(&format!("run {DEMO} {FAST} -- true"));
    run.env("NOTIFY_SOCKET", &path).ok();
    let mut heard = String::new();
    let mut bytes = [0; 1000];
    while !heard.contains("STOPPING=1") {
        let length = manager.recv(&mut bytes).unwrap();
        heard.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        heard.push('\n');
    }
    assert!(heard.starts_with("READY=1\n"), "{heard}");
    assert!(heard.contains(&format!("STATUS=leads {DEMO}")), "{heard}");
}
