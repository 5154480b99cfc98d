//! `tenure run`: the less common options, each seen from outside.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
};

use rustix::process::Signal;

use crate::support::{
    Cluster, DEMO,
    cluster::Plan,
    ports::free_address,
    process::{Other, Process, program},
    tenure,
    wrapper::{FAST, MEEK, Wrapper, make_executable},
};

fn cluster() -> Cluster {
    Plan::new(1).without_candidates().start()
}

/// A hook that writes down its arguments and its token.
fn hook(cluster: &Cluster) -> (String, std::path::PathBuf) {
    let (log, hook) = (cluster.path().join("log"), cluster.path().join("hook"));
    let text = format!("#!/bin/sh\necho $1 $2 $3 $4 $TENURE_REASON >>{}\n", log.display());
    std::fs::write(&hook, text).unwrap();
    make_executable(&hook);
    (hook.display().to_string(), log)
}

#[test]
fn in_the_foreground_the_command_stays_in_the_group_of_the_wrapper() {
    let cluster = cluster();
    let script = "read -r a b c d group rest </proc/$$/stat; echo group $group; exec sleep 1000";
    let group = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap().to_owned()
    };
    let mut first = Wrapper::start(&cluster, "w1", "--foreground", script);
    first.command_says(&format!("group {}", group(first.process.pid())));
    first.process.ask_to_stop(Signal::TERM);
    assert_eq!(first.process.exit_code(), 143);
    let mut second = Wrapper::start(&cluster, "w2", "", script);
    let child = second.says("child_started").number("child");
    second.command_says(&format!("group {child}"));
    second.process.ask_to_stop(Signal::TERM);
    assert_eq!(second.process.exit_code(), 143);
}

#[test]
fn whoever_holds_on_leads_without_its_command() {
    let cluster = cluster();
    let mut first = Wrapper::start(&cluster, "w1", "--on-exit hold", "exit 3");
    let token = first.says("elected").number("token");
    assert_eq!(first.says("child_exited").number("code"), 3);
    cluster.tenure(&format!("run {DEMO} {FAST} -n -- true")).run().expect(124);
    let led = cluster.tenure(&format!("leader {DEMO} --json")).ok().json();
    assert_eq!(led["leader"]["token"], token);
    first.process.ask_to_stop(Signal::TERM);
    assert_eq!(first.process.exit_code(), 3);
    assert_eq!(cluster.history().pop().unwrap()["reason"], "resigned");
}

#[test]
fn hooks_tell_of_waiting_of_changes_and_of_losses() {
    let cluster = cluster();
    let (hook, log) = hook(&cluster);
    let hooks = format!("--on-standby {hook} --on-change {hook} --on-loss {hook}");
    let plain = Wrapper::start(&cluster, "w1", "", MEEK);
    plain.command_says("runs");
    let mut second = Wrapper::start(&cluster, "w2", &hooks, MEEK);
    second.says("standby");
    plain.process.ask_to_stop(Signal::TERM);
    let token = second.says("child_started").number("token");
    cluster.tenure(&format!("evict {DEMO} --yes")).ok();
    assert_eq!(second.process.exit_code(), 120);
    let said = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines.contains(&format!("standby standby {DEMO}").as_str()), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("change ")), "{said}");
    assert!(lines.contains(&format!("loss standby {DEMO} {token} evicted").as_str()), "{said}");
}

#[test]
fn others_ask_over_tcp_on_the_loopback() {
    let cluster = cluster();
    let address = free_address();
    let more = format!("--listen {address}");
    let script = "echo $TENURE_API; exec sleep 1000";
    let mut first = Wrapper::start(&cluster, "w1", &more, script);
    first.command_says(&format!("http://{address}"));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/leader").starts_with("HTTP/1.1 200"));
    assert!(ask("/standby").starts_with("HTTP/1.1 503"));
    assert!(ask("/").contains("\"name\":\"w1\""));
    // Somebody who only connects, and one who talks rubbish, keep nobody else out.
    let _silent = TcpStream::connect(&address).unwrap();
    TcpStream::connect(&address).unwrap().write_all(b"\0\xff rubbish\r\n\r\n").unwrap();
    assert!(ask("/livez").starts_with("HTTP/1.1 200"));
    first.process.ask_to_stop(Signal::TERM);
    assert_eq!(first.process.exit_code(), 143);
}

