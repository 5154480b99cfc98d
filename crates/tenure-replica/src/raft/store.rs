//! The log as the library reads it: a mirror in memory of what the disk has or will have.
//!
//! Entries get here when they are handed out to be persisted, not when the disk is done: the
//! library asks for that, and keeps what is only mirrored apart from what is persisted.

use super::ConsensusError;
use super::check;
use super::convert;
use crate::log::Restored;
use ::raft::eraftpb::{self, ConfState};
use ::raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

pub(super) struct Store {
    /// Read once, when the library starts.
    hard_state: eraftpb::HardState,
    /// The latest snapshot; index 0 stands for none (a node that has not joined yet).
    snapshot: eraftpb::Snapshot,
    /// Index and term of the entry before the first one kept. Never beyond the snapshot, so a
    /// follower that needs something older can always be sent the snapshot instead.
    base: (u64, u64),
    entries: VecDeque<eraftpb::Entry>,
    /// Bytes of the entries that the snapshot does not cover.
    bytes_since_snapshot: usize,
    /// The library asked for a snapshot that contains a node which ours does not know yet.
    wanted: Cell<bool>,
}

impl Store {
    /// Takes over what the disk gave back, or says what is wrong with it.
    pub(super) fn restore(restored: Restored) -> Result<Self, ConsensusError> {
        let Restored { hard_state, snapshot, mut entries } = restored;
        let corrupt = |problem| ConsensusError::Corrupt { problem };
        let (snapshot, at) = match snapshot {
            Some(snapshot) => {
                check::check_snapshot(&snapshot).map_err(corrupt)?;
                let at = (snapshot.index, snapshot.term);
                (convert::snapshot_in(snapshot), at)
            }
            None if entries.is_empty() => (eraftpb::Snapshot::default(), (0, 0)),
            None => return Err(corrupt("there are entries but no snapshot before them")),
        };
        // A snapshot from the leader replaced a log that did not contain its position (else the
        // library would have kept the log). If the disk still has that log, it must not come
        // back: its end could be of an older term than what this node has confirmed since.
        if entries.last().is_some_and(|last| last.index <= at.0)
            || entries.iter().any(|e| e.index == at.0 && e.term != at.1)
        {
            entries.clear();
        }
        let base = match entries.first() {
            Some(first) if first.index <= at.0 => {
                // Its own term is known, that of the entry before it is not.
                let first = entries.remove(0);
                (first.index, first.term)
            }
            _ => at,
        };
        check::check_run(&entries, base.0, base.1).map_err(corrupt)?;
        let last = entries.last().map_or(base, |last| (last.index, last.term));
        if hard_state.term < last.1 {
            return Err(corrupt("the log has a later term than the hard state"));
        }
        if hard_state.commit > last.0 {
            return Err(ConsensusError::LogLost { committed: hard_state.commit, last: last.0 });
        }
        let mut hard_state = convert::hard_state_in(hard_state);
        hard_state.commit = hard_state.commit.max(at.0);
        let mut store = Self {
            hard_state,
            snapshot,
            base,
            entries: entries.into_iter().map(convert::entry_in).collect(),
            bytes_since_snapshot: 0,
            wanted: Cell::new(false),
        };
        store.count_bytes();
        Ok(store)
    }

    pub(super) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(super) fn bytes_since_snapshot(&self) -> usize {
        self.bytes_since_snapshot
    }

    pub(super) fn wants_snapshot(&self) -> bool {
        self.wanted.get()
    }

    /// Appends; a first entry that is already there overwrites it and all after it.
    pub(super) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = usize::try_from(first.index - self.base.0 - 1).unwrap_or(usize::MAX);
        for dropped in self.entries.drain(keep.min(self.entries.len())..) {
            if dropped.index > self.snapshot.get_metadata().index {
                self.bytes_since_snapshot -= size(&dropped);
            }
        }
        self.bytes_since_snapshot += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Replaces everything by a snapshot from the leader, which contradicts our log or is
    /// beyond it: otherwise the library would have moved the commit index instead.
    pub(super) fn install(&mut self, snapshot: eraftpb::Snapshot) {
        self.base = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.entries.clear();
        self.snapshot = snapshot;
        self.bytes_since_snapshot = 0;
        self.wanted.set(false);
    }

    /// Index of the last entry before the tail that ends at `index`: at least so many entries, and
    /// more while all of them together have no more than so many bytes.
    pub(super) fn before_tail(&self, index: u64, entries: u64, bytes: usize) -> u64 {
        let mut first = index.saturating_sub(entries);
        if first <= self.base.0 {
            return first;
        }
        let mut kept: usize =
            self.entries.range(self.position(first + 1)..=self.position(index)).map(size).sum();
        while first > self.base.0 {
            kept += self.entries.get(self.position(first)).map_or(0, size);
            if kept > bytes {
                break;
            }
            first -= 1;
        }
        first
    }

    /// Takes a snapshot made here at an applied index and drops entries up to `compact_to`.
    pub(super) fn compact(&mut self, snapshot: eraftpb::Snapshot, compact_to: u64) {
        self.snapshot = snapshot;
        self.wanted.set(false);
        while self.base.0 < compact_to {
            let Some(first) = self.entries.pop_front() else { break };
            self.base = (first.index, first.term);
        }
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        let covered = self.snapshot_index();
        self.bytes_since_snapshot =
            self.entries.iter().filter(|e| e.index > covered).map(size).sum();
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.base.0 - 1).unwrap_or(usize::MAX)
    }
}

fn size(entry: &eraftpb::Entry) -> usize {
    entry.data.len() + entry.context.len()
}

impl Storage for Store {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        let conf: ConfState = self.snapshot.get_metadata().get_conf_state().clone();
        Ok(RaftState::new(self.hard_state.clone(), conf))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> ::raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let range = self.position(low)..self.position(high);
        let mut entries: Vec<_> = self.entries.range(range).cloned().collect();
        ::raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> ::raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        match self.entries.get(self.position(index)) {
            Some(entry) => Ok(entry.term),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> ::raft::Result<eraftpb::Snapshot> {
        let meta = self.snapshot.get_metadata();
        let conf = meta.get_conf_state();
        // A node that does not find itself in a snapshot's membership refuses it, so one that
        // was added after our latest snapshot needs a newer one.
        let contains = conf.get_voters().contains(&to) || conf.get_learners().contains(&to);
        if meta.index < request_index || !contains {
            self.wanted.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_as_long_as_asked_in_entries_and_longer_when_that_is_little() {
        let mut store = Store::restore(Restored::default()).expect("an empty disk");
        let entry = |index| eraftpb::Entry {
            index,
            term: 1,
            data: vec![0; 10].into(),
            ..eraftpb::Entry::default()
        };
        let entries: Vec<_> = (1..=100).map(entry).collect();
        store.append(&entries);
        assert_eq!(store.before_tail(90, 20, 0), 70);
        assert_eq!(store.before_tail(90, 20, 209), 70);
        assert_eq!(store.before_tail(90, 20, 210), 69);
        assert_eq!(store.before_tail(90, 20, 350), 55);
        assert_eq!(store.before_tail(90, 20, 1 << 20), 0);
        assert_eq!(store.before_tail(90, 200, 0), 0);
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.mut_metadata().index = 90;
        store.compact(snapshot, 70);
        assert_eq!((store.before_tail(95, 20, 350), store.before_tail(95, 40, 0)), (70, 55));
        assert_eq!(store.first_index(), Ok(71));
    }
}
