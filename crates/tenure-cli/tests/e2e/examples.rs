//! The examples run as they are given to users.

use std::{path::Path, process::Command};

#[test]
fn the_story_of_the_paused_leader() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("examples/paused-leader/run.sh");
    let mut bash = Command::new("bash");
    let output = bash.arg(script).env("TENURE", env!("CARGO_BIN_EXE_tenure")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for story in ["wrapper-paused", "host-paused", "wrapper-killed"] {
        let row = said.lines().find(|line| line.starts_with(story)).expect("a row");
        let lines = row.split_whitespace().zip(row.split_whitespace().skip(1));
        let counts: Vec<u32> = lines
            .filter(|(_, word)| word.starts_with("lines"))
            .map(|(count, _)| count.parse().unwrap())
            .collect();
        let [etcdctl, ours] = counts[..] else { panic!("two tools in {row:?}") };
        assert!(etcdctl > 0, "the example shows nothing: {said}");
        assert_eq!(ours, 0, "{said}");
    }
}