struct Manager(UnixDatagram, std::path::PathBuf);

impl Manager {
    fn new(cluster: &Cluster) -> Self {
        let path = cluster.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        Self(socket, path)
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 1000];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

#[test]
fn what_the_command_tells_the_service_manager_is_passed_on() {
    let cluster = cluster();
    let manager = Manager::new(&cluster);
    let perl = r#"use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); $n = $ENV{NOTIFY_SOCKET};
        $n =~ s/^@/\0/; send(S, "READY=1\nMAINPID=77\nSTATUS=mine", 0, pack_sockaddr_un($n))"#;
    let run = cluster.tenure(&format!("run {DEMO} {FAST} --notify pass -- perl -e"));
    run.arg(perl).env("NOTIFY_SOCKET", &manager.1).ok();
    assert_eq!(manager.hears(), "READY=1\nSTATUS=mine");
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 9]).is_err(), "the wrapper speaks as well");
}

#[test]
fn the_service_manager_has_signs_of_life_from_leaders_and_from_those_who_wait() {
    let cluster = cluster();
    let leader = Wrapper::start(&cluster, "w1", "", MEEK);
    leader.command_says("runs");
    let manager = Manager::new(&cluster);
    let mut command = program();
    command.args(["-q", "run", DEMO, "--id", "w2", "--url", &cluster.url()]);
    command.args(FAST.split_whitespace()).args(["--", "sleep", "1000"]);
    command.env("NOTIFY_SOCKET", &manager.1).env("WATCHDOG_USEC", "100000");
    let log = cluster.path().join("w2.log");
    let mut waits = Process::start("w2", command, &log, &cluster.journal);
    let hears_twice = || (0..2).for_each(|_| while manager.hears() != "WATCHDOG=1" {});
    while !manager.hears().contains("waits to lead") {}
    hears_twice();
    leader.process.ask_to_stop(Signal::TERM);
    while !manager.hears().contains("STATUS=leads") {}
    hears_twice();
    waits.ask_to_stop(Signal::TERM);
    assert_eq!(waits.exit_code(), 143);
}

