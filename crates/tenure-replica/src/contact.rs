//! How fresh a node's knowledge is: how long ago it last knew that a quorum stood behind what
//! it shows.

use std::collections::BTreeMap;

use core::time::Duration;
use tenure_core::{Moment, NodeId};

/// When this node last heard from whom, and what the Raft leader said about its own quorum.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    heard: BTreeMap<NodeId, Moment>,
    /// When a quorum last stood behind what this node shows, as far as it was told.
    followed: Option<Moment>,
    /// A word that goes beyond what is applied here, with the index that it takes. Later ones
    /// are passed over until it counts: under load there is always a later one.
    ahead: Option<(u64, Moment)>,
}

impl Contact {
    /// Anything came from this node, directly or relayed.
    pub(crate) fn heard(&mut self, from: NodeId, now: Moment) {
        self.heard.insert(from, now);
    }

    /// A quorum stood behind the Raft leader at this moment, and the log was committed up to
    /// here. It counts when that much is applied by this node.
    pub(crate) fn stood(&mut self, at: Moment, committed: u64) {
        self.ahead.get_or_insert((committed, at));
    }

    /// This node has applied the log up to here.
    pub(crate) fn applied(&mut self, index: u64) {
        if let Some((_, at)) = self.ahead.take_if(|(committed, _)| *committed <= index) {
            self.followed = self.followed.max(Some(at));
        }
    }

    /// Whether this node must apply more before it knows anything newer.
    pub(crate) fn is_behind(&self) -> bool {
        self.ahead.is_some()
    }

    pub(crate) fn heard_within(&self, id: NodeId, limit: Duration, now: Moment) -> bool {
        self.heard.get(&id).is_some_and(|at| now.since(*at) <= limit)
    }

    /// For the Raft leader: when it last had heard from enough voters to be a quorum with them.
    pub(crate) fn as_leader(&self, me: NodeId, voters: &[NodeId], now: Moment) -> Option<Moment> {
        let mut heard: Vec<Option<Moment>> = voters
            .iter()
            .map(|voter| if *voter == me { Some(now) } else { self.heard.get(voter).copied() })
            .collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        heard.get(voters.len() / 2).copied().flatten()
    }

    /// For everybody else: the latest such moment that counts.
    pub(crate) fn as_follower(&self) -> Option<Moment> {
        self.followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_word_counts_when_what_it_speaks_of_is_applied() {
        let mut contact = Contact::default();
        contact.stood(at(9), 7);
        contact.applied(6);
        assert_eq!((contact.as_follower(), contact.is_behind()), (None, true));
        contact.stood(at(19), 9);
        contact.applied(7);
        assert_eq!((contact.as_follower(), contact.is_behind()), (Some(at(9)), false));
        contact.stood(at(29), 9);
        contact.applied(9);
        assert_eq!(contact.as_follower(), Some(at(29)));
    }
}
