//! Questions that only a quorum can answer: "do you still lead?".
//!
//! A renewal is acknowledged, and a read is called current, only when the Raft leader heard
//! from a quorum *after* it received the question. One round serves all questions that came
//! before it began. Source: read-index, D. Ongaro, "Consensus: Bridging Theory and Practice",
//! section 6.4.

use std::collections::BTreeMap;

use core::time::Duration;
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
    /// One of them cannot wait for a heartbeat.
    hurry: bool,
    under_way: BTreeMap<u64, (Moment, Vec<Question>)>,
}

impl Rounds {
    /// Takes a question in; with `hurry`, a round is begun for it without waiting for a
    /// heartbeat.
    pub(crate) fn ask(&mut self, question: Question, hurry: bool) {
        self.hurry |= hurry;
        self.waiting.push(question);
    }

    /// The number of a round to begin now, when one is wanted. While a round is under way the
    /// next waits for it, so that one round carries what gathered meanwhile; after
    /// `patience` it is taken for lost.
    ///
    /// Renewals can wait for the next heartbeat, since holders count from when they asked: then
    /// the round is that heartbeat, and costs no message of its own. Questions about the present
    /// do not wait, and neither do leases that a heartbeat is a large part of. Whoever `measures`
    /// wants a round with every heartbeat, whether somebody asks or not.
    pub(crate) fn begin(
        &mut self,
        now: Moment,
        patience: Duration,
        heartbeat_is_due: bool,
        measures: bool,
    ) -> Option<u64> {
        let blocked =
            self.under_way.values().next_back().is_some_and(|(at, _)| now.since(*at) < patience);
        let wanted = match heartbeat_is_due {
            true => measures || !self.waiting.is_empty(),
            false => self.hurry,
        };
        if !wanted || blocked {
            return None;
        }
        self.next += 1;
        Some(self.next)
    }

    /// The round was really begun: it now carries every question that waited.
    pub(crate) fn began(&mut self, round: u64, now: Moment) {
        self.hurry = false;
        self.under_way.insert(round, (now, std::mem::take(&mut self.waiting)));
    }

    /// When a round was begun that is under way.
    pub(crate) fn begun_at(&self, round: u64) -> Option<Moment> {
        self.under_way.get(&round).map(|(at, _)| *at)
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
    began: Moment,
    /// When it is sent once more, unless it is confirmed, and the pause before the time after.
    again: (Moment, Duration),
    waiters: Vec<(Moment, Waiter, Vec<SessionId>)>,
    /// Set when confirmed: what to apply first, and which sessions are gone.
    confirmed: Option<(u64, Vec<SessionId>)>,
}

/// The asking side of one node: gathers what its clients ask while a question is under way.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: u64,
    gathering: Vec<(Moment, Waiter, Vec<SessionId>)>,
    under_way: BTreeMap<u64, Batch>,
}

/// An answer for one client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) waiter: Waiter,
    pub(crate) gone: Vec<SessionId>,
}

impl Questions {
    pub(crate) fn ask(&mut self, waiter: Waiter, sessions: Vec<SessionId>, now: Moment) {
        self.gathering.push((now, waiter, sessions));
    }

    /// The next question to send: about the present first, then renewals, each unless one of its
    /// kind is under way that is younger than `patience`. They do not wait for each other, since
    /// the Raft leader lets renewals wait for a heartbeat.
    ///
    /// What has been under way for longer may be lost, and is sent again, later and later, under
    /// its old number: an answer that is slow because there is much to do counts when it comes.
    /// Whichever of the copies it answers, the Raft leader got it after it was asked.
    pub(crate) fn next(
        &mut self,
        now: Moment,
        patience: Duration,
    ) -> Option<(u64, Vec<SessionId>)> {
        [false, true].into_iter().find_map(|renews| self.next_of(renews, now, patience))
    }

    fn next_of(
        &mut self,
        renews: bool,
        now: Moment,
        patience: Duration,
    ) -> Option<(u64, Vec<SessionId>)> {
        let mut waiting = self.under_way.iter_mut().filter(|(_, batch)| batch.waits(renews));
        if let Some((&number, batch)) = waiting.find(|(_, batch)| batch.again.0 <= now) {
            let pause = batch.again.1;
            batch.again = (now + pause, pause * 2);
            return Some((number, batch.sessions()));
        }
        if self.newest(renews).is_some_and(|began| now.since(began) < patience) {
            return None;
        }
        let kind =
            |(_, _, sessions): &mut (Moment, Waiter, Vec<SessionId>)| sessions.is_empty() != renews;
        let waiters: Vec<_> = self.gathering.extract_if(.., kind).collect();
        if waiters.is_empty() {
            return None;
        }
        self.next += 1;
        let again = (now + patience, patience * 2);
        let batch = Batch { began: now, again, waiters, confirmed: None };
        let sessions = batch.sessions();
        self.under_way.insert(self.next, batch);
        Some((self.next, sessions))
    }

    /// When the youngest of a kind that waits for its answer was asked.
    fn newest(&self, renews: bool) -> Option<Moment> {
        let waiting = self.under_way.values().filter(|batch| batch.waits(renews));
        waiting.map(|batch| batch.began).max()
    }

