//! Hints that the keeper has not fetched yet.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tenure_core::{ElectionName, backend::Change};
use tokio::sync::Notify;

/// Bounded by the number of elections that are followed: a hint that is there already is not
/// kept twice.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    elections: BTreeSet<ElectionName>,
    everything: bool,
}

impl Hints {
    pub(crate) fn changed(&self, election: ElectionName) {
        self.with(|pending| pending.elections.insert(election));
        self.news.notify_one();
    }

    /// Hints were missed.
    pub(crate) fn everything(&self) {
        self.with(|pending| pending.everything = true);
        self.news.notify_one();
    }

    /// Cancel safety: safe, nothing is taken before there is something to give.
    pub(crate) async fn next(&self) -> Change {
        loop {
            let Pending { elections, everything } = self.with(core::mem::take);
            if everything {
                return Change::Everything;
            }
            if !elections.is_empty() {
                return Change::Elections(elections.into_iter().collect());
            }
            self.news.notified().await;
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Pending) -> T) -> T {
        work(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
