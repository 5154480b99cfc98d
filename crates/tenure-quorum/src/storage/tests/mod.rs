//! Tests of the storage: through the public calls, on real files and on a disk that forgets
//! what was not flushed.

mod crash;
mod damage;
mod data_dir;
mod fake_disk;
mod model;
mod processes;

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tenure_core::{ClusterId, NodeId, NodeName};
use tenure_replica::{Entry, EntryKind, HardState, Membership, Persist, Snapshot};

use super::{DataDir, Identity, disk::Disk, home::Home};

fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn identity() -> Identity {
    Identity { cluster: ClusterId::new(7), node: node(1), name: name("n1"), directory: 42 }
}

/// The files of node `n1` on any disk.
fn home(disk: impl Disk + 'static, path: impl Into<PathBuf>) -> Home {
    Home { disk: Arc::new(disk), path: path.into(), identity: identity() }
}

/// A data directory of node `n1` that has an identity and nothing else.
fn new_data_dir() -> (TempDir, DataDir) {
    let temporary = tempfile::tempdir().unwrap();
    let mut directory = DataDir::open(temporary.path().join("data"), None).unwrap();
    directory.create_identity(ClusterId::new(7), node(1), name("n1"), 11).unwrap();
    (temporary, directory)
}

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let data = (0..bytes).map(|at| (index as usize * 7 + at) as u8 | 1).collect();
    Entry { index, term, kind: EntryKind::Command, data }
}

fn entries(entries: impl IntoIterator<Item = Entry>) -> Persist {
    Persist { entries: entries.into_iter().collect(), must_sync: true, ..Persist::default() }
}

fn vote(term: u64, candidate: u64, commit: u64) -> Persist {
    let hard_state = HardState { term, vote: NodeId::new(candidate), commit };
    Persist { hard_state: Some(hard_state), must_sync: true, ..Persist::default() }
}

fn snapshot(index: u64, term: u64, bytes: usize) -> Snapshot {
    let membership = Membership { voters: vec![node(1), node(2)], learners: vec![node(3)] };
    Snapshot { index, term, membership, data: vec![index as u8; bytes] }
}
