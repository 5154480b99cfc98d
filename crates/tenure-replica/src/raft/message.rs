//! What Raft peers say to each other, in our own words.

use crate::log::{Entry, Snapshot};
use serde::{Deserialize, Serialize};
use tenure_core::NodeId;

/// What a [`RaftMessage`] asks or answers. Only what travels between nodes has a name here, so
/// the library's local kinds cannot arrive from the network at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessageKind {
    /// The leader's entries, possibly none.
    Append,
    /// Answer to [`MessageKind::Append`] and to [`MessageKind::Snapshot`].
    AppendResponse,
    /// A candidate asks for a vote.
    Vote,
    /// Answer to [`MessageKind::Vote`].
    VoteResponse,
    /// A node asks whether it would get a vote.
    PreVote,
    /// Answer to [`MessageKind::PreVote`].
    PreVoteResponse,
    /// The whole state, for a follower that is behind the leader's log.
    Snapshot,
    /// The leader is alive; carries the context of a read barrier.
    Heartbeat,
    /// Answer to [`MessageKind::Heartbeat`].
    HeartbeatResponse,
    /// The leader hands over: campaign at once.
    TimeoutNow,
}

impl MessageKind {
    /// Whether only the leader of the message's term sends this.
    pub(crate) fn is_leaders(self) -> bool {
        matches!(self, Self::Append | Self::Snapshot | Self::Heartbeat | Self::TimeoutNow)
    }
}

/// One message from one Raft peer to another. Opaque to everybody but the consensus module,
/// which checks all of it before the library sees any of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftMessage {
    pub(crate) kind: MessageKind,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// Term of the sender, or the term it campaigns for.
    pub(crate) term: u64,
    /// Term of the entry at `index`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) log_term: u64,
    /// Append: position before `entries`. Vote: end of the candidate's log. Response: position
    /// accepted or refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) index: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) entries: Vec<Entry>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) commit: u64,
    /// Term of the entry at `commit`, in votes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) commit_term: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Box<Snapshot>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) reject: bool,
    /// Where the refusing follower suggests to go on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) reject_hint: u64,
    /// Heartbeats: the read barrier asked for. Votes: whether the leader itself handed over.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub(crate) context: Vec<u8>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl RaftMessage {
    /// Who wrote it. A relay does not change this.
    #[must_use]
    pub fn from(&self) -> NodeId {
        self.from
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        self.to
    }
}
