//! The answer to a command.

use alloc::string::String;
use serde::{Deserialize, Serialize};

use crate::{CandidateId, ElectionName, NodeId, SessionId, Token, Value};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds now, whether this command or an earlier one brought it about.
    Done,
    /// The candidate leads with this token.
    Leading {
        /// The token of its tenure.
        token: Token,
    },
    /// The candidate waits; the first in line has position 1.
    Waiting {
        /// Place in the order of succession.
        position: u32,
    },
    /// The leader of this tenure was asked to hand over, or its tenure was revoked.
    Asked {
        /// The tenure that is to end.
        token: Token,
    },
    /// The slot that is recorded, and the tenure that took it.
    Taken {
        /// The slot.
        slot: Value,
        /// The tenure.
        token: Token,
    },
    /// The node is a member under this id.
    Member {
        /// Its id.
        id: NodeId,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The session is not open: it expired, was closed, or was never opened. Whatever it held
    /// is lost.
    #[error("session {session} is not open (it expired, was closed, or its process died)")]
    NoSession {
        /// The session named.
        session: SessionId,
    },
    /// A session of that process with the same or a higher number was open before.
    #[error("session {session} was used before: every session needs a fresh number")]
    SessionUsed {
        /// The session named.
        session: SessionId,
    },
    /// A later change of this session's lease was made before: the request was overtaken.
    #[error("the lease of session {session} was changed by a later request")]
    Overtaken {
        /// The session named.
        session: SessionId,
    },
    /// Nobody ever contended for this election.
    #[error("there is no election {election}")]
    NoElection {
        /// The election named.
        election: ElectionName,
    },
    /// The session does not contend for this election.
    #[error("this session is not a candidate of {election}")]
    NotCandidate {
        /// The election named.
        election: ElectionName,
    },
    /// The session does not hold this tenure (any more). The lease is lost.
    #[error("token {given} does not lead {election}{}", current_token(.current))]
    NotLeader {
        /// The election named.
        election: ElectionName,
        /// The token given.
        given: Token,
        /// The token of the present tenure.
        current: Option<Token>,
    },
    /// The leader tried to withdraw: it must resign, which says that its work has stopped.
    #[error("the leader of {election} must resign instead of withdrawing (token {token})")]
    Leads {
        /// The election named.
        election: ElectionName,
        /// Its tenure.
        token: Token,
    },
    /// A condition on the token did not hold.
    #[error("the condition on token {expected} does not hold{}", current_token(.current))]
    TokenChanged {
        /// The token the condition names.
        expected: Token,
        /// The token of the present tenure.
        current: Option<Token>,
    },
    /// Nobody leads.
    #[error("{election} has no leader")]
    Vacant {
        /// The election named.
        election: ElectionName,
    },
    /// Another live process contends under the same id.
    #[error("candidate {candidate} contends already, from another process (session {holder})")]
    DuplicateCandidate {
        /// The id both use.
        candidate: CandidateId,
        /// The session that has it.
        holder: SessionId,
    },
    /// The named successor does not contend, or may not lead.
    #[error("{candidate} is no eligible candidate of {election}")]
    NoSuchCandidate {
        /// The election named.
        election: ElectionName,
        /// The successor named.
        candidate: CandidateId,
    },
    /// There is nobody to hand over to.
    #[error("{election} has no other eligible candidate to hand over to")]
    NoSuccessor {
        /// The election named.
        election: ElectionName,
    },
    /// No hand-over was asked for and no eviction is under way.
    #[error("nobody asked the leader of {election} to hand over")]
    NothingReserved {
        /// The election named.
        election: ElectionName,
    },
    /// An operator evicted this candidate for a time.
    #[error("candidate {candidate} is banned from {election} by an operator for now")]
    Banned {
        /// The election named.
        election: ElectionName,
        /// Who is banned.
        candidate: CandidateId,
    },
    /// A bound of the ledger is reached.
    #[error("{what}: the limit of {max} is reached")]
    Limit {
        /// What there is too much of.
        what: String,
        /// How many are allowed.
        max: u32,
    },
    /// This store cannot do that; the embedded quorum can.
    #[error("this store does not support {what}: a tenure:// quorum does")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The change of the members cannot be made.
    #[error("{why}")]
    Member {
        /// In words.
        why: String,
    },
    /// The change of the members cannot be made yet: ask again.
    #[error("{why}")]
    Later {
        /// In words.
        why: String,
    },
}

fn current_token(current: &Option<Token>) -> String {
    match current {
        Some(token) => alloc::format!(": token {token} does"),
        None => String::from(": nobody does"),
    }
}
