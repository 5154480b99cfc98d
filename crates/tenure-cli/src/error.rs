//! What the program says when it cannot do what it was asked: what happened, why, and what to
//! do next, with one documented exit code.

use std::{fmt::Display, io, process::ExitCode};

use serde_json::json;

/// How the program ends. The numbers are documented and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Yes, or done.
    Yes,
    /// No: vacant, not the leader, nobody to hand over to.
    No,
    /// The command line makes no sense.
    Usage,
    /// No quorum, no answer in time, or an outcome that is not known.
    Unavailable,
    /// Somebody else was faster, or has it already.
    Conflict,
    /// Not allowed.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The tool itself failed.
    Tool,
    /// Interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Conflict => 4,
            Self::Denied => 5,
            Self::NotFound => 6,
            Self::Tool => 125,
            Self::Interrupted => 130,
        }
    }

    /// The kind of a failure of another process of ours, by its number.
    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::No,
            2 => Self::Usage,
            3 => Self::Unavailable,
            4 => Self::Conflict,
            5 => Self::Denied,
            6 => Self::NotFound,
            130 => Self::Interrupted,
            _ => Self::Tool,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The result of a command: how it ended, or what it says instead.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

/// One clear message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// What to do next.
    pub(crate) next: String,
}

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        what: impl Display,
        why: impl Display,
        next: impl Display,
    ) -> Self {
        Self { exit, what: what.to_string(), why: why.to_string(), next: next.to_string() }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(what: impl Display, why: impl Display, next: impl Display) -> Self {
        Self::new(Exit::Usage, what, why, next)
    }

    /// The operating system refused something.
    pub(crate) fn io(what: impl Display, error: &io::Error, next: impl Display) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Tool,
        };
        Self::new(exit, what, error, next)
    }

    /// The reader of our output went away; nothing is left to say.
    pub(crate) fn unread() -> Self {
        Self::new(Exit::Yes, "", "", "")
    }

    /// For people: three lines, the words before the colon in colour when asked for.
    pub(crate) fn human(&self, colour: bool) -> String {
        if self.what.is_empty() {
            return String::new();
        }
        let head = |word: &str, code: &str| {
            if colour { format!("\x1b[{code}m{word}:\x1b[0m") } else { format!("{word}:") }
        };
        let mut text = format!("{} {}\n", head("error", "1;31"), self.what);
        for (word, line) in [("why", &self.why), ("next", &self.next)] {
            if !line.is_empty() {
                let indented = line.replace('\n', "\n       ");
                text.push_str(&format!("  {:<4} {indented}\n", head(word, "1")));
            }
        }
        text
    }

    /// For programs: one object.
    pub(crate) fn json(&self) -> String {
        json!({
            "error": self.what,
            "why": self.why,
            "next": self.next,
            "code": self.exit.code(),
        })
        .to_string()
    }

    /// Reads what [`Failure::json`] wrote.
    pub(crate) fn from_json(line: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        Some(Self {
            exit: Exit::from_code(value.get("code")?.as_i64()?),
            what: text("error")?,
            why: text("why").unwrap_or_default(),
            next: text("next").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::new(Exit::Unavailable, "who leads is not known", "no quorum", "start a node")
    }

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        insta::assert_snapshot!(failure().human(false), @r"
        error: who leads is not known
          why: no quorum
          next: start a node
        ");
    }

    #[test]
    fn as_json_it_is_one_object_that_can_be_read_back() {
        let line = failure().json();
        assert!(!line.contains('\n'));
        assert_eq!(Failure::from_json(&line), Some(failure()));
        assert_eq!(Failure::from_json("panicked at"), None);
    }

    #[test]
    fn exit_codes_survive_a_round_trip() {
        for exit in [
            Exit::No,
            Exit::Usage,
            Exit::Unavailable,
            Exit::Conflict,
            Exit::Denied,
            Exit::NotFound,
            Exit::Tool,
            Exit::Interrupted,
        ] {
            assert_eq!(Exit::from_code(i64::from(exit.code())), exit);
        }
    }
}
