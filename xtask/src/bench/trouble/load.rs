//! The process that gives the cluster other work (`testkit-load`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bench::stores::testkit;
use crate::failure::{Failure, Outcome};

/// Elections that one session holds.
const ON_ONE_SESSION: u32 = 10;

/// Builds the worker; its path.
pub(super) fn build(optimised: bool) -> Outcome<PathBuf> {
    testkit("testkit-load", &[], optimised)
}

/// A worker that runs.
pub(super) struct Work {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Work {
    /// Starts it and waits until it holds what it is to hold.
    pub(super) fn start(
        program: &Path,
        url: &str,
        held: u32,
        changing: u32,
        ttl: Duration,
    ) -> Outcome<Self> {
        let sessions = held.div_ceil(ON_ONE_SESSION);
        let numbers = [sessions, ON_ONE_SESSION.min(held), changing];
        let mut command = Command::new(program);
        command.arg(url).args(numbers.map(|number| number.to_string()));
        command.arg(ttl.as_millis().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let said = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let mut work = Self { child, said: BufReader::new(said) };
        match work.line()?.as_str() {
            "ready" => Ok(work),
            other => Err(failed(format!("it said {other:?} and not that it is ready"))),
        }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(failed)?;
        Ok(line.trim().to_owned())
    }

    /// Ends it; what it did.
    pub(super) fn stop(mut self) -> Outcome<Value> {
        if let Some(mut input) = self.child.stdin.take() {
            input.write_all(b"stop\n").map_err(failed)?;
        }
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|why| failed(format!("{why} in {line:?}")))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new("the other work of the cluster failed", why, "see its words above")
}
