//! What the log says so far, without the content of the entries: enough to refuse a request
//! that cannot be right and to start a new file.

use std::collections::VecDeque;

use tenure_replica::{Entry, HardState};

use super::record::{Head, Record, SnapshotId};

/// The effect of all batches so far.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotId>,
    /// Entries up to here are gone.
    pub(super) compacted: u64,
    /// Index before the first entry of `terms`. Above `compacted` only while the log is read
    /// at start and the entries between stand in files that may be gone.
    pub(super) base: u64,
    terms: VecDeque<u64>,
}

impl View {
    pub(super) fn from_head(head: &Head) -> Self {
        Self {
            hard_state: head.hard_state,
            snapshot: head.snapshot,
            compacted: head.compacted,
            base: head.last,
            terms: VecDeque::new(),
        }
    }

    pub(super) fn head(&self, directory: u64, segment: u64) -> Head {
        Head {
            directory,
            segment,
            hard_state: self.hard_state,
            snapshot: self.snapshot,
            compacted: self.compacted,
            last: self.last(),
        }
    }

    /// Index of the last entry, or of the snapshot when no entry follows it.
    pub(super) fn last(&self) -> u64 {
        self.base + self.terms.len() as u64
    }

    /// Whether the entries do not lead to a snapshot, so that it takes their place: they end
    /// before it, or were never committed.
    pub(super) fn is_replaced_by(&self, snapshot: SnapshotId) -> bool {
        if snapshot.index > self.last() {
            return true;
        }
        let held = snapshot.index.checked_sub(self.base + 1);
        let term = held.and_then(|at| self.terms.get(usize::try_from(at).ok()?));
        term.is_some_and(|&term| term != snapshot.term)
    }

    /// Takes one record in.
    ///
    /// # Errors
    /// A reason in words when no right replica can ask for this; the view is then of no use.
    pub(super) fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        match record {
            Record::Head(_) => return Err("a head inside a file".to_owned()),
            Record::HardState(hard_state) => self.hard_state = *hard_state,
            Record::Snapshot { id, replaces_log } => self.take_snapshot(*id, *replaces_log)?,
            Record::Entries(entries) => self.append(entries)?,
            Record::Compacted(to) => self.compact(*to)?,
        }
        Ok(())
    }

    fn take_snapshot(&mut self, id: SnapshotId, replaces_log: bool) -> Result<(), String> {
        if let Some(older) = self.snapshot
            && id.index < older.index
        {
            return Err(format!("snapshot {} after snapshot {}", id.index, older.index));
        }
        self.snapshot = Some(id);
        if replaces_log {
            self.terms.clear();
            self.base = id.index;
            self.compacted = id.index;
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), String> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
        if first <= self.compacted {
            return Err(format!("entry {first} where {} is compacted away", self.compacted));
        }
        if first > self.last() + 1 {
            return Err(format!("entry {first} right after entry {}", self.last()));
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].index + 1 != pair[1].index) {
            return Err(format!("entry {} right after entry {}", pair[1].index, pair[0].index));
        }
        let kept = first.saturating_sub(self.base + 1);
        self.terms.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.base = self.base.min(first - 1);
        self.terms.extend(entries.iter().map(|entry| entry.term));
        Ok(())
    }

    fn compact(&mut self, to: u64) -> Result<(), String> {
        let held = self.snapshot.map_or(0, |snapshot| snapshot.index);
        if to > held {
            return Err(format!("compaction to {to} with a snapshot of {held}"));
        }
        self.compacted = self.compacted.max(to);
        if to > self.base {
            let gone = usize::try_from(to - self.base).unwrap_or(usize::MAX);
            self.terms.drain(..gone.min(self.terms.len()));
            self.base = to;
        }
        Ok(())
    }
}
