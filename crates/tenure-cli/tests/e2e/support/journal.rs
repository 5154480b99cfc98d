//! Everything that the processes of one test say, in the order in which it was read.

use std::{
    fmt::Write,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::PATIENCE;

/// One line of a process, or a note of the test about it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Who.
    pub(crate) node: String,
    /// Which start of its process: its number, unique in the short life of a test.
    pub(crate) run: u32,
    /// When, by the clock of this machine.
    pub(crate) mono_ns: u64,
    /// What.
    pub(crate) event: String,
    /// The rest.
    pub(crate) body: Value,
}

impl Line {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, key: &str) -> u64 {
        self.body[key].as_u64().unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// The token of a leader that a view names.
    pub(crate) fn leader(&self) -> Option<(String, u64)> {
        let leader = self.body.get("leader")?;
        Some((leader["id"].as_str()?.to_owned(), leader["token"].as_u64()?))
    }

    /// Whether this is that event about that election.
    pub(crate) fn is(&self, event: &str, election: &str) -> bool {
        self.event == event && self.text("election") == election
    }
}

/// What was said and noted so far.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one line of a process; what is no event is kept for the eyes of people.
    pub(crate) fn hear(&self, node: &str, run: u32, text: &str) {
        let body: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({ "text": text }));
        let event = body["event"].as_str().unwrap_or("?").to_owned();
        let mono_ns = body["mono_ns"].as_u64().unwrap_or_else(now);
        // `tenure dev` passes on what its nodes say.
        let run = body["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(run);
        let node = body["node"].as_str().unwrap_or(node).to_owned();
        self.push(Line { node, run, mono_ns, event, body });
    }

    /// Notes what the test did to a process, just before it does it.
    pub(crate) fn note(&self, node: &str, run: u32, event: &str) -> u64 {
        let mono_ns = now();
        let (node, event) = (node.to_owned(), event.to_owned());
        self.push(Line { node, run, mono_ns, event, body: Value::Null });
        mono_ns
    }

    fn push(&self, line: Line) {
        self.lock().push(line);
        self.more.notify_all();
    }

    /// The place behind the last line.
    pub(crate) fn mark(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lock().clone()
    }

    /// Waits for a line from this place on.
    #[track_caller]
    pub(crate) fn wait(&self, from: usize, what: &str, is_it: impl Fn(&Line) -> bool) -> Line {
        self.wait_until(what, |lines| lines.get(from..)?.iter().find(|line| is_it(line)).cloned())
    }

    /// Waits until what was said adds up to something.
    #[track_caller]
    pub(crate) fn wait_until<T>(&self, what: &str, look: impl Fn(&[Line]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lock();
        loop {
            if let Some(found) = look(&lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("no {what} within {PATIENCE:?}");
            }
            lines = self.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last lines, for a test that failed.
    pub(crate) fn tail(&self, count: usize) -> String {
        let lines = self.lock();
        let mut text = String::new();
        let first = lines.first().map_or(0, |line| line.mono_ns);
        for line in &lines[lines.len().saturating_sub(count)..] {
            let at = Duration::from_nanos(line.mono_ns.saturating_sub(first)).as_secs_f64();
            let mut body = line.body.clone();
            if let Some(body) = body.as_object_mut() {
                for noise in ["v", "event", "at", "mono_ns", "node", "pid"] {
                    body.remove(noise);
                }
            }
            let _ = writeln!(text, "{at:>9.4} {}#{} {} {body}", line.node, line.run, line.event);
        }
        text
    }
}

/// The clock of all events.
pub(crate) fn now() -> u64 {
    tenure_quorum::clock::monotonic_nanos()
}
