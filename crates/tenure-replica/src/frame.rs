//! What nodes say to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tenure_core::{Incarnation, NodeId, RequestId, SessionId, WallTime, Zone, ledger::Refusal};

use crate::{Wish, mesh::Rows, raft::RaftMessage};

/// One message between two nodes, possibly passed on by a third.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerFrame {
    /// Who says it.
    pub from: NodeId,
    /// Whom it is for. A node that gets a frame for another passes it on, once.
    pub to: NodeId,
    /// Whether it was passed on already.
    #[serde(default)]
    pub relayed: bool,
    /// How long ago the sender last knew itself to lead a quorum, in milliseconds; only the
    /// Raft leader says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_ms: Option<u32>,
    /// Index up to which the sender knew the log to be committed when it said so: whoever has
    /// applied less shows something older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<u64>,
    /// What is said.
    pub body: PeerBody,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerBody {
    /// A message of the Raft library.
    Raft(Box<RaftMessage>),
    /// I am here, and this is who hears whom.
    Ping(Rows),
    /// To the Raft leader: please propose these. The sender learns the outcomes by applying them.
    Wishes(Vec<NamedWish>),
    /// From the Raft leader: this wish will not be proposed.
    Declined {
        /// The wish.
        request: RequestId,
        /// Why not.
        refusal: Refusal,
    },
    /// To the Raft leader: confirm, by a quorum, that you lead, and that you count these
    /// sessions as alive from now on.
    Confirm {
        /// Names the question.
        number: u64,
        /// Sessions that were renewed.
        sessions: Vec<SessionId>,
    },
    /// From the Raft leader: a quorum confirmed after the question came.
    Confirmed {
        /// The question.
        number: u64,
        /// What was committed by then: apply this much before you pass the answer on.
        index: u64,
        /// Sessions that are not open.
        gone: Vec<SessionId>,
    },
    /// To the Raft leader: I hold proof that this process is dead.
    Dead {
        /// The process.
        process: Incarnation,
        /// When that was seen.
        observed: WallTime,
    },
    /// To the Raft leader: I carry this data directory.
    Hello {
        /// The directory.
        directory: u64,
    },
    /// To the Raft leader: these nodes without a log are connected with me.
    Members(BTreeSet<NodeId>),
    /// To the Raft leader: these nodes, the sender or members connected with it, are in other
    /// zones than the log says.
    Located(BTreeMap<NodeId, Option<Zone>>),
    /// To the Raft leader: hand the Raft leadership to this node, or to the best one.
    TransferQuorum {
        /// To whom.
        to: Option<NodeId>,
    },
}

/// A wish on its way to the Raft leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedWish {
    /// Names the wish.
    pub request: RequestId,
    /// Wall clock of the node that was asked.
    pub at: WallTime,
    /// The wish.
    pub wish: Wish,
}
