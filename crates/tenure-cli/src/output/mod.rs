//! What goes out: data on standard output, talk on standard error.

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod time;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::error::{Failure, Outcome};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour what goes to this stream.
    pub(crate) fn on(self, stream: &impl IsTerminal) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && !refused,
        }
    }
}

/// How to talk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Machines read it.
    pub(crate) json: bool,
    /// Only data and errors.
    pub(crate) quiet: bool,
    /// When to colour.
    pub(crate) color: Color,
}

impl Output {
    /// One line of data, flushed: somebody may be waiting for it at the other end of a pipe.
    pub(crate) fn data(self, line: &str) -> Outcome<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::unread(),
            _ => Failure::io("cannot write to standard output", &error, "look at where it goes"),
        })
    }

    /// Whatever a person may want to know; machines and the quiet are spared.
    pub(crate) fn talk(self, line: &str) {
        if !self.quiet && !self.json {
            // Nobody can be told that the place to tell things is gone.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Why the command did not do what it was asked.
    pub(crate) fn failure(self, failure: &Failure) {
        let text = if self.json && !failure.what.is_empty() {
            failure.json() + "\n"
        } else {
            failure.human(self.color.on(&io::stderr()))
        };
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Paints words for standard output.
    pub(crate) fn paint(self) -> human::Paint {
        human::Paint { on: !self.json && self.color.on(&io::stdout()) }
    }
}
