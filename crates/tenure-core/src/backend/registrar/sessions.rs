//! The session that everything rides on.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    super::{Hold, News, StoreError},
    Registrar, Report, Step,
    entry::Ending,
    renewals::Renewals,
    steps::UnderWay,
};
use crate::{
    ElectionName, Moment, RequestId, SessionId,
    ledger::{Outcome, Refusal},
    timing::Ttl,
};

/// A session whose end is asked for again.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) request: Option<RequestId>,
    session: SessionId,
    /// It has run out by then.
    until: Moment,
    pub(super) next: Moment,
}

impl Registrar {
    pub(super) fn ttl_of(&mut self, request: RequestId, session: SessionId) -> Option<Ttl> {
        let ttl = self.session.filter(|(current, _)| *current == session).map(|(_, ttl)| ttl);
        if ttl.is_none() {
            self.refuse(request, Refusal::NoSession { session });
        }
        ttl
    }

    pub(super) fn open(
        &mut self,
        request: RequestId,
        session: SessionId,
        ttl: Ttl,
        supersedes: Option<SessionId>,
        now: Moment,
    ) {
        if let Some((old, _)) = self.session.take() {
            self.forsake(old, now);
        }
        if let Some((old, _)) = self.opening.take() {
            // Too late: the contender has given that session up.
            self.refuse(old, Refusal::NoSession { session });
        }
        if let Some(old) = supersedes {
            self.ask_to_close(None, old, now + self.patience);
        }
        self.session = Some((session, ttl));
        self.renewals = Renewals::default();
        self.opening = Some((request, Some(now)));
        self.tick(now);
    }

    pub(super) fn opened(
        &mut self,
        request: RequestId,
        session: SessionId,
        result: &Result<Report, StoreError>,
        now: Moment,
    ) {
        if self.opening.is_none_or(|(open, _)| open != request) {
            return;
        }
        if self.session.is_none_or(|(current, _)| current != session) {
            return;
        }
        match result {
            Ok(_) => {
                self.opening = None;
                self.say(News::Outcome(request, Outcome::Done));
            }
            Err(_) => self.opening = Some((request, Some(now + self.retry))),
        }
    }

    pub(super) fn close(&mut self, request: RequestId, session: SessionId, now: Moment) {
        if self.session.is_some_and(|(current, _)| current == session) {
            self.session = None;
            self.opening = None;
            self.forsake(session, now);
        }
        self.ask_to_close(Some(request), session, now + self.patience);
    }

    fn ask_to_close(&mut self, request: Option<RequestId>, session: SessionId, until: Moment) {
        self.run(Step::Close { session }, UnderWay::Close { request, session, until });
    }

    /// A session whose end is not confirmed would hold up everybody until it runs out; after
    /// that there is nothing to close any more.
    pub(super) fn closed(
        &mut self,
        request: Option<RequestId>,
        session: SessionId,
        until: Moment,
        result: &Result<Report, StoreError>,
        now: Moment,
    ) {
        let next = now + self.retry;
        if matches!(result, Err(StoreError::Unavailable { .. })) && next < until {
            self.closing.push(Closing { request, session, until, next });
        } else if let Some(request) = request {
            self.say(News::Outcome(request, Outcome::Done));
        }
    }

    pub(super) fn repeat_closes(&mut self, now: Moment) {
        for closing in core::mem::take(&mut self.closing) {
            match closing.next <= now {
                true => self.ask_to_close(closing.request, closing.session, closing.until),
                false => self.closing.push(closing),
            }
        }
    }

    pub(super) fn gone(&mut self, session: SessionId, now: Moment) {
        if self.session.is_some_and(|(current, _)| current == session) {
            self.session = None;
            self.opening = None;
            self.forsake(session, now);
            self.say(News::Gone(session));
        }
    }

    /// Nothing counts any more that rode on this session.
    pub(super) fn forsake(&mut self, session: SessionId, now: Moment) {
        let mut unanswered = Vec::new();
        for (election, entry) in &mut self.entries {
            self.timers.set(election, Some(now));
            unanswered.extend(entry.campaign);
            match entry.ending {
                Some(Ending::Withdraw { request } | Ending::Release { request, .. }) => {
                    unanswered.push(request);
                }
                None => {}
            }
            entry.forsake();
        }
        for request in unanswered {
            self.refuse(request, Refusal::NoSession { session });
        }
    }

    pub(super) fn extended(
        &mut self,
        number: u64,
        session: SessionId,
        holds: &[Hold],
        lapsed: &[ElectionName],
        now: Moment,
    ) {
        if self.session.is_none_or(|(current, _)| current != session) {
            return;
        }
        let holds: BTreeMap<_, _> = holds.iter().map(|hold| (&hold.election, hold.token)).collect();
        // The session itself is confirmed by this very step.
        let mut covered = number;
        let mut words = Vec::new();
        for (election, entry) in &mut self.entries {
            let Some((token, confirmed)) = entry.held else { continue };
            // What is being given back is not believed in any more.
            if entry.ending.is_some() {
                continue;
            }
            let named = holds.get(election) == Some(&token);
            if named && lapsed.contains(election) && confirmed < number {
                words.push(entry.lapse(election, token, now));
            } else if named {
                entry.renewed(number, now);
            } else {
                covered = covered.min(confirmed);
            }
        }
        for word in words {
            self.timers.set(&word.election, Some(now));
            self.say(News::Seen(word.into()));
        }
        if let Some(renewal) = self.renewals.confirmed(covered) {
            self.say(News::Renewed(session, renewal));
        }
        self.tick(now);
    }
}
