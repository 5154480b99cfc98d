//! The examples run, each as a user would start it.
#![allow(clippy::unwrap_used)] // a test stops where it fails

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

fn example(name: &str) -> Command {
    // target/PROFILE/deps/this-test, and target/PROFILE/examples/NAME beside it.
    let own = std::env::current_exe().unwrap();
    let path: PathBuf = own.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is missing: cargo build -p tenure --examples", path.display());
    Command::new(path)
}

fn says(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_scheduler_runs_once_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let start = |name: &str| {
        example("scheduler").args([&url, name, "2"]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let both = ["one", "two"].map(start).map(|child| child.wait_with_output().unwrap());
    let mut tokens = Vec::new();
    for output in both {
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("has done 2 ticks"), "{said}");
        let token = said.split("leading with token ").nth(1).unwrap().lines().next().unwrap();
        tokens.push(token.parse::<u64>().unwrap());
    }
    assert_ne!(tokens[0], tokens[1]);
}

#[test]
fn only_a_replica_that_is_up_to_date_is_promoted() {
    let late = says(&mut example("promotion"));
    assert!(late.contains("lags 10000 bytes behind and does not contend"), "{late}");
    assert!(late.contains("replica-1 is promoted under token"), "{late}");
    let fit = says(example("promotion").args(["mem://promotion", "fit", "0"]));
    assert!(!fit.contains("lags") && fit.contains("fit is promoted"), "{fit}");
}

#[test]
fn an_observer_sees_a_leader_come_and_go() {
    let said = says(&mut example("observer"));
    assert!(said.contains("here leads") && said.contains("nobody leads"), "{said}");
}

#[test]
fn a_write_that_comes_too_late_is_refused() {
    let said = says(&mut example("fenced_write"));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["written", "written"], "{said}");
    assert!(lines[2].starts_with("refused: token"), "{said}");
}

#[test]
fn the_blocking_face_needs_no_async() {
    let said = says(&mut example("blocking"));
    assert!(said.contains("step 3 under token"), "{said}");
    assert!(said.contains("now: Vacant"), "{said}");
}
