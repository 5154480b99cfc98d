//! Hints that wait to be read: no more than there are elections, however slow the reader.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tenure_core::{ElectionName, backend::Change};
use tokio::sync::Notify;

/// More than this, and everything may have changed.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Hints {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    elections: BTreeSet<ElectionName>,
    everything: bool,
}

impl Hints {
    /// This election may have changed.
    pub(crate) fn one(&self, election: ElectionName) {
        self.add(|waiting| {
            waiting.elections.insert(election);
            waiting.everything |= waiting.elections.len() > MOST;
        });
    }

    /// Hints may have been missed.
    pub(crate) fn everything(&self) {
        self.add(|waiting| waiting.everything = true);
    }

    fn add(&self, add: impl FnOnce(&mut Waiting)) {
        add(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<Change> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { elections, everything } = core::mem::take(&mut *waiting);
        match (everything, elections.is_empty()) {
            (true, _) => Some(Change::Everything),
            (false, false) => Some(Change::Elections(elections.into_iter().collect())),
            (false, true) => None,
        }
    }

    /// The next hint. Cancel safe: what has arrived stays until it is taken.
    pub(crate) async fn next(&self) -> Change {
        loop {
            if let Some(change) = self.take() {
                return change;
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(at: usize) -> ElectionName {
        ElectionName::new(format!("e{at}")).unwrap()
    }

    #[tokio::test]
    async fn hints_are_gathered_and_bounded() {
        let hints = Hints::default();
        for at in [2, 1, 2] {
            hints.one(name(at));
        }
        assert_eq!(hints.next().await, Change::Elections(vec![name(1), name(2)]));
        for at in 0..=MOST {
            hints.one(name(at));
        }
        assert_eq!(hints.next().await, Change::Everything);
        assert_eq!(hints.take(), None);
    }
}
