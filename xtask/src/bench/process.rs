//! Child processes of a bench: started, heard line by line, killed, reaped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};

use crate::failure::{Failure, Outcome};

/// Nanoseconds of CLOCK_MONOTONIC, the one clock of every measurement: all
/// processes of a run are on one machine.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or_default()
}

/// One line a child wrote, with the tag the child was started under.
pub(crate) type Line = (usize, String);

/// A running child whose output arrives as [`Line`]s. Dropping it kills it.
pub(crate) struct Heard {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Heard {
    /// Starts a command; its standard output goes to `lines`, its standard
    /// error to the file `log`.
    pub(crate) fn start(
        command: &mut Command,
        tag: usize,
        lines: &Sender<Line>,
        log: &Path,
    ) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let cannot = |why: std::io::Error| {
            Failure::new(format!("cannot start {name}"), why, "check that the program runs")
        };
        let log = std::fs::File::options().create(true).append(true).open(log).map_err(cannot)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(cannot)?;
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            let lines = lines.clone();
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if lines.send((tag, line)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child, stdin })
    }

    /// Writes a line to the child's standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        stdin.write_all(format!("{line}\n").as_bytes()).map_err(|why| {
            Failure::new("a process of the bench does not listen", why, "see its log file")
        })
    }

    /// kill -9; returns the time just before.
    pub(crate) fn kill(&mut self) -> u64 {
        let at = now();
        // Ours and not yet waited for, so the number cannot be another's.
        let _ = self.child.kill();
        at
    }

    /// Waits for a killed child.
    pub(crate) fn reap(&mut self) {
        let _ = self.child.wait();
    }

    /// Closes its standard input, which ends a well-behaved child; kills it
    /// when that takes longer than `patience`.
    pub(crate) fn stop(mut self, patience: Duration) {
        drop(self.stdin.take());
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that somebody else started, held by its pidfd from the moment its
/// number was told, so that a signal can never hit a later owner of the number.
pub(crate) struct Held(OwnedFd);

impl Held {
    /// Takes hold of a process.
    pub(crate) fn new(pid: u32) -> Outcome<Self> {
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
        known
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map(Self)
            .map_err(|why| {
                Failure::new(format!("cannot take hold of process {pid}"), why, "see its log file")
            })
    }

    /// kill -9; returns the time just before.
    pub(crate) fn kill(&self) -> u64 {
        self.signal(Signal::KILL)
    }

    /// Sends a signal; returns the time just before. Its process may have ended a moment ago.
    pub(crate) fn signal(&self, signal: Signal) -> u64 {
        let at = now();
        let _ = pidfd_send_signal(&self.0, signal);
        at
    }
}

/// This program once more, as a hidden child: the very file that runs now, even
/// if a build has replaced it meanwhile.
pub(crate) fn myself(task: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("xtask").arg("child").arg(task);
    command
}

/// A program that the kernel kills when the bench dies.
pub(crate) fn leashed(program: &OsStr) -> Command {
    let mut command = myself("leashed");
    command.arg(std::process::id().to_string()).arg("--").arg(program);
    command
}

/// Feeds lines to `step` until it returns a value.
///
/// # Errors
/// When `patience` has passed first; `what` names what was awaited.
pub(crate) fn await_lines<T>(
    lines: &Receiver<Line>,
    patience: Duration,
    what: &str,
    mut step: impl FnMut(usize, &str) -> Option<T>,
) -> Outcome<T> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok((tag, line)) = lines.recv_timeout(left) else {
            return Err(Failure::new(
                format!("waited in vain for {what}"),
                format!("it did not happen within {patience:?}"),
                "see the log files in the bench's directory",
            ));
        };
        if let Some(value) = step(tag, &line) {
            return Ok(value);
        }
    }
}

/// A duration between zero and `longest`, different at each call: kills fall
/// on any phase of a renewal interval.
pub(crate) fn any_phase(longest: Duration) -> Duration {
    let span = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).max(1);
    // The clock's low digits, spread by a multiplicative hash.
    Duration::from_nanos(now().wrapping_mul(0x9E37_79B9_7F4A_7C15) % span)
}
