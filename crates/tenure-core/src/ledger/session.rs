//! Open sessions.

use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

use super::answered::Answered;
use crate::{ElectionName, Revision, timing::Ttl};

/// One process's liveness relation with the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub(super) ttl: Ttl,
    pub(super) opened: Revision,
    /// Elections it leads or waits for.
    pub(super) elections: BTreeSet<ElectionName>,
    pub(super) answered: Answered,
}

impl Session {
    pub(super) fn new(ttl: Ttl, opened: Revision) -> Self {
        Self { ttl, opened, elections: BTreeSet::new(), answered: Answered::default() }
    }

    /// Length of its lease.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Revision at which it was opened.
    #[must_use]
    pub fn opened(&self) -> Revision {
        self.opened
    }

    /// Elections it leads or waits for.
    pub fn elections(&self) -> impl ExactSizeIterator<Item = &ElectionName> {
        self.elections.iter()
    }
}
