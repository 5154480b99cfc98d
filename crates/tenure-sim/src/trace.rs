//! What happened, as a hash of all of it and, on demand, as one line per event.

use std::fmt::Write;

/// Hashes every event; prints lines only when somebody reads them.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<String>,
}

impl Trace {
    pub(crate) fn new(readable: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: readable.then(String::new) }
    }

    /// Takes numbers that stand for an event into the hash.
    pub(crate) fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    pub(crate) fn count(&mut self) {
        self.events += 1;
    }

    /// Adds a line at a true time. The line is made only when the trace is read.
    pub(crate) fn line(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (ms, us) = (now / 1_000_000, now / 1000 % 1000);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{ms:>7}.{us:03} {}", line());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn take_lines(&mut self) -> String {
        self.lines.take().unwrap_or_default()
    }
}

/// FNV-1a over bytes.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
