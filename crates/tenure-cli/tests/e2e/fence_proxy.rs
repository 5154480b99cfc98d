//! `tenure fence proxy`: requests of a leader that leads no more do not reach the resource.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    DEMO,
    cluster::Plan,
    journal::Journal,
    process::{Process, program},
    resource::{Request, Resource, begin_put, put},
};

struct Proxy {
    process: Process,
    address: String,
}

impl Proxy {
    fn start(upstream: &str, state: &Path, more: &str) -> Self {
        let journal = Arc::<Journal>::default();
        let mut command = program();
        command.args(["fence", "proxy", "--json", "--listen", "127.0.0.1:0"]);
        command.args(["--upstream", &format!("http://{upstream}"), "--state"]).arg(state);
        command.args(more.split_whitespace());
        let log = state.with_extension("log");
        let process = Process::start("proxy", command, &log, &journal);
        let line = journal.wait(0, "the proxy listens", |line| line.event == "listening");
        let address = line.text("listen").to_owned();
        Self { process, address }
    }
}

/// The resource, a directory for marks, and the proxy before it.
fn guarded(more: &str) -> (Resource, tempfile::TempDir, Proxy) {
    let (resource, dir) = (Resource::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(&resource.address, &dir.path().join("marks"), more);
    (resource, dir, proxy)
}

/// A leader's write, ready to be carried out by a process of its own.
struct Effect(Child);

impl Effect {
    fn ready(address: &str, token: u64, who: &str) -> Self {
        let (host, port) = address.split_once(':').unwrap();
        let script = format!(
            "read go; exec 3<>/dev/tcp/{host}/{port}\n\
             printf 'PUT /owner HTTP/1.1\\r\\nHost: resource\\r\\nTenure-Token: {token}\\r\\n\
             Content-Length: 3\\r\\nConnection: close\\r\\n\\r\\n{who}' >&3; cat <&3"
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(bash.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn act(mut self) -> String {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        String::from_utf8(self.0.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// A leader is paused between its last check and its write, another one is elected and writes,
/// the first wakes up and goes on.
#[test]
fn a_leader_that_was_paused_is_refused_and_without_the_proxy_it_destroys() {
    let mut cluster = Plan::new(3).start();
    let (resource, _dir, proxy) = guarded("");
    for (address, is_guarded) in [(&proxy.address, true), (&resource.address, false)] {
        let old = cluster.leader();
        let effect = Effect::ready(address, old.token, "old");
        cluster.pause(&old.id);
        effect.signal(Signal::STOP);
        let new = cluster.leader_after(old.token);
        let second = Effect::ready(address, new.token, "new").act();
        assert!(second.starts_with("HTTP/1.1 200"), "{second}");
        cluster.go_on(&old.id);
        effect.signal(Signal::CONT);
        let first = effect.act();
        let last = resource.bodies("/owner").pop().unwrap();
        match is_guarded {
            true => {
                assert!(first.starts_with("HTTP/1.1 412") && first.contains("stale"), "{first}");
                assert_eq!(last, "new");
            }
            false => {
                assert!(first.starts_with("HTTP/1.1 200"), "{first}");
                assert_eq!(last, "old", "nothing was destroyed?");
            }
        }
    }
}

#[test]
fn the_mark_survives_the_death_of_the_proxy() {
    let (resource, dir, mut proxy) = guarded("");
    assert_eq!(put(&proxy.address, "/a", 7, "x").status, 200);
    proxy.process.kill();
    let proxy = Proxy::start(&resource.address, &dir.path().join("marks"), "");
    let stale = put(&proxy.address, "/a", 6, "x");
    assert_eq!((stale.status, stale.code().as_str()), (412, "stale"));
    let problem = stale.problem();
    assert_eq!((&problem["presented"], &problem["newest"]), (&6.into(), &7.into()));
    assert_eq!(problem["without_effect"], true);
    assert_eq!(put(&proxy.address, "/a", 7, "y").status, 200);
    assert_eq!(resource.bodies("/a"), ["x", "y"]);
}

#[test]
fn one_proxy_at_a_time_uses_a_mark() {
    let (resource, dir, _proxy) = guarded("");
    let mut second = program();
    second.args(["fence", "proxy", "--listen", "127.0.0.1:0"]);
    second.args(["--upstream", &format!("http://{}", resource.address), "--state"]);
    let output = second.arg(dir.path().join("marks")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
}

#[test]
fn what_is_not_under_one_sound_token_does_not_reach_the_resource() {
    let (resource, _dir, proxy) =
        guarded("--open GET --election /a=one --election /b=two --max-body 8");
    let ask = |line: &str, headers: &str| Request::begin(&proxy.address, line, headers, 0).answer();
    for (line, headers, status, code) in [
        ("PUT /a", "", 428, "missing"),
        ("PUT /a", "Tenure-Token: x\r\n", 400, "malformed"),
        ("PUT /a", "Tenure-Token: 1\r\nTenure-Token: 2\r\n", 400, "malformed"),
        ("PUT /a", "Tenure-Token: 1\r\nTenure-Election: two\r\n", 409, "other_election"),
        ("PUT /c", "Tenure-Token: 1\r\n", 404, "unguarded"),
        ("GET /c", "", 404, "unguarded"),
        ("PUT /a/../b", "Tenure-Token: 1\r\n", 400, "ambiguous_path"),
        ("GET /a%2fb", "", 400, "ambiguous_path"),
    ] {
        let answer = ask(line, headers);
        assert_eq!(answer.status, status, "{line} {headers}: {answer:?}");
        assert_eq!(answer.code(), code);
    }
    assert_eq!(put(&proxy.address, "/a", 1, "123456789").code(), "too_long");
    assert_eq!(resource.done(), []);
    // Each election has a mark of its own, and what was opened needs no token.
    assert_eq!(put(&proxy.address, "/a", 9, "a").status, 200);
    assert_eq!(put(&proxy.address, "/b", 1, "b").status, 200);
    assert_eq!(ask("GET /a", "").status, 200);
    assert_eq!(ask("GET /a", "Tenure-Token: 8\r\n").code(), "stale");
}

#[test]
fn a_request_passes_as_it_came_and_the_answer_too() {
    let (resource, _dir, proxy) = guarded("");
    let body = "x".repeat(3_000_000);
    let headers = "Tenure-Token: 5\r\nX-Other: kept\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                   Expect: 100-continue\r\nUpgrade: h2c\r\n";
    let mut request = Request::begin(&proxy.address, "PUT /echo?a=b%20c", headers, body.len());
    request.send(&body);
    let answer = request.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body && answer.head.contains("x-mine: yes"), "{}", answer.head);
    let head = resource.done().remove(0).head.to_ascii_lowercase();
    for kept in ["/echo?a=b%20c", "x-other: kept", "tenure-token: 5", "host: resource", "via:"] {
        assert!(head.contains(kept), "{kept} is not in {head}");
    }
    for hop in ["x-hop", "upgrade", "expect"] {
        assert!(!head.contains(hop), "{hop} is in {head}");
    }
}

#[test]
fn a_newer_leader_waits_for_what_the_resource_has_in_full_and_older_ones_stay_out() {
    let (resource, _dir, proxy) = guarded("--drain 1m");
    let old = begin_put(&proxy.address, "/hold/old", 1, "old");
    resource.has("done /hold/old");
    let new = begin_put(&proxy.address, "/new", 2, "new");
    // From the moment that the newer token is known; when that is cannot be seen from outside.
    while put(&proxy.address, "/old", 1, "late").status == 200 {}
    assert_eq!(resource.bodies("/new"), Vec::<String>::new());
    resource.release();
    assert_eq!((old.answer().status, new.answer().status), (200, 200));
    assert_eq!(resource.done().pop().unwrap().path, "/new");
}

#[test]
fn who_waits_longer_than_that_is_told_to_come_again() {
    let (resource, _dir, proxy) = guarded("--drain 1ms");
    let old = begin_put(&proxy.address, "/hold/old", 1, "old");
    resource.has("done /hold/old");
    let busy = put(&proxy.address, "/new", 2, "new");
    assert_eq!((busy.status, busy.code().as_str()), (503, "busy"));
    assert!(busy.head.contains("retry-after: 1"), "{busy:?}");
    // The leader that sent it has died; what it sent is still under way.
    drop(old);
    assert_eq!(put(&proxy.address, "/new", 2, "new").code(), "busy");
    resource.release();
    while put(&proxy.address, "/new", 2, "new").status != 200 {}
    assert_eq!(put(&proxy.address, "/old", 1, "late").code(), "stale");
}

#[test]
fn a_request_that_has_not_arrived_in_full_is_cut_when_a_newer_leader_comes() {
    let (resource, _dir, proxy) = guarded("--drain 1m");
    let mut old = Request::begin(&proxy.address, "PUT /old", "Tenure-Token: 1\r\n", 10);
    old.send("half ");
    resource.has("begun /old");
    assert_eq!(put(&proxy.address, "/new", 2, "new").status, 200);
    let cut = old.answer();
    assert_eq!((cut.status, cut.code().as_str()), (412, "overtaken"));
    resource.has("broken /old");
    assert_eq!(resource.bodies("/old"), Vec::<String>::new());
}

#[test]
fn a_resource_that_fails_is_told_from_the_fence() {
    let (resource, dir, proxy) = guarded("--patience 300ms");
    let gone = put(&proxy.address, "/leave", 1, "x");
    assert_eq!((gone.status, gone.code().as_str()), (502, "bad_upstream"));
    assert_eq!(gone.problem()["without_effect"], false);
    let silent = put(&proxy.address, "/hold", 1, "x");
    assert_eq!((silent.status, silent.code().as_str()), (504, "silent"));
    // A client that stops in the middle.
    let mut half = Request::begin(&proxy.address, "PUT /half", "Tenure-Token: 1\r\n", 10);
    half.send("half ");
    assert_eq!(half.answer().code(), "broken");
    resource.has("broken /half");
    let nobody = Proxy::start("127.0.0.1:1", &dir.path().join("other"), "");
    let unreachable = put(&nobody.address, "/", 1, "x");
    assert_eq!((unreachable.status, unreachable.code().as_str()), (502, "unreachable"));
    assert_eq!(unreachable.problem()["without_effect"], true);
}

#[test]
fn with_follow_a_former_leader_is_shut_out_before_the_new_one_has_written() {
    let mut cluster = Plan::new(3).start();
    let old = cluster.leader();
    let more = format!("--follow --election {DEMO} --status 127.0.0.1:0 --url {}", cluster.url());
    let (resource, _dir, proxy) = guarded(&more);
    // Known from the start, without any request.
    assert_eq!(put(&proxy.address, "/a", old.token - 1, "x").code(), "stale");
    assert_eq!(put(&proxy.address, "/a", old.token, "x").status, 200);
    cluster.kill(&old.id);
    let new = cluster.leader_after(old.token);
    // The proxy is told as the others are; nobody writes meanwhile.
    while put(&proxy.address, "/a", old.token, "late").status == 200 {}
    let stale = put(&proxy.address, "/a", old.token, "late");
    assert_eq!(stale.problem()["newest"], new.token);
    assert!(resource.bodies("/a").starts_with(&[String::from("x")]));
}

#[test]
fn asked_to_end_it_answers_what_is_under_way() {
    let (resource, _dir, mut proxy) = guarded("--drain 1m");
    let under_way = begin_put(&proxy.address, "/hold", 1, "x");
    resource.has("done /hold");
    proxy.process.ask_to_stop(Signal::TERM);
    resource.release();
    assert_eq!(under_way.answer().status, 200);
    assert_eq!(proxy.process.exit_code(), 0);
}
