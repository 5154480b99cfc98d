//! One command of `tenure`, from start to exit code.

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::process::{program, wait};

/// Longer than any command may take.
const LONGEST: Duration = Duration::from_secs(40);

/// A command that is about to run.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    words: String,
}

/// `tenure` with these arguments, separated by spaces.
pub(crate) fn tenure(words: &str) -> Call {
    let mut command = program();
    command.args(words.split_whitespace());
    // Nothing of the person who runs the tests is to be found by the program.
    command.env("XDG_RUNTIME_DIR", "/nonexistent/runtime");
    command.env("XDG_STATE_HOME", "/nonexistent/state").env("HOME", "/nonexistent/home");
    Call { command, words: words.to_owned() }
}

impl Call {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn url(self, url: &str) -> Self {
        self.env("TENURE_URL", url)
    }

    pub(crate) fn dir(self, dir: &Path) -> Self {
        self.env("TENURE_DIR", dir)
    }

    /// One more argument, which may hold spaces.
    pub(crate) fn arg(mut self, word: impl AsRef<std::ffi::OsStr>) -> Self {
        self.words.push_str(&format!(" {}", word.as_ref().to_string_lossy()));
        self.command.arg(word);
        self
    }

    #[track_caller]
    pub(crate) fn run(mut self) -> Done {
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        self.command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = self.command.spawn().unwrap();
        let status = wait(&mut child, LONGEST);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let done = Done {
            words: self.words,
            code: status.and_then(|status| status.code()),
            out: read(&mut out),
            err: read(&mut err),
        };
        assert!(status.is_some(), "no end within {LONGEST:?}: {done:?}");
        done
    }

    /// Runs it and expects success.
    #[track_caller]
    pub(crate) fn ok(self) -> Done {
        self.run().expect(0)
    }
}

fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// For the reader of a failure.
    #[allow(dead_code)]
    words: String,
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// All of standard output, as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Standard output, one JSON value per line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        self.out.lines().map(parse).collect()
    }

    /// Standard error is one message: what, why, what next; each of these words is in it.
    #[track_caller]
    pub(crate) fn explains(&self, words: &[&str]) {
        explains(&self.err, words);
    }
}

/// Whether a text ends with one message of three parts, and holds these words. Log lines may
/// come before it.
#[track_caller]
pub(crate) fn explains(text: &str, words: &[&str]) {
    let parts = ["error: ", "  why: ", "  next: "];
    for part in parts {
        let count = text.lines().filter(|line| line.starts_with(part)).count();
        assert_eq!(count, 1, "one line begins with {part:?} in {text:?}");
    }
    let message = &text[text.find("error: ").unwrap_or(0)..];
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
