//! What a candidacy says of itself where a store keeps it.

use serde::{Deserialize, Serialize};

use super::Bid;
use crate::{CandidateId, Incarnation, Leader, SessionId, Token, Value, WallTime, timing::Ttl};

/// A bid as a store keeps it, under whatever key or path: stores that know only bytes keep this
/// as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    id: CandidateId,
    value: Value,
    ttl_ms: Ttl,
    process: u64,
    session: u32,
    /// When it began to contend, by its own wall clock, in microseconds since 1970; for a store
    /// that does not keep the time itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_us: Option<WallTime>,
}

impl Record {
    /// Of this bid; `since` where the store does not say when a record was made.
    #[must_use]
    pub fn of(bid: &Bid, since: Option<WallTime>) -> Self {
        Self {
            id: bid.candidate.clone(),
            value: bid.value.clone(),
            ttl_ms: bid.ttl,
            process: bid.session.process.get(),
            session: bid.session.number,
            since_us: since,
        }
    }

    /// Whether it says what this bid says, whenever that began.
    #[must_use]
    pub fn is_of(&self, bid: &Bid) -> bool {
        *self == Self::of(bid, self.since_us)
    }

    /// Whose it is.
    #[must_use]
    pub fn session(&self) -> SessionId {
        let process = Incarnation::from_random(self.process);
        SessionId { process, number: self.session }
    }

    /// What observers are told once it leads; `made` is what the store says about when it was
    /// made, for a record that does not say so itself.
    #[must_use]
    pub fn leader(self, token: Token, made: WallTime) -> Leader {
        let Self { id, value, ttl_ms, since_us, .. } = self;
        Leader { id, value, token, ttl: ttl_ms, since: since_us.unwrap_or(made) }
    }
}
