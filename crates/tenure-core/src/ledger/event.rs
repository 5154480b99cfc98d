//! What changed. Logs, watches, history and the live view are all fed from this one enum.

use alloc::string::String;
use core::time::Duration;
use serde::{Deserialize, Serialize};

use super::{EndReason, SessionEnd};
use crate::{
    CandidateId, ElectionName, Leader, NodeId, NodeName, Revision, SessionId, Token, Value,
    WallTime, Zone, timing::Ttl,
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the change.
    pub revision: Revision,
    /// Wall time stamped by the proposer of the command behind it.
    pub at: WallTime,
    /// What changed.
    pub kind: EventKind,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the vocabulary of the glossary
pub enum EventKind {
    /// A process began its liveness relation.
    SessionOpened { session: SessionId, ttl: Ttl },
    /// The lease of a session has another length.
    SessionRetimed { session: SessionId, ttl: Ttl },
    /// A session ended with everything it held.
    SessionClosed { session: SessionId, reason: SessionEnd },
    /// A candidate began to contend.
    CandidateJoined { election: ElectionName, candidate: CandidateId },
    /// A candidate stopped contending.
    CandidateLeft { election: ElectionName, candidate: CandidateId },
    /// A candidate's place in the order of succession changed.
    Stood { election: ElectionName, candidate: CandidateId },
    /// A tenure began.
    Elected {
        election: ElectionName,
        leader: Leader,
        session: SessionId,
        previous: Option<CandidateId>,
        reason: Option<EndReason>,
        gap: Option<Duration>,
        candidates: u32,
    },
    /// A tenure ended.
    Ended { election: ElectionName, candidate: CandidateId, token: Token, reason: EndReason },
    /// The leader was asked to hand over.
    HandoverAsked { election: ElectionName, token: Token, to: Option<CandidateId> },
    /// The leader is no longer asked to hand over.
    HandoverCancelled { election: ElectionName, token: Token },
    /// The present tenure was revoked and ends as soon as nobody can believe in it.
    Revoked { election: ElectionName, candidate: CandidateId, token: Token },
    /// A ban ended.
    BanLifted { election: ElectionName, candidate: CandidateId },
    /// The leader changed what observers are told.
    Proclaimed { election: ElectionName, token: Token, value: Value },
    /// No new leader is granted for now.
    Paused { election: ElectionName },
    /// New leaders are granted again.
    Resumed { election: ElectionName },
    /// A node joined, without a vote yet.
    MemberAdded { id: NodeId, name: NodeName, address: String },
    /// A node began to receive the log.
    MemberEnrolled { id: NodeId, name: NodeName },
    /// A node got its vote.
    MemberPromoted { id: NodeId, name: NodeName },
    /// A node gave its vote up and goes on receiving the log.
    MemberDemoted { id: NodeId, name: NodeName },
    /// A node is in another zone than before.
    MemberLocated { id: NodeId, zone: Option<Zone> },
    /// A node was removed for good.
    MemberRemoved { id: NodeId, name: NodeName },
    /// A node was first heard of with this data directory.
    MemberSeen { id: NodeId },
}

impl EventKind {
    /// The election it concerns, when it concerns one.
    #[must_use]
    pub fn election(&self) -> Option<&ElectionName> {
        match self {
            Self::CandidateJoined { election, .. }
            | Self::CandidateLeft { election, .. }
            | Self::Stood { election, .. }
            | Self::Elected { election, .. }
            | Self::Ended { election, .. }
            | Self::HandoverAsked { election, .. }
            | Self::HandoverCancelled { election, .. }
            | Self::Revoked { election, .. }
            | Self::BanLifted { election, .. }
            | Self::Proclaimed { election, .. }
            | Self::Paused { election }
            | Self::Resumed { election } => Some(election),
            Self::SessionOpened { .. }
            | Self::SessionRetimed { .. }
            | Self::SessionClosed { .. }
            | Self::MemberAdded { .. }
            | Self::MemberEnrolled { .. }
            | Self::MemberPromoted { .. }
            | Self::MemberDemoted { .. }
            | Self::MemberLocated { .. }
            | Self::MemberRemoved { .. }
            | Self::MemberSeen { .. } => None,
        }
    }

    /// Whether it concerns the nodes.
    #[must_use]
    pub fn is_about_members(&self) -> bool {
        matches!(
            self,
            Self::MemberAdded { .. }
                | Self::MemberEnrolled { .. }
                | Self::MemberPromoted { .. }
                | Self::MemberDemoted { .. }
                | Self::MemberLocated { .. }
                | Self::MemberRemoved { .. }
                | Self::MemberSeen { .. }
        )
    }

    /// Whether it changes neither who leads nor what the leader must know: observers of many
    /// candidates may hear of it a little later, together with others of its kind.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        matches!(
            self,
            Self::CandidateJoined { .. } | Self::CandidateLeft { .. } | Self::Stood { .. }
        )
    }
}
