//! The one error of the driver: what went wrong, why, and what to do next.

use std::fmt;

/// A failure as it is told to the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    why: String,
    next: String,
}

/// What every fallible function of the driver returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Builds a failure from the three things its reader wants to know.
    pub(crate) fn new(
        what: impl Into<String>,
        why: impl fmt::Display,
        next: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), why: why.to_string(), next: next.into() }
    }

    /// The first two parts on one line, for a report that goes on.
    pub(crate) fn brief(&self) -> String {
        format!("{}: {}", self.what, self.why.lines().next().unwrap_or_default())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  why:  {}\n  next: {}", self.what, self.why, self.next)
    }
}
