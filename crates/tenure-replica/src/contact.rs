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
}

impl Contact {
    /// Anything came from this node, directly or relayed.
    pub(crate) fn heard(&mut self, from: NodeId, now: Moment) {
        self.heard.insert(from, now);
    }

    /// The Raft leader said how old its own contact with a quorum is.
    pub(crate) fn follow(&mut self, age: Duration, now: Moment) {
        self.followed = self.followed.max(Some(now - age));
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
