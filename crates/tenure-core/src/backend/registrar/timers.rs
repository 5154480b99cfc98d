//! When each election is to be looked after next.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{ElectionName, Moment};

/// One moment for each election, in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    of: BTreeMap<ElectionName, Moment>,
    order: BTreeSet<(Moment, ElectionName)>,
}

impl Timers {
    pub(super) fn set(&mut self, election: &ElectionName, due: Option<Moment>) {
        let old = match due {
            Some(due) => self.of.insert(election.clone(), due),
            None => self.of.remove(election),
        };
        if let Some(old) = old {
            self.order.remove(&(old, election.clone()));
        }
        if let Some(due) = due {
            self.order.insert((due, election.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<Moment> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes out what is due.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<ElectionName> {
        let mut due = Vec::new();
        while self.first().is_some_and(|first| first <= now) {
            let Some((_, election)) = self.order.pop_first() else { break };
            self.of.remove(&election);
            due.push(election);
        }
        due
    }
}
