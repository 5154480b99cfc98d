//! Questions that only a quorum can answer: "do you still lead?".
//!
//! A renewal is acknowledged, and a read is called current, only when the Raft leader heard
//! from a quorum *after* it received the question. One round serves all questions that came
//! before it began. Source: read-index, D. Ongaro, "Consensus: Bridging Theory and Practice",
//! section 6.4.

use std::collections::BTreeMap;

use tenure_core::{Moment, NodeId, SessionId};

/// A question of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) from: NodeId,
    pub(crate) number: u64,
    pub(crate) sessions: Vec<SessionId>,
}

/// The Raft leader's side.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    next: u64,
    waiting: Vec<Question>,
    under_way: BTreeMap<u64, (Moment, Vec<Question>)>,
}

impl Rounds {
    pub(crate) fn ask(&mut self, question: Question) {
        self.waiting.push(question);
    }

    /// The number of a round to begin now, when one is wanted. While a round is under way the
    /// next waits for it, so that one round carries what gathered meanwhile; after
    /// `patience` it is taken for lost.
    pub(crate) fn begin(&mut self, now: Moment, patience: core::time::Duration) -> Option<u64> {
        let blocked =
            self.under_way.values().next_back().is_some_and(|(at, _)| now.since(*at) < patience);
        if self.waiting.is_empty() || blocked {
            return None;
        }
        self.next += 1;
        Some(self.next)
    }

    /// The round was really begun: it now carries every question that waited.
    pub(crate) fn began(&mut self, round: u64, now: Moment) {
        self.under_way.insert(round, (now, std::mem::take(&mut self.waiting)));
    }

    /// A quorum has confirmed: these questions are answered.
    pub(crate) fn confirmed(&mut self, round: u64) -> Vec<Question> {
        // An older round that got lost is answered by a newer one as well.
        let later = self.under_way.split_off(&(round + 1));
        let answered = std::mem::replace(&mut self.under_way, later);
        answered.into_values().flat_map(|(_, questions)| questions).collect()
    }
}

/// Who waits at this node for a confirmation: the driver's key of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) client: u64,
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Batch {
    sent: Moment,
    sessions: Vec<SessionId>,
    waiters: Vec<(Waiter, Vec<SessionId>)>,
    /// Set when confirmed: what to apply first, and which sessions are gone.
    confirmed: Option<(u64, Vec<SessionId>)>,
}

/// The asking side of one node: gathers what its clients ask while a question is under way.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: u64,
    gathering: Vec<(Waiter, Vec<SessionId>)>,
    under_way: BTreeMap<u64, Batch>,
}

/// An answer for one client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) waiter: Waiter,
    pub(crate) gone: Vec<SessionId>,
}

impl Questions {
    pub(crate) fn ask(&mut self, waiter: Waiter, sessions: Vec<SessionId>) {
        self.gathering.push((waiter, sessions));
    }

    /// The next question to send, unless one is under way that is younger than `patience`.
    pub(crate) fn next(
        &mut self,
        now: Moment,
        patience: core::time::Duration,
    ) -> Option<(u64, Vec<SessionId>)> {
        let blocked = self
            .under_way
            .values()
            .any(|batch| batch.confirmed.is_none() && now.since(batch.sent) < patience);
        if self.gathering.is_empty() || blocked {
            return None;
        }
        self.next += 1;
        let waiters = std::mem::take(&mut self.gathering);
        let mut sessions: Vec<_> = waiters.iter().flat_map(|(_, s)| s.iter().copied()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        let batch = Batch { sent: now, sessions: sessions.clone(), waiters, confirmed: None };
        self.under_way.insert(self.next, batch);
        Some((self.next, sessions))
    }

    /// When a question that is under way is taken for lost.
    pub(crate) fn next_deadline(&self, patience: core::time::Duration) -> Option<Moment> {
        if self.gathering.is_empty() {
            return None;
        }
        let waits = self.under_way.values().filter(|batch| batch.confirmed.is_none());
        waits.map(|batch| batch.sent + patience).max()
    }

    /// The Raft leader has answered.
    pub(crate) fn confirmed(&mut self, number: u64, index: u64, gone: Vec<SessionId>) {
        if let Some(batch) = self.under_way.get_mut(&number) {
            batch.confirmed = Some((index, gone));
        }
    }

    /// Answers whose index is applied here by now.
    pub(crate) fn ready(&mut self, applied: u64) -> Vec<Confirmation> {
        let mut ready = Vec::new();
        self.under_way.retain(|_, batch| {
            let Some((index, gone)) = &batch.confirmed else { return true };
            if *index > applied {
                return true;
            }
            for (waiter, sessions) in &batch.waiters {
                let gone = sessions.iter().filter(|id| gone.contains(id)).copied().collect();
                ready.push(Confirmation { waiter: *waiter, gone });
            }
            false
        });
        ready
    }

    /// Forgets questions older than `patience`: a renewal is not repeated, the client sends a
    /// fresh one. Gives the waiters that will get no answer.
    pub(crate) fn give_up(&mut self, now: Moment, patience: core::time::Duration) -> Vec<Waiter> {
        let mut lost = Vec::new();
        self.under_way.retain(|_, batch| {
            let keep = now.since(batch.sent) < patience;
            if !keep {
                lost.extend(batch.waiters.iter().map(|(waiter, _)| *waiter));
            }
            keep
        });
        lost
    }

    /// A new Raft leader: what the old one was asked is asked again. The answer proves more
    /// than was wanted, never less: the confirmation comes later than the question.
    pub(crate) fn ask_again(&mut self) {
        let batches = std::mem::take(&mut self.under_way);
        for (number, batch) in batches {
            if batch.confirmed.is_some() {
                self.under_way.insert(number, batch);
            } else {
                let _ = batch.sessions;
                self.gathering.extend(batch.waiters);
            }
        }
    }
}