    /// When [`Questions::next`] has something to send that it had not before.
    pub(crate) fn next_deadline(&self, patience: Duration) -> Option<Moment> {
        let waits = self.under_way.values().filter(|batch| batch.confirmed.is_none());
        let again = waits.map(|batch| batch.again.0).min();
        let next = |renews: bool| {
            let gathers = self.gathering.iter().any(|(_, _, it)| it.is_empty() != renews);
            self.newest(renews).filter(|_| gathers).map(|began| began + patience)
        };
        [again, next(false), next(true)].into_iter().flatten().min()
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
            for (_, waiter, sessions) in &batch.waiters {
                let gone = sessions.iter().filter(|id| gone.contains(id)).copied().collect();
                ready.push(Confirmation { waiter: *waiter, gone });
            }
            false
        });
        ready
    }

    /// Forgets what was asked longer than `patience` ago: those get no answer.
    pub(crate) fn give_up(&mut self, now: Moment, patience: Duration) -> Vec<Waiter> {
        let mut lost = Vec::new();
        let mut keep = |(asked, waiter, _): &(Moment, Waiter, Vec<SessionId>)| {
            let keep = now.since(*asked) < patience;
            if !keep {
                lost.push(*waiter);
            }
            keep
        };
        self.gathering.retain(&mut keep);
        for batch in self.under_way.values_mut() {
            batch.waiters.retain(&mut keep);
        }
        self.under_way.retain(|_, batch| !batch.waiters.is_empty());
        lost
    }

    /// What is under way is asked again: there is a new Raft leader.
    pub(crate) fn ask_again(&mut self) {
        let lost = self.under_way.extract_if(.., |_, batch| batch.confirmed.is_none());
        self.gathering.extend(lost.flat_map(|(_, batch)| batch.waiters));
    }
}

impl Batch {
    /// Whether it has no answer, and renews sessions, or asks about the present.
    fn waits(&self, renews: bool) -> bool {
        let renewal = self.waiters.iter().any(|(_, _, sessions)| !sessions.is_empty());
        self.confirmed.is_none() && renewal == renews
    }

    /// Each session once.
    fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<_> =
            self.waiters.iter().flat_map(|(_, _, sessions)| sessions.iter().copied()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::Incarnation;

    const PATIENCE: Duration = Duration::from_millis(10);

    fn question(sessions: u32) -> Question {
        let process = Incarnation::from_random(1);
        let sessions = (1..=sessions).map(|number| SessionId { process, number }).collect();
        Question { from: NodeId::new(1).unwrap(), number: 7, sessions }
    }

    #[test]
    fn renewals_wait_for_a_heartbeat_and_questions_about_the_present_do_not() {
        let (mut rounds, now) = (Rounds::default(), Moment::from_nanos(1));
        rounds.ask(question(1), false);
        assert_eq!(rounds.begin(now, PATIENCE, false, false), None);
        assert_eq!(rounds.begin(now, PATIENCE, true, false), Some(1));
        rounds.began(1, now);
        rounds.ask(question(0), true);
        // The first is under way, and is taken for lost later.
        assert_eq!(rounds.begin(now, PATIENCE, false, false), None);
        let now = now + PATIENCE;
        assert_eq!(rounds.begin(now, PATIENCE, false, false), Some(2));
        rounds.began(2, now);
        assert_eq!(rounds.confirmed(2).len(), 2);
    }

    #[test]
    fn a_question_about_the_present_does_not_queue_behind_renewals() {
        let (mut questions, now) = (Questions::default(), Moment::from_nanos(1));
        let waiter = |number| Waiter { client: 1, number };
        let renewed = question(2).sessions;
        questions.ask(waiter(1), renewed.clone(), now);
        assert_eq!(questions.next(now, PATIENCE), Some((1, renewed.clone())));
        questions.ask(waiter(2), Vec::new(), now);
        questions.ask(waiter(3), renewed.clone(), now);
        // Alone, so that the Raft leader sees that it is in a hurry.
        assert_eq!(questions.next(now, PATIENCE), Some((2, Vec::new())));
        assert_eq!(questions.next(now, PATIENCE), None);
        // Both may be lost: each is asked again under its number, and what gathered goes as well.
        let now = now + PATIENCE;
        assert_eq!(questions.next(now, PATIENCE), Some((2, Vec::new())));
        assert_eq!(questions.next(now, PATIENCE), Some((1, renewed.clone())));
        assert_eq!(questions.next(now, PATIENCE), Some((3, renewed)));
        assert_eq!(questions.next(now, PATIENCE), None);
    }

    #[test]
    fn an_answer_that_takes_longer_than_the_patience_counts_when_it_comes() {
        let (mut questions, mut now) = (Questions::default(), Moment::from_nanos(1));
        let waiter = Waiter { client: 1, number: 1 };
        questions.ask(waiter, question(1).sessions, now);
        let (number, sessions) = questions.next(now, PATIENCE).expect("it is sent");
        // As long as it has no answer it is sent again, each time after a longer pause.
        for pause in [1, 2, 4] {
            let due = now + PATIENCE * pause;
            assert_eq!(questions.next_deadline(PATIENCE), Some(due));
            assert_eq!(questions.next(due, PATIENCE), Some((number, sessions.clone())));
            assert_eq!(questions.next(due, PATIENCE), None);
            now = due;
        }
        questions.confirmed(number, 5, Vec::new());
        assert_eq!(questions.ready(4), []);
        assert_eq!(questions.ready(5), [Confirmation { waiter, gone: Vec::new() }]);
        // The answers to its copies are for nobody.
        questions.confirmed(number, 6, Vec::new());
        assert_eq!(questions.ready(6), []);
    }
}
