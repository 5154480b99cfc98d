//! What a replica tells about itself, and how fresh that is.

use core::time::Duration;
use tenure_core::{Moment, NodeId};

use super::Replica;
use crate::{PeerStatus, Position, Status, raft::Standing};

impl Replica {
    /// How long ago a quorum last stood behind what [`Replica::ledger`] shows; none when this
    /// node never knew.
    #[must_use]
    pub fn contact_age(&self, now: Moment) -> Option<Duration> {
        self.contact_moment(now).map(|at| now.since(at))
    }

    /// Why this node cannot know who leads, in words.
    #[must_use]
    pub fn why_unknown(&self, now: Moment) -> String {
        let voters = &self.voters;
        let limit = self.config.election_timeout;
        let name = |id: &NodeId| match self.ledger.members().get(*id) {
            Some(member) => member.name.to_string(),
            None => format!("node {id}"),
        };
        let live =
            |id: &&NodeId| **id == self.config.id || self.contact.heard_within(**id, limit, now);
        let reachable: Vec<_> = voters.iter().filter(live).map(name).collect();
        let needed = voters.len() / 2 + 1;
        if voters.is_empty() {
            return String::from("this node has not joined a quorum yet");
        }
        if reachable.len() < needed {
            return format!(
                "no quorum: {} of {} voters reachable ({}), {needed} needed",
                reachable.len(),
                voters.len(),
                reachable.join(", "),
            );
        }
        if self.contact.is_behind() {
            return String::from("this node is still catching up with the others");
        }
        String::from("no Raft leader yet: an election is under way")
    }

    /// How far it is, without the rest of [`Replica::status`].
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            term: self.standing.term,
            committed: self.consensus.committed(),
            applied: self.consensus.applied(),
        }
    }

    /// This replica at this moment.
    #[must_use]
    pub fn status(&self, now: Moment) -> Status {
        let Standing { role, term, leader } = self.standing;
        let limit = self.config.election_timeout;
        let others = self.ledger.members().iter().filter(|(id, _)| *id != self.config.id);
        Status {
            id: self.config.id,
            role,
            term,
            leader,
            committed: self.consensus.committed(),
            applied: self.consensus.applied(),
            last_index: self.consensus.last_index(),
            contact_age: self.contact_age(now),
            election_timeout: Some(self.pulse.timeout()),
            heartbeat: self.leading.as_ref().map(|_| self.pulse.heartbeat()),
            peers: others
                .map(|(id, _)| PeerStatus {
                    id,
                    reachable: self.contact.heard_within(id, limit, now),
                    matched: self.consensus.matched(id),
                })
                .collect(),
        }
    }

    fn contact_moment(&self, now: Moment) -> Option<Moment> {
        let shows_all = self.consensus.applied() >= self.consensus.committed();
        let leads = self.quorum_moment(now).filter(|_| shows_all);
        leads.max(self.contact.as_follower())
    }

    /// When a quorum last stood behind this node as Raft leader. A new one does not know how
    /// far the log is committed until an entry of its own term is.
    pub(super) fn quorum_moment(&self, now: Moment) -> Option<Moment> {
        let leads = self.leading.is_some() && self.consensus.committed_in_term();
        leads.then(|| self.contact.as_leader(self.config.id, &self.voters, now))?
    }

    /// Remembers until when this node knew what it shows, for when it leads no more.
    pub(super) fn note_contact(&mut self, now: Moment) {
        if let Some(at) = self.quorum_moment(now) {
            self.contact.stood(at, self.consensus.committed());
        }
        self.contact.applied(self.consensus.applied());
    }
}
