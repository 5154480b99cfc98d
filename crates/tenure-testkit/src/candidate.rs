//! Candidates that are processes of their own.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};
use serde::Deserialize;

use crate::PATIENCE;

/// One line of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// What happened: `campaigning`, `elected`, `lost:WHY`, `left`.
    pub event: String,
    /// The token it is about.
    pub token: u64,
    /// When, in nanoseconds of this machine's monotonic clock.
    pub mono_ns: u64,
    /// With `lost`: when it last made sure that it may act.
    #[serde(default)]
    pub acted_ns: u64,
}

/// A candidate process; killed when it is dropped.
#[derive(Debug)]
pub struct Candidate {
    child: Child,
    lines: Receiver<Line>,
    id: String,
}

/// This machine's monotonic clock, in nanoseconds.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Candidate {
    /// Starts one. `program` is `env!("CARGO_BIN_EXE_testkit-candidate")` of the test.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(
        program: &Path,
        url: &str,
        election: &str,
        id: &str,
        ttl: Duration,
    ) -> io::Result<Self> {
        Self::start_with(program, url, election, id, ttl, &[])
    }

    /// The same, with more arguments.
    ///
    /// # Errors
    /// As [`Candidate::start`].
    pub fn start_with(
        program: &Path,
        url: &str,
        election: &str,
        id: &str,
        ttl: Duration,
        more: &[&str],
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args([url, election, id, &ttl.as_millis().to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let (tell, lines) = channel();
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // What a library writes there by mistake fails the test by its absence.
                if let Ok(line) = serde_json::from_str(&line)
                    && tell.send(line).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { child, lines, id: id.to_owned() })
    }

    /// Under which id it contends.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its next line.
    ///
    /// # Panics
    /// When none comes in time, or it has ended.
    pub fn next(&self) -> Line {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("candidate {} says nothing", self.id),
            Err(RecvTimeoutError::Disconnected) => panic!("candidate {} has ended", self.id),
        }
    }

    /// The next line of that kind, if it comes within a time.
    #[must_use]
    pub fn says_within(&self, event: &str, limit: Duration) -> Option<Line> {
        let deadline = std::time::Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            if line.event == event {
                return Some(line);
            }
        }
    }

    /// The next line of that kind; others are passed over.
    ///
    /// # Panics
    /// As [`Candidate::next`].
    pub fn says(&self, event: &str) -> Line {
        loop {
            let line = self.next();
            if line.event == event || line.event.starts_with(&format!("{event}:")) {
                return line;
            }
        }
    }

    /// Whether it has said something that was not read yet.
    #[must_use]
    pub fn has_said(&self) -> Option<Line> {
        self.lines.try_recv().ok()
    }

    /// Sends it a signal; gives the moment before, by the monotonic clock.
    pub fn signal(&self, signal: Signal) -> u64 {
        let now = monotonic_nanos();
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A process that has ended needs no signal.
            let _ = kill_process(pid, signal);
        }
        now
    }

    /// Kills it as a crash would; gives the moment before.
    pub fn kill(&mut self) -> u64 {
        let now = self.signal(Signal::KILL);
        let _ = self.child.wait();
        now
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.kill();
    }
}
