//! One-shot watches, at most one for each election.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tenure_core::{ElectionName, backend::Hints};
use tokio::task::JoinHandle;
use zookeeper_client::OneshotWatcher;

use crate::ensemble::lock;

/// What is waited for.
#[derive(Debug)]
struct Watch {
    path: String,
    waits: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.waits.abort();
    }
}

/// The watches of this process, and the newest change it knows of each election.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    of: BTreeMap<ElectionName, Watch>,
    newest: BTreeMap<ElectionName, i64>,
}

impl Watches {
    /// Whether a change of this path would be heard.
    pub(crate) fn has(&self, election: &ElectionName, path: &str) -> bool {
        self.of.get(election).is_some_and(|watch| watch.path == path && !watch.waits.is_finished())
    }

    /// Turns the next change into a hint; the former watch of that election is given up.
    pub(crate) fn set(
        &mut self,
        election: &ElectionName,
        path: String,
        watcher: OneshotWatcher,
        hints: &Arc<Mutex<Hints>>,
    ) {
        let (hints, name) = (Arc::clone(hints), election.clone());
        let waits = tokio::spawn(async move {
            // Also when the session is lost, and the watch with it.
            watcher.changed().await;
            lock(&hints).changed(name);
        });
        self.of.insert(election.clone(), Watch { path, waits });
    }

    pub(crate) fn forget(&mut self, election: &ElectionName) {
        self.of.remove(election);
        self.newest.remove(election);
    }

    /// Notes the change that an answer tells of, and gives the newest.
    pub(crate) fn newest(&mut self, election: &ElectionName, zxid: i64) -> i64 {
        let newest = self.newest.entry(election.clone()).or_default();
        *newest = zxid.max(*newest);
        *newest
    }
}
