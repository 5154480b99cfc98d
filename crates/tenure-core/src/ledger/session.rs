//! Open sessions.

use alloc::collections::{BTreeSet, VecDeque};
use serde::{Deserialize, Serialize};

use super::answered::Answered;
use crate::{ElectionName, Revision, SessionId, timing::Ttl};

/// One process's liveness relation with the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub(super) ttl: Ttl,
    /// Number of the last change of the length; older data has none.
    #[serde(default)]
    pub(super) retimed: u32,
    pub(super) opened: Revision,
    /// Elections it leads or waits for.
    pub(super) elections: BTreeSet<ElectionName>,
    /// Revision at which it last joined one.
    #[serde(default)]
    pub(super) joined: Revision,
    pub(super) answered: Answered,
}

impl Session {
    pub(super) fn new(ttl: Ttl, opened: Revision) -> Self {
        Self {
            ttl,
            retimed: 0,
            opened,
            elections: BTreeSet::new(),
            joined: opened,
            answered: Answered::default(),
        }
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

    /// Revision at which it last joined an election, or was opened.
    #[must_use]
    pub fn joined(&self) -> Revision {
        self.joined
    }

    /// Elections it leads or waits for.
    pub fn elections(&self) -> impl ExactSizeIterator<Item = &ElectionName> {
        self.elections.iter()
    }
}

/// Sessions that were closed lately, the latest of each process, oldest first. A delayed
/// request to open one of them must not bring it back; were one forgotten too early, it would
/// come back without anything that it held, and run out again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Retired(VecDeque<SessionId>);

impl Retired {
    const CAPACITY: usize = 1024;

    pub(super) fn push(&mut self, closed: SessionId) {
        if self.covers(closed) {
            return;
        }
        self.0.retain(|known| known.process != closed.process);
        if self.0.len() >= Self::CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(closed);
    }

    /// Whether this session, or a later one of its process, was closed.
    pub(super) fn covers(&self, session: SessionId) -> bool {
        let same = self.0.iter().rev().find(|known| known.process == session.process);
        same.is_some_and(|known| known.number >= session.number)
    }
}

/// Sessions as a list: not every format can write a map whose keys are no text.
pub(super) mod as_list {
    use alloc::{collections::BTreeMap, vec::Vec};
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Session;
    use crate::SessionId;

    pub(in crate::ledger) fn serialize<S: Serializer>(
        sessions: &BTreeMap<SessionId, Session>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(sessions)
    }

    pub(in crate::ledger) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SessionId, Session>, D::Error> {
        Ok(Vec::<(SessionId, Session)>::deserialize(deserializer)?.into_iter().collect())
    }
}
