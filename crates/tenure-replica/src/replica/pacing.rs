//! The pulse of the quorum at work: what is measured, what is told, what is in force.

use core::time::Duration;
use tenure_core::{Moment, NodeId};

use super::{Now, Replica};
use crate::{RaftRole, pulse::Part, raft::Standing};

impl Replica {
    /// Length of the Raft library's tick as it is now: its heartbeats and time-outs are fixed
    /// numbers of ticks.
    pub(super) fn tick(&self) -> Duration {
        self.pulse.scaled(self.config.tick(), self.leading.is_some())
    }

    /// Brings what is in force up to date, and tells the other voters.
    pub(super) fn follow_pulse(&mut self, now: Now) {
        if !self.pulse.adapts() {
            return;
        }
        let told = |id| self.mesh.patience_of(id, now.moment);
        let part = match self.leading {
            Some(_) => Part::Leads(self.voters.iter().filter_map(|id| told(*id)).min()),
            None => self.leader().map_or(Part::Seeks, |leader| Part::Follows(told(leader))),
        };
        self.pulse.settle(part);
        self.mesh.set_patience(self.pulse.timeout());
    }

    /// A message of the Raft library came: from its leader, a sign of life.
    pub(super) fn note_sign(&mut self, from: NodeId, now: Moment) {
        if self.pulse.adapts() && self.leader() == Some(from) {
            let keeps = self.mesh.patience_of(from, now);
            self.pulse.heard_leader(from, keeps, now);
        }
    }

    /// The clock of the Raft library has ticked: perhaps the leader was silent for too long.
    pub(super) fn note_silence(&mut self, now: Moment) {
        let Standing { role, .. } = self.consensus.standing();
        let before = self.standing;
        let missed = before.role == RaftRole::Follower
            && matches!(role, RaftRole::PreCandidate | RaftRole::Candidate);
        if let Some(leader) = before.leader.filter(|_| missed) {
            self.pulse.missed(leader, now);
        }
    }
}
