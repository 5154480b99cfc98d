//! What a node's disk keeps: batches, all of one or nothing of it.

use std::collections::VecDeque;

use tenure_replica::{Entry, Persist, Restored};

/// A disk behind a thread that gathers what waits into one flush.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) durable: Restored,
    waiting: VecDeque<Persist>,
    writing: Vec<Persist>,
    pub(crate) slow: bool,
}

impl Disk {
    /// Takes work in. True when a flush must be started for it.
    pub(crate) fn write(&mut self, unit: Persist) -> bool {
        self.waiting.push_back(unit);
        self.writing.is_empty()
    }

    /// Begins to write what waits; false when nothing does. Gives whether it needs a flush.
    pub(crate) fn begin(&mut self) -> Option<bool> {
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return None;
        }
        self.writing.extend(self.waiting.drain(..));
        Some(self.writing.iter().any(|unit| unit.must_sync))
    }

    /// The flush is done. Gives the number of the last unit.
    pub(crate) fn finish(&mut self) -> Option<u64> {
        let last = self.writing.last()?.number;
        for unit in std::mem::take(&mut self.writing) {
            apply(&mut self.durable, unit);
        }
        Some(last)
    }

    /// The machine is gone. Whether the batch under way is whole on the disk is for `kept` to
    /// say; what waited behind it was never begun. Gives whether anything was at stake.
    pub(crate) fn crash(&mut self, kept: bool) -> bool {
        self.waiting.clear();
        let at_stake = !self.writing.is_empty();
        match kept {
            true => _ = self.finish(),
            false => self.writing.clear(),
        }
        at_stake
    }
}

/// What the storage does with a unit.
pub(crate) fn apply(disk: &mut Restored, unit: Persist) {
    if let Some(hard_state) = unit.hard_state {
        disk.hard_state = hard_state;
    }
    if let Some(snapshot) = unit.snapshot {
        let leads_to = |e: &Entry| e.index == snapshot.index && e.term == snapshot.term;
        let before = disk.snapshot.as_ref().is_some_and(|old| old.index == snapshot.index);
        if !before && !disk.entries.iter().any(leads_to) {
            disk.entries.clear();
        }
        disk.snapshot = Some(snapshot);
    }
    if let Some(first) = unit.entries.first() {
        let from = first.index;
        disk.entries.truncate(disk.entries.partition_point(|e| e.index < from));
        disk.entries.extend(unit.entries);
    }
    if let Some(to) = unit.compact_to {
        let kept = disk.entries.partition_point(|e| e.index <= to);
        disk.entries.drain(..kept);
    }
}
