//! Who of the commands lived from when to when, as the kernel tells it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::bench::process::now;

/// One process of a command.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) pid: u32,
    pub(super) owner: String,
    pub(super) begun: u64,
    pub(super) ended: Option<u64>,
}

/// All of one cell.
#[derive(Clone, Default)]
pub(super) struct Lives(Arc<Mutex<Vec<Life>>>);

impl Lives {
    /// Follows what the commands write to a file that is there, until it is deleted.
    pub(super) fn follow(log: &Path) -> std::io::Result<Self> {
        let lives = Self::default();
        let (mut lines, log, seen) =
            (BufReader::new(File::open(log)?), log.to_owned(), lives.clone());
        thread::spawn(move || {
            let mut line = String::new();
            while log.exists() {
                match lines.read_line(&mut line) {
                    Ok(1..) if line.ends_with('\n') => {
                        seen.add(&line);
                        line.clear();
                    }
                    _ => thread::sleep(Duration::from_micros(500)),
                }
            }
        });
        Ok(lives)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Life> {
        self.lock().clone()
    }

    fn add(&self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some(pid), Some(begun), owner) = (
            words.next().and_then(|word| word.parse().ok()),
            words.next().and_then(|word| word.parse().ok()),
            words.next().unwrap_or_default().to_owned(),
        ) else {
            return;
        };
        let handle = number(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // One that ended before it could be looked at has ended by now.
        let ended = handle.is_none().then(now);
        let mut all = self.lock();
        let place = all.len();
        all.push(Life { pid, owner, begun, ended });
        drop(all);
        if let Some(handle) = handle {
            let lives = self.clone();
            thread::spawn(move || {
                while !matches!(poll(&mut [PollFd::new(&handle, PollFlags::IN)], None), Ok(1..)) {}
                let at = now();
                lives.lock()[place].ended = Some(at);
            });
        }
    }

    /// The longest time for which processes of two owners were alive at once.
    pub(super) fn longest_overlap(&self) -> u64 {
        let (all, now) = (self.all(), now());
        let end = |life: &Life| life.ended.unwrap_or(now);
        let pairs = all.iter().flat_map(|one| all.iter().map(move |other| (one, other)));
        pairs
            .filter(|(one, other)| one.owner != other.owner)
            .map(|(one, other)| end(one).min(end(other)).saturating_sub(one.begun.max(other.begun)))
            .max()
            .unwrap_or(0)
    }

    /// Processes of an owner that are alive.
    pub(super) fn living(&self, owner: &str) -> usize {
        self.all().iter().filter(|life| life.owner == owner && life.ended.is_none()).count()
    }

    /// Ends whatever a wrapper left behind.
    pub(super) fn end_all(&self) {
        for life in self.all().iter().filter(|life| life.ended.is_none()) {
            signal(life.pid, Signal::KILL);
        }
    }
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Signals a process that is known to live, or did a moment ago.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = number(pid) {
        let _ = kill_process(pid, signal);
    }
}
