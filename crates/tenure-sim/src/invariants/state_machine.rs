//! All nodes apply the same changes in the same order and come to the same state. Source: Raft,
//! ATC 2014, figure 3 (state machine safety); checksums as in T. Chandra et al., "Paxos Made
//! Live", PODC 2007.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{
    NodeId,
    ledger::{Event, EventKind},
};

use super::Verdict;
use crate::{trace::hash_bytes, world::Node};

const NAME: &str = "state_machine_safety";
/// The whole state is compared at indices that are multiples of this.
const EVERY: u64 = 8;

#[derive(Debug, Default)]
pub(crate) struct StateMachine {
    pub(super) verdict: Verdict,
    /// Changes by their number less one.
    changes: Vec<Event>,
    states: BTreeMap<u64, u64>,
    looked_at: BTreeMap<NodeId, u64>,
    removed: BTreeSet<NodeId>,
}

impl StateMachine {
    pub(super) fn latest(&self) -> u64 {
        self.changes.len() as u64
    }

    pub(super) fn was_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// A node applied a change. True when nobody did before.
    pub(super) fn change(&mut self, now: u64, id: NodeId, change: &Event) -> bool {
        let number = change.revision.get();
        match self.changes.get(usize::try_from(number - 1).unwrap_or(usize::MAX)) {
            Some(known) if known == change => false,
            Some(known) => {
                let why = format!("change {number} is {known:?}, but at node {id} {change:?}");
                self.verdict.broken(NAME, now, why);
                false
            }
            None if number == self.latest() + 1 => {
                if let EventKind::MemberRemoved { id, .. } = change.kind {
                    self.removed.insert(id);
                }
                self.changes.push(change.clone());
                true
            }
            None => {
                let why = format!("node {id} applied change {number} after {}", self.latest());
                self.verdict.broken(NAME, now, why);
                false
            }
        }
    }

    /// A node has applied up to here.
    pub(super) fn applied(&mut self, now: u64, node: &Node, index: u64) {
        let last = self.looked_at.insert(node.id, index);
        if index.is_multiple_of(EVERY) && last != Some(index) {
            self.look(now, node);
        }
    }

    /// Compares the whole state.
    pub(super) fn look(&mut self, now: u64, node: &Node) {
        let Some(replica) = &node.replica else { return };
        let index = replica.position().applied;
        let state = hash_bytes(&tenure_replica::encode(replica.ledger()));
        let known = *self.states.entry(index).or_insert(state);
        // A node that joins has no state before its first snapshot.
        if known != state && index > 0 {
            let why = format!("node {} has another state at index {index} than others", node.id);
            self.verdict.broken(NAME, now, why);
        }
    }
}
