//! Tenures that are over.

use core::time::Duration;
use serde::{Deserialize, Serialize};

use crate::{CandidateId, Token, WallTime};

/// Why a tenure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The leader gave up.
    Resigned,
    /// The leader handed over to a candidate.
    Transferred,
    /// Its lease ran out.
    Expired,
    /// Its process was seen dead.
    Died,
    /// An operator revoked it.
    Evicted,
    /// The leader closed its session.
    Closed,
}

impl EndReason {
    /// The reason as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resigned => "resigned",
            Self::Transferred => "transferred",
            Self::Expired => "expired",
            Self::Died => "died",
            Self::Evicted => "evicted",
            Self::Closed => "closed",
        }
    }
}

/// One unbroken hold on an election, from grant to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastTenure {
    /// Who led.
    pub candidate: CandidateId,
    /// With which token.
    pub token: Token,
    /// Wall time of the grant.
    pub started: WallTime,
    /// Wall time of the end.
    pub ended: WallTime,
    /// Why it ended.
    pub reason: EndReason,
    /// For how long nobody led before it; none when nobody led before.
    pub gap: Option<Duration>,
}
