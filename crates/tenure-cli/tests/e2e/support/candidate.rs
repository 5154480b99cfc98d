//! `tenure campaign` as a process of its own.

use std::{path::Path, sync::Arc};

use super::{
    DEMO,
    journal::{Journal, Line},
    process::{Process, program},
};

/// A candidate that is no node.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) process: Process,
    journal: Arc<Journal>,
}

impl Candidate {
    /// Starts to contend for the usual election.
    pub(crate) fn start(
        id: &str,
        url: &str,
        more: &str,
        dir: &Path,
        journal: &Arc<Journal>,
    ) -> Self {
        let mut command = program();
        command.args(["campaign", DEMO, "--json", "--id", id, "--url", url]);
        command.args(more.split_whitespace());
        let said = dir.join(format!("{id}.log"));
        let process = Process::start(id, command, &said, journal);
        Self { process, journal: journal.clone() }
    }

    /// Waits until it says this.
    #[track_caller]
    pub(crate) fn says(&self, event: &str) -> Line {
        self.says_from(0, event)
    }

    /// Waits until it says this from a place of the journal on.
    #[track_caller]
    pub(crate) fn says_from(&self, from: usize, event: &str) -> Line {
        let (name, run) = (&self.process.name, self.process.pid());
        let what = format!("{event:?} of {name}");
        self.journal.wait(from, &what, |line| line.run == run && line.event == event)
    }
}
