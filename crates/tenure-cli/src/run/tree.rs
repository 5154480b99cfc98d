//! The descendants of a process: who they are, and their end.
//!
//! A supervisor is a *subreaper*: whoever loses a parent below it becomes its child, also after
//! `setsid` and a double fork. So whatever was started is among the descendants until it is
//! dead, and no child left (`ECHILD`) is the kernel's proof that nothing is.

use std::{fs, io};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, wait,
};

use super::machine::End;

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: u32,
    parent: u32,
    /// Ended, and not looked at by its parent yet.
    ended: bool,
    /// In ticks since the machine started: tells two processes with one number apart.
    began: u64,
}

impl Entry {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name is in brackets and may hold anything, also brackets.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        // The 22nd field of the line, the 20th after the name.
        let began = fields.nth(17)?.parse().ok()?;
        Some(Self { pid, parent, ended, began })
    }
}

/// The descendants of a process that have not ended, but not `spared` itself.
fn living(root: u32, spared: Option<u32>) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            // It may have ended since the directory was read.
            all.extend(Entry::read(pid));
        }
    }
    let mut found = below(root, &all);
    found.retain(|entry| !entry.ended && Some(entry.pid) != spared);
    Ok(found)
}

fn below(root: u32, all: &[Entry]) -> Vec<Entry> {
    let mut parents = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        for entry in all.iter().filter(|entry| entry.parent == parent && entry.pid != root) {
            parents.push(entry.pid);
            found.push(*entry);
        }
    }
    found
}

/// Sends a signal to each living descendant; gives how many there were.
pub(crate) fn signal_all(root: u32, spared: Option<u32>, signal: Signal) -> io::Result<usize> {
    let living = living(root, spared)?;
    for entry in &living {
        send(entry, signal);
    }
    Ok(living.len())
}

/// Kills every descendant that can be found, until a look finds none or the rounds are used
/// up: a process that forks while it is looked for shows up in the next round.
pub(crate) fn kill_all(root: u32, spared: Option<u32>) -> io::Result<bool> {
    for _ in 0..8 {
        if signal_all(root, spared, Signal::KILL)? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends a signal to a process and to no other that got its number meanwhile.
fn send(entry: &Entry, signal: Signal) {
    let Some(pid) = i32::try_from(entry.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Entry::read(entry.pid).is_some_and(|now| now.began == entry.began) {
        // It may have ended, or belong to another user; the next look tells.
        let _ = pidfd_send_signal(&handle, signal);
    }
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ended.
    Ended(u32, End),
    /// A signal stopped it.
    Stopped(u32, i32),
    /// Nothing new, but there are children.
    Nothing,
    /// There is no child, so there is no descendant.
    Empty,
}

/// The next change among the children; does not wait.
pub(crate) fn next_change() -> Change {
    match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        Ok(Some((pid, status))) => {
            let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
            change(pid, status)
        }
        Ok(None) => Change::Nothing,
        Err(_) => Change::Empty,
    }
}

fn change(pid: u32, status: WaitStatus) -> Change {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    if let Some(signal) = status.stopping_signal() {
        return Change::Stopped(pid, signal);
    }
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Change::Ended(pid, End::Code(byte(code))),
        (None, Some(signal)) => Change::Ended(pid, End::Signal(byte(signal))),
        (None, None) => Change::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_process_table_is_read_also_with_a_nasty_name() {
        let stat = "7 (a) Z 1 (b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 991 1 1";
        let entry = Entry::parse(7, stat).unwrap();
        assert_eq!(entry, Entry { pid: 7, parent: 3, ended: false, began: 991 });
        assert_eq!(Entry::parse(7, "7 (x"), None);
        assert!(Entry::read(std::process::id()).is_some());
    }

    #[test]
    fn descendants_are_found_through_the_dead() {
        let entry = |pid, parent, ended| Entry { pid, parent, ended, began: 0 };
        let all = [
            entry(1, 0, false),
            entry(5, 1, false),
            entry(6, 5, true),
            entry(7, 6, false),
            entry(8, 1, false),
        ];
        let mut pids: Vec<_> = below(5, &all).iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [6, 7]);
        assert_eq!(below(8, &all), []);
    }
}
