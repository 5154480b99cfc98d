//! This process's own candidacies.

use std::collections::BTreeMap;

use tenure_core::{
    ElectionName, SessionId,
    backend::{Bid, Record},
};

/// The node of a candidacy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// Last part of its path.
    pub(crate) name: String,
    /// The change that created it.
    pub(crate) czxid: i64,
    /// When, in milliseconds since 1970 by the clock of ZooKeeper's leader.
    pub(crate) ctime: i64,
}

/// What is known of a candidacy's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// None was asked for yet.
    None,
    /// One was asked for, and the answer did not come.
    Unsure,
    /// There it is.
    There(Own),
}

/// One candidacy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) record: Record,
    pub(crate) node: Node,
}

/// All candidacies of this process.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<(ElectionName, SessionId), Claim>);

impl Claims {
    pub(crate) fn closes(&mut self, session: SessionId) {
        self.0.retain(|(_, claimant), _| *claimant != session);
    }

    /// The candidacy of a bid. What its node says may be older than the bid.
    pub(crate) fn of(&mut self, bid: &Bid) -> Claim {
        let new = || Claim { record: Record::of(bid, None), node: Node::None };
        self.0.entry((bid.election.clone(), bid.session)).or_insert_with(new).clone()
    }

    pub(crate) fn get(&self, session: SessionId, election: &ElectionName) -> Option<&Claim> {
        self.0.get(&(election.clone(), session))
    }

    pub(crate) fn set(&mut self, session: SessionId, election: &ElectionName, node: Node) {
        if let Some(claim) = self.0.get_mut(&(election.clone(), session)) {
            claim.node = node;
        }
    }

    /// The node says what the bid says.
    pub(crate) fn says(&mut self, bid: &Bid) {
        if let Some(claim) = self.0.get_mut(&(bid.election.clone(), bid.session)) {
            claim.record = Record::of(bid, None);
        }
    }

    pub(crate) fn end(&mut self, session: SessionId, election: &ElectionName) {
        self.0.remove(&(election.clone(), session));
    }

    /// Whether this process contends for an election.
    pub(crate) fn has(&self, election: &ElectionName) -> bool {
        self.0.keys().any(|(name, _)| name == election)
    }
}
