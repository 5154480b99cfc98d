//! `tenure run`: as if the wrapper were not there.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{
    DEMO,
    cluster::Plan,
    journal::Line,
    process::program,
    tenure,
    wrapper::{FAST, MEEK, Wrapper, make_executable},
};

#[test]
fn standard_streams_environment_and_exit_code_are_the_commands() {
    let cluster = Plan::new(1).without_candidates().start();
    let mut command = program();
    let words = format!("-q run {DEMO} {FAST} --id me --env GIVEN=yes --compat-env etcd,consul");
    command.args(words.split_whitespace()).args(["--", "sh", "-c"]);
    command.arg("cat; env >&2; exit 7").env("TENURE_URL", cluster.url());
    command.env("TENURE_TOKEN_FILE", "/run/secret").env("KEPT", "yes");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"to be passed on\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "to be passed on\n");
    let environment = String::from_utf8(output.stderr).unwrap();
    let value = |name: &str| {
        let prefix = format!("{name}=");
        environment.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
    };
    let last = cluster.history().pop().unwrap();
    let token = last["token"].to_string();
    for (name, expected) in [
        ("TENURE_ELECTION", Some(DEMO)),
        ("TENURE_ID", Some("me")),
        ("TENURE_ROLE", Some("leader")),
        ("TENURE_TTL_MS", Some("1000")),
        ("TENURE_TOKEN", Some(token.as_str())),
        ("ETCD_LOCK_REV", Some(&token)),
        ("CONSUL_LOCK_HELD", Some("true")),
        ("TENURE_TOKEN_FILE", None),
        ("TENURE_RUN_WARDEN", None),
        ("GIVEN", Some("yes")),
        ("KEPT", Some("yes")),
    ] {
        assert_eq!(value(name), expected, "{name} in {environment}");
    }
}

#[test]
fn a_signal_is_the_commands_to_answer() {
    let cluster = Plan::new(1).without_candidates().start();
    let script = "trap 'echo again' HUP; trap 'echo bye; exit 9' TERM; echo runs\n\
                  while :; do sleep 0.02; done";
    let mut wrapper = Wrapper::start(&cluster, "w1", "", script);
    wrapper.command_says("runs");
    wrapper.process.signal(Signal::HUP);
    wrapper.command_says("again");
    wrapper.process.ask_to_stop(Signal::TERM);
    assert_eq!(wrapper.process.exit_code(), 9);
    wrapper.command_says("bye");
    cluster.tenure(&format!("leader {DEMO}")).run().expect(1);
}

#[test]
fn hooks_come_in_order_and_know_what_for() {
    let cluster = Plan::new(1).without_candidates().start();
    let (log, hook) = (cluster.path().join("log"), cluster.path().join("hook"));
    let text = format!("#!/bin/sh\necho hook $1 $2 $3 $4 $TENURE_TOKEN >>{}\n", log.display());
    std::fs::write(&hook, text).unwrap();
    make_executable(&hook);
    let hooks: Vec<_> = ["promote", "demote"]
        .iter()
        .map(|name| format!("--on-{name} {}", hook.display()))
        .collect();
    let script = format!("echo command >>{}", log.display());
    let mut wrapper = Wrapper::start(&cluster, "w1", &hooks.join(" "), &script);
    assert_eq!(wrapper.process.exit_code(), 0);
    let token = wrapper.says("elected").number("token");
    let expected = format!(
        "hook promote leader {DEMO} {token} {token}\ncommand\nhook demote leader {DEMO} {token} {token}\n"
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);

    let refused = format!("--on-promote false --wait 20s {FAST}");
    let done = cluster.tenure(&format!("run {DEMO} {refused} -- touch {}", log.display()));
    done.run().expect(125).explains(&["false", "not started"]);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
}

#[test]
fn waiting_has_a_limit() {
    let cluster = Plan::new(1).without_candidates().start();
    let wrapper = Wrapper::start(&cluster, "w1", "", MEEK);
    wrapper.command_says("runs");
    let command =
        |words: &str| cluster.tenure(&format!("run {DEMO} {FAST} {words} -- echo ran")).run();
    for (words, code) in [("--wait 100ms", 124), ("--no-wait", 124), ("-n -E 0", 0)] {
        let done = command(words).expect(code);
        assert_eq!(done.out, "", "{words}");
    }
    wrapper.process.ask_to_stop(Signal::TERM);
    assert_eq!(command("--wait 20s").expect(0).out, "ran\n");
    assert_eq!(cluster.tenure(&format!("lock {DEMO} -n {FAST} -- echo ran")).ok().out, "ran\n");
}

