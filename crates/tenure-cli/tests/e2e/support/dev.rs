//! `tenure dev` as a process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    command::{Call, tenure},
    exclusivity,
    gate::Permit,
    journal::Journal,
    process::{Other, Process, program},
};

/// A local cluster. Exclusivity is judged when it is dropped.
#[derive(Debug)]
pub(crate) struct Dev {
    pub(crate) journal: Arc<Journal>,
    pub(crate) process: Process,
    root: TempDir,
    _permit: Permit,
}

impl Dev {
    /// Starts one with these further arguments, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(more: &str) -> Self {
        let permit = Permit::take();
        let root = tempfile::Builder::new().prefix("tnr").tempdir().unwrap();
        let journal = Arc::new(Journal::default());
        let process = spawn(root.path(), more, &journal);
        let dev = Self { journal, process, root, _permit: permit };
        dev.ready(0);
        dev
    }

    /// Starts it again in the same directory.
    #[track_caller]
    pub(crate) fn again(&mut self, more: &str) {
        let from = self.journal.mark();
        self.process = spawn(self.root.path(), more, &self.journal);
        self.ready(from);
    }

    #[track_caller]
    fn ready(&self, from: usize) {
        let run = self.process.pid();
        self.journal.wait(from, "ready cluster", |line| {
            assert!(!(line.run == run && line.event == "?"), "{line:?}");
            line.event == "ready"
        });
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("dev")
    }

    /// A command in the directory of this cluster, found by TENURE_DIR.
    pub(crate) fn tenure(&self, words: &str) -> Call {
        tenure(words).dir(&self.dir())
    }

    /// `tenure dev status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.tenure("dev status --json").ok().json()
    }

    /// Process ids of the nodes that run, by name.
    #[track_caller]
    pub(crate) fn pids(&self) -> Vec<(String, u32)> {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        let pid = |node: &Value| {
            let pid = u32::try_from(node["pid"].as_u64()?).ok()?;
            Some((node["node"].as_str()?.to_owned(), pid))
        };
        nodes.iter().filter_map(pid).collect()
    }

    #[track_caller]
    pub(crate) fn pid_of(&self, name: &str) -> u32 {
        self.pids().into_iter().find(|(node, _)| node == name).expect("it runs").1
    }

    /// From now on this process is not believed to hold anything: the test has it killed.
    pub(crate) fn about_to_strike(&self, name: &str) {
        self.journal.note(name, self.pid_of(name), "killed");
    }

    /// From now on no node is believed to hold anything. Gives their processes.
    pub(crate) fn about_to_end(&self) -> Vec<Other> {
        let end = |(name, pid): (String, u32)| {
            self.journal.note(&name, pid, "asked_to_stop");
            Other::new(pid)
        };
        self.pids().into_iter().map(end).collect()
    }

    /// Who leads, as the supervisor knows it.
    #[track_caller]
    pub(crate) fn leader(&self) -> (String, u64) {
        let status = self.status();
        let leader = &status["leader"];
        let named = leader["id"].as_str().map(str::to_owned).zip(leader["token"].as_u64());
        named.unwrap_or_else(|| panic!("no leader in {status}"))
    }

    #[track_caller]
    pub(crate) fn quorum_leader(&self) -> String {
        let status = self.status();
        let leader = status["quorum_leader"].as_str().map(str::to_owned);
        leader.unwrap_or_else(|| panic!("no leader of the quorum in {status}"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.journal.tail(120));
            println!("--- tenure dev: {}", self.process.stderr());
        } else {
            exclusivity::check(&self.journal);
            // The nodes are no children of the test: they must be gone before their directory.
            self.tenure("dev down").run();
        }
    }
}

fn spawn(root: &Path, more: &str, journal: &Arc<Journal>) -> Process {
    let mut command = program();
    command.arg("dev").arg("--json").arg("--dir").arg(root.join("dev"));
    command.args(more.split_whitespace());
    Process::start("dev", command, &root.join("dev.log"), journal)
}
