//! Hints that the keeper has not fetched yet.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tenure_core::{ElectionName, SessionId, backend::Change};
use tokio::sync::Notify;

/// Bounded by the number of elections that are followed and sessions that are open: a hint
/// that is there already is not kept twice.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    elections: BTreeSet<ElectionName>,
    gone: BTreeSet<SessionId>,
}

impl Hints {
    pub(crate) fn changed(&self, election: ElectionName) {
        self.with(|pending| pending.elections.insert(election));
        self.news.notify_one();
    }

    pub(crate) fn gone(&self, session: SessionId) {
        self.with(|pending| pending.gone.insert(session));
        self.news.notify_one();
    }

    /// Cancel safety: safe, nothing is taken before there is something to give.
    pub(crate) async fn next(&self) -> Change {
        loop {
            let change = self.with(|pending| {
                if let Some(session) = pending.gone.pop_first() {
                    return Some(Change::Gone(session));
                }
                let elections = core::mem::take(&mut pending.elections);
                let some = !elections.is_empty();
                some.then(|| Change::Elections(elections.into_iter().collect()))
            });
            match change {
                Some(change) => return change,
                None => self.news.notified().await,
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pending) -> T) -> T {
        work(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
