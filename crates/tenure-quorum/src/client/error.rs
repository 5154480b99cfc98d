//! What went wrong, and what became of the request.

use std::time::Duration;

use crate::wire::{Rejected, Reply};

/// What became of a request that was not answered as hoped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It never left this process; nothing was changed.
    NotSent,
    /// It was sent and may have been carried out, or may still be.
    Unknown,
    /// It was answered with a no; nothing was changed.
    Refused,
}

/// Why a client has no answer. [`ClientError::fate`] says what became of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used. Nothing was sent.
    #[error("cannot use {url:?}: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong, with an example.
        why: String,
    },
    /// There is no endpoint to connect to. Nothing was sent.
    #[error("no endpoint is given: name at least one node of the quorum")]
    NoEndpoint,
    /// No node could be reached in time. Nothing was sent.
    #[error("no node of the quorum could be reached within {within:?} ({why})")]
    Unreachable {
        /// For how long it was tried.
        within: Duration,
        /// What was tried last at each endpoint, in words.
        why: String,
    },
    /// The node at this endpoint does not serve this client. Nothing was sent.
    #[error("{endpoint} refuses this client: {why}")]
    Rejected {
        /// The endpoint.
        endpoint: String,
        /// Why.
        why: Rejected,
    },
    /// The node does not take the request from this client. Nothing was changed.
    #[error("refused: {why}")]
    Refused {
        /// Why, in words.
        why: String,
    },
    /// No quorum answered in time. What was asked changes nothing.
    #[error("no quorum answered: {why}")]
    Unavailable {
        /// Why, in words.
        why: String,
    },
    /// The request was sent and not answered within the time allowed: it may have been carried
    /// out, or may still be. Look, or ask again under the same request id.
    #[error("the outcome is unknown: no answer within {within:?} ({why})")]
    Unknown {
        /// The time allowed.
        within: Duration,
        /// What happened last, in words.
        why: String,
    },
    /// Too much waits to be sent to the node. This was not sent.
    #[error("not sent: too much waits to be sent already")]
    Busy,
    /// The answer is not one to the question: the two ends disagree about the protocol.
    #[error("the answer does not fit the question: {reply}")]
    Unexpected {
        /// The answer.
        reply: String,
    },
    /// The client's task has ended with its runtime; what was under way is unknown.
    #[error("the client has stopped")]
    Stopped,
}

impl ClientError {
    /// What became of the request.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Url { .. }
            | Self::NoEndpoint
            | Self::Unreachable { .. }
            | Self::Rejected { .. }
            | Self::Busy => Fate::NotSent,
            Self::Refused { .. } => Fate::Refused,
            Self::Unavailable { .. }
            | Self::Unknown { .. }
            | Self::Unexpected { .. }
            | Self::Stopped => Fate::Unknown,
        }
    }

    /// An answer that does not fit its question.
    #[must_use]
    pub fn unexpected(reply: &Reply) -> Self {
        Self::Unexpected { reply: format!("{reply:?}") }
    }
}
