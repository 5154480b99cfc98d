//! What a node keeps on disk: its identity, its vote, its log and its latest snapshot.
//!
//! ```text
//! lock                            held while a process uses the directory; names its pid
//! identity.json                   whose memory this is
//! log-00000000000000000007        batches of changes, 1 MiB of zeros filled from the front
//! snapshot-00000000000000004711   the state up to an index
//! ```
//!
//! **What is promised.** When [`Storage::persist`] has returned `Ok`, the batch survives
//! `kill -9` and power loss. A batch whose call did not return is there whole or not at all.
//! Anything that an interrupted write cannot explain stops the node with the file, the byte
//! and the way out; it is never repaired by guessing.
//!
//! **How.** One batch is one checksummed frame and one flush, and is written only after the
//! one before it is durable, so at most the last one can be torn. A torn frame misses whole
//! sectors, which were zero before: that, and nothing valid behind it, is the proof needed to
//! cut it (the rule of etcd's log, made exact by counting the sectors that are rightly zero).
//! A snapshot is durable under its name before the log mentions it. Each log file starts with
//! all that older ones said except their entries, so they go once their entries do.
//!
//! **What is not.** A disk that acknowledges a flush and forgets it, or that loses the newest
//! batches without a trace, cannot be found out from here: the other nodes' disks are the
//! guard then.

mod data_dir;
mod disk;
mod error;
mod frame;
mod home;
mod member;
mod record;
mod replay;
mod snapshot;
#[cfg(test)]
mod tests;
mod view;
mod wal;

use std::{borrow::Cow, fmt, fs::File, sync::Arc};

use tenure_replica::{HardState, Persist, Restored};

use home::Home;
use record::{Record, SnapshotId};
use replay::Replay;
use view::View;
use wal::Wal;

pub use data_dir::{DataDir, Expectation, Identity};
pub use error::StorageError;

/// Bytes of one log file; a larger batch gets a larger one. Files are read and zeroed in one
/// piece, and memory that was once touched stays with the process: an idle node is small.
const SEGMENT_BYTES: u64 = 256 << 10;

/// The vote, the log and the snapshot of one node. All calls block on the disk: give it a
/// thread of its own.
pub struct Storage {
    home: Home,
    wal: Wal,
    view: View,
    /// A hard state that is not in the log yet because only its commit index is new.
    hint: Option<HardState>,
    stopped: bool,
    /// Last, so that the helper thread of `wal` has ended before another process may come in.
    _lock: Option<Arc<File>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("path", &self.home.path).finish_non_exhaustive()
    }
}

impl Storage {
    /// Reads what the node remembers and makes it ready to remember more. What is returned is
    /// durable. The end of the log is cut when, and only when, it is a batch that an
    /// interrupted write left unfinished.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] when something acknowledged may be lost,
    /// [`StorageError::NoIdentity`] before [`DataDir::create_identity`], and others when the
    /// disk cannot be used.
    pub fn open(directory: &DataDir) -> Result<(Self, Restored), StorageError> {
        let (mut storage, restored) = Self::open_in(directory.home()?, SEGMENT_BYTES)?;
        storage._lock = Some(directory.lock());
        Ok((storage, restored))
    }

    fn open_in(home: Home, segment_bytes: u64) -> Result<(Self, Restored), StorageError> {
        let replay = Replay::read(&home)?;
        let view = replay.view.clone();
        let snapshot = view.snapshot.map(|id| snapshot::read(&home, id)).transpose()?;
        for name in home.list()?.iter().filter(|name| home::is_unfinished(name)) {
            home.remove(name)?;
        }
        let (wal, entries) = replay.repair(&home, segment_bytes)?;
        snapshot::remove_others(&home, view.snapshot)?;
        let restored = Restored { hard_state: view.hard_state, snapshot, entries };
        let storage = Self { home, wal, view, hint: None, stopped: false, _lock: None };
        Ok((storage, restored))
    }

    /// Makes units of work durable, all of them or none, with one flush of the log. A batch in
    /// which nothing but the commit index changed, and that need not be durable, waits for the
    /// next one: written without a flush it could be torn while a later one is whole.
    ///
    /// # Errors
    /// Any [`StorageError`] is the end: the node must stop without answering for this batch,
    /// and every further call fails with [`StorageError::Stopped`]. In particular a failed
    /// flush is never tried again.
    pub fn persist(&mut self, batch: &[Persist]) -> Result<(), StorageError> {
        if self.stopped {
            return Err(StorageError::Stopped);
        }
        let done = self.write(batch);
        self.stopped = done.is_err();
        done
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StorageError> {
        if batch.iter().all(|unit| self.is_hint(unit)) {
            self.hint = batch.iter().rev().find_map(|unit| unit.hard_state).or(self.hint);
            return Ok(());
        }
        let before = self.view.head(self.home.identity.directory, self.wal.next_segment());
        let records = self.records(batch).map_err(|reason| StorageError::Impossible { reason })?;
        if records.is_empty() {
            return Ok(());
        }
        for snapshot in batch.iter().filter_map(|unit| unit.snapshot.as_ref()) {
            // The same state again: rewriting it would change it before the log says so.
            if before.snapshot != Some(SnapshotId::of(snapshot)) {
                snapshot::write(&self.home, snapshot)?;
            }
        }
        self.wal.append(before, records)?;
        self.hint = None;
        if before.snapshot != self.view.snapshot {
            snapshot::remove_others(&self.home, self.view.snapshot)?;
        }
        if before.compacted != self.view.compacted {
            self.wal.remove_before(self.view.compacted)?;
        }
        Ok(())
    }

    fn is_hint(&self, unit: &Persist) -> bool {
        let Persist { number: _, hard_state, snapshot, entries, compact_to, must_sync } = unit;
        let known = &self.view.hard_state;
        !must_sync
            && snapshot.is_none()
            && entries.is_empty()
            && compact_to.is_none()
            && hard_state.is_none_or(|new| (new.term, new.vote) == (known.term, known.vote))
    }

    /// The records of a batch, taken into the view. Only the last hard state counts.
    fn records<'a>(&mut self, batch: &'a [Persist]) -> Result<Vec<Record<'a>>, String> {
        let mut records = Vec::new();
        for unit in batch {
            let first = records.len();
            if let Some(snapshot) = &unit.snapshot {
                let id = SnapshotId::of(snapshot);
                records.push(Record::Snapshot { id, replaces_log: self.view.is_replaced_by(id) });
            }
            for record in &records[first..] {
                self.view.apply(record)?;
            }
            let first = records.len();
            if !unit.entries.is_empty() {
                records.push(Record::Entries(Cow::Borrowed(&unit.entries)));
            }
            if let Some(to) = unit.compact_to.filter(|&to| to > self.view.compacted) {
                records.push(Record::Compacted(to));
            }
            for record in &records[first..] {
                self.view.apply(record)?;
            }
        }
        let newest = batch.iter().rev().find_map(|unit| unit.hard_state);
        if let Some(hard_state) = newest.or(self.hint) {
            records.push(Record::HardState(hard_state));
            self.view.hard_state = hard_state;
        }
        Ok(records)
    }
}
