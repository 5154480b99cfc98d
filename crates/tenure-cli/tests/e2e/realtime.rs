//! `--realtime`: the threads that lead are scheduled in real time, work never is. Where the kernel
//! does not allow it, that is said before anything is started.

use std::{collections::BTreeMap, fs};

use crate::support::{DEMO, cluster::Plan, tenure};

/// `SCHED_FIFO`, in the 41st field of a stat file; the command's name ends at the last bracket.
const FIFO: &str = "1";

fn policy(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(41 - 3)
}

/// Whether each thread is scheduled in real time, by its name.
fn threads(pid: u32) -> BTreeMap<String, bool> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        Some((name.trim().to_owned(), policy(&stat)? == FIFO))
    };
    tasks.flatten().filter_map(read).collect()
}

/// Whether the kernel allows it to this user; what is said when not is checked here.
fn allowed() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let tried = tenure(&format!("run {DEMO} --realtime -- true")).url(&url).run();
    if tried.code == Some(0) {
        return true;
    }
    tried.expect(125).explains(&["--realtime", "LimitRTPRIO", "leave --realtime out"]);
    false
}

#[test]
fn a_nodes_threads_are_scheduled_in_real_time() {
    if !allowed() {
        return;
    }
    let mut cluster = Plan::new(1).with("--realtime").start();
    cluster.leader();
    let pid = cluster.process("n1").pid();
    let threads = threads(pid);
    for name in ["tenure-node", "tenure-disk", "tenure-keeper"] {
        assert_eq!(threads.get(name), Some(&true), "{threads:?}");
    }
    assert_eq!(threads.get("tenure"), Some(&false), "{threads:?}");
}

#[test]
fn a_command_is_never_scheduled_in_real_time() {
    if !allowed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    // The stat file of the command, and of what it starts; and the threads of its parent.
    let words = "cat /proc/self/stat /proc/$$/stat; cat /proc/$PPID/task/*/stat >&2";
    let call = tenure(&format!("run {DEMO} --realtime -- sh -c")).arg(words).url(&url).run();
    let call = call.expect(0);
    let policies: Vec<_> = call.out.lines().map(policy).collect();
    assert_eq!(policies, [Some("0"), Some("0")], "{call:?}");
    let renews = call.err.lines().find(|line| line.contains("(tenure-keeper)")).and_then(policy);
    assert_eq!(renews, Some(FIFO), "{call:?}");
}
