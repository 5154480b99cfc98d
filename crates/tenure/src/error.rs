//! What can go wrong, and what became of the lease.

use core::time::Duration;
use tenure_core::{
    NameError,
    backend::{ConnectError, StoreError},
    ledger::Refusal,
    timing::{TtlError, adaptive::TtlRangeError},
};
#[cfg(feature = "quorum")]
use tenure_quorum::client::{ClientError, Fate};

use crate::Lost;

/// What can go wrong. Each variant says what became of the lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name or value that cannot be used. Nothing was sent.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A lease length that cannot be used. Nothing was sent.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// Bounds of a lease that are the wrong way round. Nothing was sent.
    #[error(transparent)]
    TtlRange(#[from] TtlRangeError),
    /// A lease that adapts, at a store that keeps leases of one length. Nothing was changed.
    #[error(
        "{store} keeps leases of one length: give one ttl; a lease that adapts takes a quorum of \
         Tenure nodes (tenure://...)"
    )]
    FixedTtl {
        /// The store.
        store: String,
    },
    /// The store refused. No lease is held.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A lease that this store cannot keep. Nothing was sent.
    #[error("{store} cannot keep a lease of {given:?}: the shortest is {shortest:?}")]
    TtlTooShort {
        /// The store.
        store: String,
        /// What was asked for.
        given: Duration,
        /// What would work.
        shortest: Duration,
    },
    /// A number of partitions that cannot be shared. Nothing was sent.
    #[error("{given} partitions cannot be shared: 1 to {most} can")]
    Partitions {
        /// What was asked for.
        given: u32,
        /// The most.
        most: u32,
    },
    /// The store cannot be used or reached. No lease is held.
    #[error(transparent)]
    Store(#[from] ConnectError),
    /// The quorum could not be asked. Leases that were held last until their own deadline.
    #[cfg(feature = "quorum")]
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Leadership was lost while its work ran.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// It is not known whether a slot is recorded. Leases last until their own deadline.
    #[error("it is not known whether the slot is recorded: {0}")]
    Slot(StoreError),
    /// The campaign is over: it was withdrawn or resigned. No lease is held.
    #[error("the campaign is over")]
    Left,
    /// The system gave no thread or no random number. Nothing was sent.
    #[error("leases cannot be kept, the system refuses what that takes: {0}")]
    Thread(std::io::Error),
    /// The elector was closed. No lease is held.
    #[error("the elector is closed")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            #[cfg(feature = "quorum")]
            Self::Client(ClientError::Url { .. } | ClientError::NoEndpoint) => false,
            Self::Slot(error) => matches!(error, StoreError::Unavailable { .. }),
            Self::Store(error) => matches!(error, ConnectError::Unavailable { .. }),
            #[cfg(feature = "quorum")]
            Self::Client(error) => error.fate() != Fate::Refused,
            Self::Refused(refusal) => matches!(
                refusal,
                Refusal::DuplicateCandidate { .. } | Refusal::Banned { .. } | Refusal::Limit { .. }
            ),
            Self::Name(_)
            | Self::Partitions { .. }
            | Self::Ttl(_)
            | Self::TtlRange(_)
            | Self::FixedTtl { .. }
            | Self::TtlTooShort { .. }
            | Self::Lost(_)
            | Self::Left
            | Self::Thread(_)
            | Self::Closed => false,
        }
    }
}