#[test]
fn slots_are_leaders_side_by_side() {
    let cluster = Plan::new(1).without_candidates().start();
    let more = "--slots 2 --on-lost standby";
    let start = |id: &str| Wrapper::start(&cluster, id, more, MEEK);
    let mut all = vec![start("w1"), start("w2"), start("w3")];
    let runs: Vec<_> = all.iter().map(|wrapper| wrapper.process.pid()).collect();
    let running = |lines: &[Line]| -> Vec<(usize, String)> {
        let started = |run: u32| {
            let line =
                lines.iter().find(|line| line.run == run && line.event == "child_started")?;
            Some(line.text("election").to_owned())
        };
        let pairs = runs.iter().enumerate();
        pairs.filter_map(|(place, run)| Some((place, started(*run)?))).collect()
    };
    let two = cluster.journal.wait_until("two of three", |lines| {
        Some(running(lines)).filter(|running| running.len() == 2)
    });
    assert_ne!(two[0].1, two[1].1, "each has a slot of its own");
    let waits = (0..3).find(|place| two.iter().all(|(other, _)| other != place)).unwrap();
    all[waits].says("standby");
    assert_eq!(running(&cluster.journal.lines()).len(), 2);
    let (ends, slot) = two[0].clone();
    all[ends].process.kill();
    assert_eq!(all[waits].says("child_started").text("election"), slot);
    for wrapper in &all {
        wrapper.process.ask_to_stop(Signal::TERM);
    }
}

#[test]
fn nothing_starts_when_something_is_wrong() {
    let cluster = Plan::new(1).without_candidates().start();
    let hook = cluster.path().join("hook");
    std::fs::write(&hook, "#!/bin/sh\n").unwrap();
    let hook_path = hook.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let wrapper = Wrapper::start(&cluster, "same", "", MEEK);
    wrapper.command_says("runs");
    let ran = cluster.path().join("ran");
    let touch = format!("-- touch {}", ran.display());
    for (words, code, explained) in [
        (format!("{FAST} -- no-such-command"), 127, "no-such-command"),
        (format!("{FAST} -- {hook_path}"), 126, "chmod +x"),
        (format!("--ttl 1s {touch}"), 125, "--ttl 2.537s"),
        (format!("{FAST} --on-promote {hook_path} {touch}"), 125, "--on-promote"),
        (format!("{FAST} --check /no/such {touch}"), 125, "--check"),
        (format!("{FAST} --listen {taken} {touch}"), 125, "--listen"),
        (format!("{FAST} --id same {touch}"), 125, "another process"),
        (format!("{FAST} --events-file /no/dir/file {touch}"), 125, "/no/dir/file"),
        (FAST.to_owned(), 125, "no command"),
    ] {
        let done = cluster.tenure(&format!("run {DEMO} {words}")).run().expect(code);
        done.explains(&[explained]);
    }
    if rustix::process::geteuid().is_root() {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&hook, mode).unwrap();
        let words = format!("run {DEMO} {FAST} --on-promote {hook_path} {touch}");
        cluster.tenure(&words).run().expect(125).explains(&["everybody may write"]);
    }
    assert!(!ran.exists());
    wrapper.process.ask_to_stop(Signal::TERM);
}

#[test]
fn without_anything_configured_the_command_is_all_there_is() {
    let done = tenure(&format!("run {DEMO} --if-configured --env A=b -- printenv A")).run();
    assert_eq!(done.expect(0).out, "b\n");
}

#[test]
fn the_sheet_says_when_what_happens() {
    let done = tenure(&format!("run {DEMO} --dry-run --json")).ok();
    let sheet = done.json();
    assert_eq!(
        [&sheet["soft_stop_ms"], &sheet["hard_kill_ms"], &sheet["deadline_ms"]],
        [3200, 4700, 4950]
    );
    assert_eq!(sheet["smallest_ttl_ms"], 2537);
}

/// Runs a command line on a terminal of its own: types each text when the one before it was
/// answered by what is named. Gives the exit code and all that was shown.
fn on_a_terminal(line: &str, talk: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    // A shell that stays in front of the program would be interrupted with it, and answer for it.
    let line = format!("exec {} -q {line}", env!("CARGO_BIN_EXE_tenure"));
    let mut child = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env_remove("TENURE_URL")
        .env("XDG_STATE_HOME", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let (mut screen, mut shown) = (child.stdout.take().unwrap(), Vec::new());
    let mut bytes = [0; 256];
    let mut talk = talk.iter();
    let mut next = talk.next();
    while let Ok(length @ 1..) = std::io::Read::read(&mut screen, &mut bytes) {
        shown.extend_from_slice(&bytes[..length]);
        let text = String::from_utf8_lossy(&shown).into_owned();
        if let Some((_, typed)) = next.filter(|(answer, _)| text.contains(answer)) {
            std::io::Write::write_all(&mut keys, typed.as_bytes()).unwrap();
            next = talk.next();
        }
    }
    let code = child.wait().unwrap().code();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn the_terminal_is_the_commands() {
    let script = r#"run demo -- sh -c 'trap "echo caught; exit 5" INT; echo up; while :; do sleep 0.02; done'"#;
    let (code, shown) = on_a_terminal(script, &[("up", "\u{3}")]);
    assert_eq!(code, Some(5), "{shown}");
    assert!(shown.contains("caught"), "{shown}");
    let script = r#"run demo -- sh -c 'echo up; read line; echo "read <$line>"'"#;
    let (code, shown) = on_a_terminal(script, &[("up", "typed\n")]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("read <typed>"), "{shown}");
}
