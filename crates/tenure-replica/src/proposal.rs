//! What the log carries.

use serde::{Deserialize, Serialize};
use tenure_core::{
    NodeId, NodeName, RequestId, WallTime, Zone,
    ledger::{Command, MemberChange},
};

/// A command on its way into the log, with the wall time of the node that proposed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Names it, so that it can be sent again; the Raft leader's own proposals have none.
    pub request: Option<RequestId>,
    /// The proposer's wall clock.
    pub at: WallTime,
    /// The command.
    pub command: Command,
}

/// A change of the nodes that somebody wishes. The Raft leader turns it into a
/// [`MemberChange`] when its turn comes: one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberWish {
    /// A new node asks to join.
    Add {
        /// Its name.
        name: NodeName,
        /// Where the other nodes reach it.
        address: String,
        /// Its data directory.
        directory: u64,
        /// Where it is, if it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<Zone>,
    },
    /// An operator wants this node to vote. Without a log it is enrolled first, and asked for
    /// again; [`tenure_core::ledger::Refusal::Later`] says that it has not caught up yet.
    Vote {
        /// Its name.
        name: NodeName,
        /// The voter in whose stead; without it the Raft leader chooses, if one must give way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<NodeName>,
    },
    /// A node is to leave for good.
    Remove {
        /// Its name.
        name: NodeName,
    },
    /// A member is to receive the log.
    Enrol {
        /// The member.
        id: NodeId,
    },
    /// A learner is to vote.
    Promote {
        /// The learner.
        id: NodeId,
    },
}

/// What somebody wishes from the Raft leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// A command for the ledger.
    Command(Command),
    /// A change of the nodes.
    Member(MemberWish),
}

/// Content of a membership entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberProposal {
    pub(crate) request: Option<RequestId>,
    pub(crate) at: WallTime,
    pub(crate) change: MemberChange,
}
