//! Wishes of this node's clients that wait for their outcome.
//!
//! A wish is sent to whoever leads the Raft group and sent again when that changes or takes
//! long. Its outcome is learned by *applying* it here, so the client's next read at this node
//! shows what it was told. **Invariant:** a wish without an outcome is reported as unknown,
//! never as refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use core::time::Duration;
use tenure_core::{Moment, RequestId, WallTime};

use crate::{NamedWish, Wish, rounds::Waiter};

#[derive(Debug)]
struct Pending {
    waiters: Vec<Waiter>,
    at: WallTime,
    wish: Wish,
    asked: Moment,
    send_at: Moment,
    /// Pause before it is sent once more.
    again_after: Duration,
}

/// Wishes by their names. Ten thousand may wait at once, and the machine asks after every input
/// what is due: nothing here looks at more of them than it gives.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pending: BTreeMap<RequestId, Pending>,
    /// When each is sent.
    schedule: BTreeSet<(Moment, RequestId)>,
    /// In the order in which they were asked; some have their outcome by now.
    ages: VecDeque<(Moment, RequestId)>,
}

/// Most wishes that may wait at one node; beyond it new ones are turned away.
const MAX_PENDING: usize = 65_536;
/// Time after which a wish is sent to the Raft leader again.
const SEND_AGAIN: Duration = Duration::from_millis(250);
/// Each time it waits twice as long, up to this: what is late because there is too much to do
/// does not become more to do.
const SEND_AGAIN_LATEST: Duration = Duration::from_secs(2);

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
            // It is on its way.
            pending.waiters.push(waiter);
            return true;
        }
        if self.pending.len() >= MAX_PENDING {
            return false;
        }
        let pending = Pending {
            waiters: vec![waiter],
            at,
            wish,
            asked: now,
            send_at: now,
            again_after: SEND_AGAIN,
        };
        self.pending.insert(request, pending);
        self.schedule.insert((now, request));
        self.ages.push_back((now, request));
        true
    }

    /// The next wish to send to the Raft leader now.
    pub(crate) fn next_due(&mut self, now: Moment) -> Option<NamedWish> {
        let (_, request) = self.schedule.first().copied().filter(|(at, _)| *at <= now)?;
        self.schedule.pop_first();
        let pending = self.pending.get_mut(&request)?;
        pending.send_at = now + pending.again_after;
        pending.again_after = (pending.again_after * 2).min(SEND_AGAIN_LATEST);
        self.schedule.insert((pending.send_at, request));
        Some(NamedWish { request, at: pending.at, wish: pending.wish.clone() })
    }

    /// The Raft leader has changed: everything is sent again at once.
    pub(crate) fn send_all(&mut self, now: Moment) {
        self.schedule.clear();
        for (request, pending) in &mut self.pending {
            (pending.send_at, pending.again_after) = (now, SEND_AGAIN);
            self.schedule.insert((now, *request));
        }
    }

    /// A wish has its outcome.
    pub(crate) fn take(&mut self, request: RequestId) -> Vec<Waiter> {
        let Some(pending) = self.pending.remove(&request) else { return Vec::new() };
        self.schedule.remove(&(pending.send_at, request));
        pending.waiters
    }

    /// Wishes older than `patience`: their outcome is unknown.
    pub(crate) fn give_up(&mut self, now: Moment, patience: Duration) -> Vec<Waiter> {
        let mut lost = Vec::new();
        while let Some((asked, request)) = self.ages.front().copied() {
            // One of that name may have been asked for again since.
            let waits = self.pending.get(&request).is_some_and(|it| it.asked == asked);
            if waits && now.since(asked) < patience {
                break;
            }
            self.ages.pop_front();
            if waits {
                lost.append(&mut self.take(request));
            }
        }
        lost
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.schedule.first().map(|(at, _)| *at)
    }
}
