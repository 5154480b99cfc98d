//! What an observer knows.

use core::time::Duration;
use serde::{Deserialize, Serialize};

use crate::{CandidateId, Revision, Token, Value, WallTime, timing::Ttl};

/// The holder of an election, as observers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Under which id it contends.
    pub id: CandidateId,
    /// What it tells observers about itself.
    pub value: Value,
    /// Its fencing token.
    pub token: Token,
    /// Length of its lease.
    pub ttl: Ttl,
    /// Wall time of the grant, for people.
    pub since: WallTime,
}

/// What an observer knows about who leads. `Unknown` is not `Vacant`: it means that nobody
/// who could say was heard recently enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// This candidate holds the election.
    Led(Leader),
    /// Nobody holds it.
    Vacant,
    /// Not known.
    Unknown,
}

impl View {
    /// The leader, when there is one.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Led(leader) => Some(leader),
            Self::Vacant | Self::Unknown => None,
        }
    }
}

/// A view with what is needed to judge it: its revision, which never goes back, and its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// What is known.
    pub view: View,
    /// Revision of the last change to this election.
    pub revision: Revision,
    /// How long ago this was last known to be the latest word of the quorum.
    pub age: Duration,
    /// Why the view is `Unknown`, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<alloc::string::String>,
}