#[test]
fn a_slot_is_run_once_whoever_leads() {
    let cluster = cluster();
    let dir = cluster.path().join("files");
    for url in [cluster.url(), format!("file://{}", dir.display())] {
        let run = |slot: &str| {
            let words = format!("run once --url {url} {FAST} --events-fd 2 --once-per {slot}");
            tenure(&words).arg("--").arg("printenv").arg("TENURE_SLOT").run()
        };
        let ran = |slot: &str| run(slot).expect(0).out;
        assert_eq!(ran("2026-11-21"), "2026-11-21\n");
        let again = run("2026-11-21").expect(0);
        assert_eq!(again.out, "");
        assert!(again.err.contains(r#""event":"slot_taken""#), "{}", again.err);
        assert_eq!(ran("2026-11-20"), "", "an earlier one comes too late");
        assert_eq!(ran("2026-11-22"), "2026-11-22\n");
    }
    for more in ["--forever", "--on-exit restart", "--slots 2"] {
        let words = format!("run once {FAST} --once-per 1h {more} -- true");
        cluster.tenure(&words).run().expect(125).explains(&["--once-per"]);
    }
}

#[test]
fn a_slot_whose_command_was_killed_is_not_run_again() {
    let cluster = cluster();
    let once = "--once-per tick-1";
    let mut first = Wrapper::start(&cluster, "w1", once, MEEK);
    first.command_says("runs");
    let second = Wrapper::start(&cluster, "w2", once, MEEK);
    second.says("standby");
    first.process.kill();
    let token = first.says("elected").number("token");
    assert_eq!(second.says("slot_taken").number("slot_token"), token);
    let mut second = second;
    assert_eq!(second.process.exit_code(), 0);
    assert!(second.events().iter().all(|line| line.event != "child_started"));
}

#[test]
fn a_higher_priority_takes_the_place_of_a_lower_one() {
    let cluster = cluster();
    let start = |id: &str, more: &str| Wrapper::start(&cluster, id, more, MEEK);
    let mut low = start("low", "--priority 1 --preempt");
    low.command_says("runs");
    let same = start("same", "--priority 1 --preempt");
    same.says("standby");
    let high = start("high", "--priority 9 --preempt");
    high.command_says("runs");
    assert_eq!(low.says("demoting").text("reason"), "handover");
    assert_eq!(low.process.exit_code(), 120);
    assert!(same.events().iter().all(|line| line.event != "child_started"));
    for wrapper in [&same, &high] {
        wrapper.process.ask_to_stop(Signal::TERM);
    }
    let file = format!("run x --url file://{}/x --preempt -- true", cluster.path().display());
    tenure(&file).run().expect(125).explains(&["--preempt", "priorities"]);
}

#[test]
fn renewals_are_told_when_asked_for_and_when_they_stay_away() {
    let mut cluster = cluster();
    let quiet = Wrapper::start(&cluster, "w1", "", MEEK);
    quiet.command_says("runs");
    quiet.process.ask_to_stop(Signal::TERM);
    let mut told = Wrapper::start(&cluster, "w2", "-v", MEEK);
    told.says("renewed");
    cluster.kill("n1");
    assert!(told.says("renew_failed").number("remaining_ms") > 0);
    assert_eq!(told.process.exit_code(), 120);
    assert!(quiet.events().iter().all(|line| line.event != "renewed"));
}

/// A command that its supervisor may not kill: it belongs to root, and the wrapper does not.
#[test]
fn what_cannot_be_killed_in_time_raises_the_alarm() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can start a process as root.
        return;
    }
    let mut cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    make_executable(dir.path());
    let (own, become_root) = (dir.path().join("tenure"), dir.path().join("become-root"));
    std::fs::copy(env!("CARGO_BIN_EXE_tenure"), &own).unwrap();
    std::fs::copy("/usr/bin/setpriv", &become_root).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&become_root, mode).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&own);
    command.args(["run", DEMO, "--id", "w1", "--events-fd", "1", "--url", &cluster.url()]);
    command.args(FAST.split_whitespace()).arg("--").arg(&become_root);
    command.args(["--reuid=0", "--regid=0", "--clear-groups", "sh", "-c"]);
    command.arg("echo runs; exec sleep 60").current_dir(dir.path());
    let log = cluster.path().join("w1.log");
    let mut wrapper = Process::start("w1", command, &log, &cluster.journal);
    let journal = cluster.journal.clone();
    let says = |event: &str| journal.wait(0, event, |line| line.event == event);
    let child = u32::try_from(says("child_started").number("child")).unwrap();
    journal.wait(0, "the command", |line| line.text("text") == "runs");
    let command = Other::new(child);
    cluster.kill("n1");
    let ended = journal.wait(0, "an alarm, or an end", |line| {
        line.event == "safety_alarm" || line.event == "child_exited"
    });
    let runs = command.runs();
    command.signal(Signal::KILL);
    assert!(runs, "the test wants a command that cannot be killed");
    assert_eq!(ended.event, "safety_alarm");
    assert_eq!(wrapper.exit_code(), 122);
}

#[test]
fn whoever_waited_for_a_store_that_is_not_there_is_told_so() {
    let call = tenure(&format!("run {DEMO} --wait 1s -- true")).url("tenure://127.0.0.1:1").run();
    call.expect(124).explains(&["not elected in time", "was not reached", "--url"]);
}
