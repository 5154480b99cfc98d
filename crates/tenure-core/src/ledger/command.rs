//! What can be asked of a ledger.

use core::time::Duration;
use serde::{Deserialize, Serialize};

use super::MemberChange;
use crate::{CandidateId, ElectionName, SessionId, Token, Value, WallTime, timing::Ttl};

/// How a candidate stands in the order of succession: eligible first, then priority, then
/// rank, then arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it may be granted the election at all, for example while its replica lags.
    pub eligible: bool,
    /// Higher is preferred.
    pub priority: i32,
    /// Higher is preferred among equal priorities, for example a replication position.
    pub rank: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Self { eligible: true, priority: 0, rank: 0 }
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// Its process said so, after its work had stopped.
    Closed,
    /// Its lease ran out.
    Expired {
        /// For how long nothing was heard from it.
        silent: Duration,
    },
    /// Its process was seen dead by a witness that held its pidfd.
    Died {
        /// When the witness saw it.
        observed: WallTime,
    },
}

/// One request to the ledger. Every command says who asks and for which token, so that it can
/// be repeated, and so that a late one cannot hit the next tenure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Opens a session under an id that its process chose.
    OpenSession {
        /// The new session.
        session: SessionId,
        /// Length of its lease.
        ttl: Ttl,
        /// An older session of the same process under which nothing runs any more: it is
        /// closed by the same command, so a process that lost its session need not wait for
        /// its own lease to run out.
        supersedes: Option<SessionId>,
    },
    /// Changes the length of a session's lease. To lengthen it, the holder asks first and counts
    /// with it afterwards; to shorten it, the holder stops counting with the longer one first.
    Retime {
        /// The session.
        session: SessionId,
        /// The new length of its lease.
        ttl: Ttl,
        /// Counts the session's changes from 1: one that comes late, after a later one, changes
        /// nothing.
        number: u32,
    },
    /// Ends a session and everything it holds or waits for.
    CloseSession {
        /// The session that ends.
        session: SessionId,
        /// Why.
        reason: SessionEnd,
    },
    /// Starts to contend. Under a later session of the same process it takes the place of the
    /// older one, and says that nothing runs under a tenure of that one any more.
    Campaign {
        /// The candidate's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// The name under which it contends.
        candidate: CandidateId,
        /// What observers are told about it.
        value: Value,
        /// Its place in the order of succession.
        standing: Standing,
    },
    /// Stops contending without leading.
    Withdraw {
        /// The candidate's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
    },
    /// Changes a candidate's place in the order of succession.
    Stand {
        /// The candidate's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// Its new place.
        standing: Standing,
    },
    /// The leader gives up, its work has stopped, and it no longer contends.
    Resign {
        /// The leader's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// The tenure that ends.
        token: Token,
    },
    /// The leader hands over to a named candidate, its work has stopped, and it stays a
    /// candidate at the end of the queue.
    Transfer {
        /// The leader's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// The tenure that ends.
        token: Token,
        /// Who is next.
        to: CandidateId,
    },
    /// Asks the leader to hand over; it leads on until it yields.
    Reserve {
        /// The contest.
        election: ElectionName,
        /// Who is next; without a name, the first in the order of succession.
        to: Option<CandidateId>,
        /// Only if this tenure still lasts.
        if_token: Option<Token>,
    },
    /// A candidate that waits asks the leader to hand over to it, if its priority is higher and
    /// nobody has asked before.
    Preempt {
        /// The contest.
        election: ElectionName,
        /// Who asks.
        candidate: CandidateId,
    },
    /// Takes a [`Command::Reserve`] back.
    CancelReserve {
        /// The contest.
        election: ElectionName,
    },
    /// The leader answers a [`Command::Reserve`] or an eviction: its work has stopped. It stays
    /// a candidate at the end of the queue, unless it was evicted.
    Yield {
        /// The leader's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// The tenure that ends.
        token: Token,
    },
    /// Revokes the present tenure. The successor is granted once the leader has yielded, died,
    /// or can no longer believe in its lease ([`Command::FinishEviction`]).
    Evict {
        /// The contest.
        election: ElectionName,
        /// Only if this tenure still lasts.
        if_token: Option<Token>,
        /// For how long the evicted candidate may not contend.
        ban: Option<Duration>,
    },
    /// The keeper of the clocks says that the evicted leader can no longer believe.
    FinishEviction {
        /// The contest.
        election: ElectionName,
        /// The revoked tenure.
        token: Token,
    },
    /// The keeper of the clocks says that a ban is over.
    LiftBan {
        /// The contest.
        election: ElectionName,
        /// Who may contend again.
        candidate: CandidateId,
    },
    /// No new leader is granted until [`Command::Resume`]; the present one stays.
    Pause {
        /// The contest.
        election: ElectionName,
    },
    /// Ends a [`Command::Pause`].
    Resume {
        /// The contest.
        election: ElectionName,
    },
    /// The leader changes what observers are told about it.
    Proclaim {
        /// The leader's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
        /// Its tenure.
        token: Token,
        /// The new value.
        value: Value,
    },
    /// Takes a slot of the election's work for the present leader: it is recorded unless the
    /// same or a later one is, and is answered with what is recorded then.
    Take {
        /// The contest.
        election: ElectionName,
        /// The tenure that takes it.
        token: Token,
        /// The slot; a later one is higher in the order of its bytes.
        slot: Value,
    },
    /// Changes the nodes of the cluster.
    Member(MemberChange),
}

impl Command {
    /// The session that speaks, when one does.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::OpenSession { session, .. }
            | Self::Retime { session, .. }
            | Self::CloseSession { session, .. }
            | Self::Campaign { session, .. }
            | Self::Withdraw { session, .. }
            | Self::Stand { session, .. }
            | Self::Resign { session, .. }
            | Self::Transfer { session, .. }
            | Self::Yield { session, .. }
            | Self::Proclaim { session, .. } => Some(*session),
            Self::Reserve { .. }
            | Self::Preempt { .. }
            | Self::CancelReserve { .. }
            | Self::Evict { .. }
            | Self::FinishEviction { .. }
            | Self::LiftBan { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Take { .. }
            | Self::Member(_) => None,
        }
    }

    /// Whether only the keeper of the clocks may propose it, never a client.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(
            self,
            Self::FinishEviction { .. }
                | Self::LiftBan { .. }
                | Self::Member(_)
                | Self::CloseSession {
                    reason: SessionEnd::Expired { .. } | SessionEnd::Died { .. },
                    ..
                }
        )
    }
}
