//! Wishes of this node's clients that wait for their outcome.
//!
//! A wish is sent to whoever leads the Raft group and sent again when that changes or takes
//! long. Its outcome is learned by *applying* it here, so the client's next read at this node
//! shows what it was told. **Invariant:** a wish without an outcome is reported as unknown,
//! never as refused.

use std::collections::BTreeMap;

use tenure_core::{Moment, RequestId, WallTime};

use crate::{Wish, rounds::Waiter};

#[derive(Debug)]
struct Pending {
    waiters: Vec<Waiter>,
    at: WallTime,
    wish: Wish,
    asked: Moment,
    send_at: Moment,
}

/// Wishes by their names.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pending: BTreeMap<RequestId, Pending>,
}

/// Most wishes that may wait at one node; beyond it new ones are turned away.
const MAX_PENDING: usize = 65_536;

impl Requests {
    /// Takes a wish in. False when there is no room.
    pub(crate) fn add(
        &mut self,
        request: RequestId,
        waiter: Waiter,
        at: WallTime,
        wish: Wish,
        now: Moment,
    ) -> bool {
        if let Some(pending) = self.pending.get_mut(&request) {
            pending.waiters.push(waiter);
            pending.send_at = now;
            return true;
        }
        if self.pending.len() >= MAX_PENDING {
            return false;
        }
        let pending = Pending { waiters: vec![waiter], at, wish, asked: now, send_at: now };
        self.pending.insert(request, pending);
        true
    }

    /// Wishes to send to the Raft leader now.
    pub(crate) fn due(
        &mut self,
        now: Moment,
        again_after: core::time::Duration,
    ) -> Vec<(RequestId, WallTime, Wish)> {
        let mut due = Vec::new();
        for (request, pending) in &mut self.pending {
            if pending.send_at <= now {
                pending.send_at = now + again_after;
                due.push((*request, pending.at, pending.wish.clone()));
            }
        }
        due
    }

    /// The Raft leader has changed: everything is sent again at once.
    pub(crate) fn send_all(&mut self, now: Moment) {
        for pending in self.pending.values_mut() {
            pending.send_at = now;
        }
    }

    /// A wish has its outcome.
    pub(crate) fn take(&mut self, request: RequestId) -> Vec<Waiter> {
        self.pending.remove(&request).map(|pending| pending.waiters).unwrap_or_default()
    }

    /// Wishes older than `patience`: their outcome is unknown.
    pub(crate) fn give_up(&mut self, now: Moment, patience: core::time::Duration) -> Vec<Waiter> {
        let mut lost = Vec::new();
        self.pending.retain(|_, pending| {
            let keep = now.since(pending.asked) < patience;
            if !keep {
                lost.append(&mut pending.waiters);
            }
            keep
        });
        lost
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.pending.values().map(|pending| pending.send_at).min()
    }
}
