//! How fresh a node's knowledge is: how long ago it last knew that a quorum stood behind what
//! it shows.

use std::collections::BTreeMap;

use core::time::Duration;
use tenure_core::{Moment, NodeId};

/// When this node last heard from whom, and what the Raft leader said about its own quorum.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    heard: BTreeMap<NodeId, Moment>,
    /// The quorum's last word, as the Raft leader passed it on.
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

    /// The Raft leader said how old its own contact with a quorum is, and how far the log was
    /// committed then. It counts when that much is applied here.
    pub(crate) fn follow(&mut self, age: Duration, committed: u64, now: Moment) {
        self.ahead.get_or_insert((committed, now - age));
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
        heard.sort_unstable();
        heard.reverse();
        heard.get(voters.len() / 2).copied().flatten()
    }

    /// For everybody else: what the Raft leader last said.
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
        contact.follow(Duration::from_millis(1), 7, at(10));
        contact.applied(6);
        assert_eq!((contact.as_follower(), contact.is_behind()), (None, true));
        contact.follow(Duration::from_millis(1), 9, at(20));
        contact.applied(7);
        assert_eq!((contact.as_follower(), contact.is_behind()), (Some(at(9)), false));
        contact.follow(Duration::from_millis(1), 9, at(30));
        contact.applied(9);
        assert_eq!(contact.as_follower(), Some(at(29)));
    }
}
