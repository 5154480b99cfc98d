//! Changes of who votes, one node at a time.

use super::{Consensus, ProposeError};
use crate::log::Membership;
use ::raft::StateRole;
use ::raft::eraftpb::{ConfChange, ConfChangeType};
use serde::{Deserialize, Serialize};
use tenure_core::NodeId;

/// One step of a membership change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MembershipChange {
    /// A new node receives the log without a vote. Every node starts so.
    AddLearner(NodeId),
    /// A learner gets a vote. Whether it has caught up is for the caller to see to.
    AddVoter(NodeId),
    /// A voter becomes a learner, which may get a vote again.
    DropVote(NodeId),
    /// A learner or voter leaves. Its id must never come back.
    Remove(NodeId),
}

impl MembershipChange {
    /// The membership after this change, or none when the change makes no sense: a node added
    /// twice, a voter made a learner, a vote for a node that is no learner, the last voter
    /// removed. Every node comes to the same answer from the same membership.
    pub(crate) fn apply_to(self, membership: &Membership) -> Option<Membership> {
        let Membership { mut voters, mut learners } = membership.clone();
        match self {
            Self::AddLearner(id) => {
                if voters.contains(&id) || learners.contains(&id) {
                    return None;
                }
                learners.push(id);
            }
            Self::AddVoter(id) => {
                learners.remove(learners.iter().position(|learner| *learner == id)?);
                voters.push(id);
            }
            Self::DropVote(id) => {
                voters.remove(voters.iter().position(|voter| *voter == id)?);
                learners.push(id);
            }
            Self::Remove(id) => {
                if !voters.contains(&id) && !learners.contains(&id) {
                    return None;
                }
                voters.retain(|voter| *voter != id);
                learners.retain(|learner| *learner != id);
            }
        }
        voters.sort_unstable();
        learners.sort_unstable();
        (!voters.is_empty()).then_some(Membership { voters, learners })
    }

    fn to_library(self) -> ConfChange {
        let (kind, id) = match self {
            // Said of a voter, it takes its vote.
            Self::AddLearner(id) | Self::DropVote(id) => (ConfChangeType::AddLearnerNode, id),
            Self::AddVoter(id) => (ConfChangeType::AddNode, id),
            Self::Remove(id) => (ConfChangeType::RemoveNode, id),
        };
        let mut change = ConfChange::default();
        change.set_change_type(kind);
        change.node_id = id.get();
        change
    }
}

impl Consensus {
    /// Proposes a membership change, one at a time. `data` is the caller's encoding of it, which
    /// comes back in the committed entry; the library's own encoding stays in this process, and
    /// only the call that made it reads it.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`]; and when a change is under way or this one makes no sense.
    pub(crate) fn propose_membership(
        &mut self,
        change: MembershipChange,
        data: Vec<u8>,
    ) -> Result<(u64, u64), ProposeError> {
        self.may_propose()?;
        if self.has_pending_membership() {
            return Err(ProposeError::ChangePending);
        }
        if change.apply_to(&self.membership()).is_none() {
            return Err(ProposeError::ChangeRefused);
        }
        let outcome = self.node.propose_conf_change(data, change.to_library());
        self.proposed(outcome)
    }

    /// Puts a committed membership change into force; `None` when the state machine refuses it.
    /// To be called in its place among the committed entries, before [`Consensus::applied_to`] goes
    /// past it. Returns the membership from now on: unchanged if the change makes no sense by
    /// now, which all nodes see alike.
    ///
    /// A leader that removes itself or drops its own vote hands over to the best follower and
    /// steps down.
    pub(crate) fn apply_membership(&mut self, change: Option<MembershipChange>) -> Membership {
        let before = self.membership();
        let Some(change) = change.filter(|change| change.apply_to(&before).is_some()) else {
            return before;
        };
        if self.node.apply_conf_change(&change.to_library()).is_err() {
            // `apply_to` refuses everything that the library refuses.
            debug_assert!(false, "the library refused {change:?} in {before:?}");
            return before;
        }
        self.membership_ahead = true;
        let raft = &mut self.node.raft;
        let alone = raft.prs().is_singleton();
        match raft.state {
            // The library lets a removed leader go on, and panics at its next commit.
            StateRole::Leader if !raft.promotable() => self.hand_over(),
            // Its campaign counted other votes; a lone voter starts over, see `may_campaign`.
            StateRole::Candidate | StateRole::PreCandidate if alone || !raft.promotable() => {
                raft.become_follower(raft.term, ::raft::INVALID_ID);
            }
            _ => {}
        }
        self.settle();
        self.membership()
    }

    fn hand_over(&mut self) {
        let heir = self.heir(|_| true);
        let raft = &mut self.node.raft;
        if let Some(heir) = heir {
            raft.send_timeout_now(heir.get());
        }
        raft.become_follower(raft.term, ::raft::INVALID_ID);
    }
}
