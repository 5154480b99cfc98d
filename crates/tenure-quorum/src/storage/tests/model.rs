//! What a storage must remember, computed the obvious way.

use tenure_replica::{HardState, Persist, Restored};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    /// What a start must give back.
    pub(super) restored: Restored,
    /// What the replica knows, the commit hint included.
    pub(super) hard_state: HardState,
}

impl Model {
    pub(super) fn persist(&mut self, batch: &[Persist]) {
        for unit in batch {
            if let Some(hard_state) = unit.hard_state {
                self.hard_state = hard_state;
            }
        }
        // A hint may be lost, so it only counts once something else makes it durable.
        if batch.iter().any(|unit| unit.must_sync) {
            self.restored.hard_state = self.hard_state;
        }
        for unit in batch {
            self.take_log(unit);
        }
    }

    fn take_log(&mut self, unit: &Persist) {
        let log = &mut self.restored.entries;
        if let Some(snapshot) = &unit.snapshot {
            let at = log.iter().find(|entry| entry.index == snapshot.index);
            let older = self.restored.snapshot.as_ref().map_or(0, |older| older.index);
            if at.map_or(snapshot.index > older, |entry| entry.term != snapshot.term) {
                log.clear();
            }
            self.restored.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = unit.entries.first() {
            log.retain(|entry| entry.index < first.index);
            log.extend(unit.entries.iter().cloned());
        }
        if let Some(to) = unit.compact_to {
            log.retain(|entry| entry.index > to);
        }
    }

    pub(super) fn snapshot_index(&self) -> u64 {
        self.restored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// Index of the last entry, or of what takes its place.
    pub(super) fn last(&self) -> u64 {
        self.restored.entries.last().map_or(self.snapshot_index(), |entry| entry.index)
    }
}
