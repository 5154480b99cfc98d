//! The session of a contender: opened, renewed, lost.

use alloc::collections::VecDeque;

use super::length::{Length, Retiming};
use crate::{
    Incarnation, Moment, SessionId,
    timing::{
        Drift, Ttl,
        adaptive::{Pace, TtlRange},
        holder_deadline,
    },
};

/// Renewals that may be under way at once; older ones are forgotten, their acknowledgements
/// would add nothing.
const MAX_RENEWALS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal(pub(super) u64);

#[derive(Debug)]
enum State {
    Closed,
    Refused { retry: Moment },
    Opening { session: SessionId, follows: Option<SessionId>, first_sent: Moment },
    Open(Open),
}

#[derive(Debug, Clone, Copy)]
struct Open {
    session: SessionId,
    deadline: Moment,
    next_renewal: Moment,
    /// When the last renewal that was acknowledged was sent, and when the next one was planned
    /// then.
    confirmed: Moment,
    planned: Moment,
}

/// A renewal under way: when it was sent, and the length that it counts with.
type UnderWay = (Renewal, Moment, Ttl);

/// The session and until when it may be believed in.
#[derive(Debug)]
pub(super) struct Lifeline {
    pace: Pace,
    length: Length,
    drift: Drift,
    state: State,
    sessions: u32,
    last: Option<SessionId>,
    renewals: u64,
    under_way: VecDeque<UnderWay>,
}

impl Lifeline {
    pub(super) fn new(range: TtlRange, drift: Drift) -> Self {
        let pace = Pace::new(range);
        Self {
            length: Length::new(pace.wanted()),
            pace,
            drift,
            state: State::Closed,
            sessions: 0,
            last: None,
            renewals: 0,
            under_way: VecDeque::new(),
        }
    }

    /// The length that renewals count with.
    pub(super) fn ttl(&self) -> Ttl {
        self.length.counting()
    }

    pub(super) fn set_range(&mut self, range: TtlRange) {
        self.pace.set_range(range);
    }

    /// A fresh session id, and the one it follows.
    pub(super) fn begin(
        &mut self,
        process: Incarnation,
        now: Moment,
    ) -> (SessionId, Option<SessionId>) {
        self.sessions += 1;
        let session = SessionId { process, number: self.sessions };
        let follows = self.last.replace(session);
        self.state = State::Opening { session, follows, first_sent: now };
        self.under_way.clear();
        self.length = Length::new(self.pace.wanted());
        (session, follows)
    }

    /// The store opened it. False when so much time has passed since the request was first
    /// sent that the lease is over already.
    pub(super) fn opened(&mut self, now: Moment) -> bool {
        let State::Opening { session, first_sent, .. } = self.state else { return false };
        let deadline = holder_deadline(first_sent, self.ttl(), self.drift);
        let confirmed = first_sent;
        let (next_renewal, planned) = (now, now);
        self.state = State::Open(Open { session, deadline, next_renewal, confirmed, planned });
        deadline > now
    }

    /// The store refused to open it, so the one before it is still the last that was open.
    pub(super) fn retry_later(&mut self, now: Moment) {
        if let State::Opening { follows, .. } = self.state {
            self.last = follows;
        }
        self.state = State::Refused { retry: now + self.ttl().renew_interval() };
    }

    pub(super) fn retry_due(&self, now: Moment) -> bool {
        matches!(self.state, State::Refused { retry } if retry <= now)
    }

    pub(super) fn acknowledged(&mut self, renewal: Renewal, now: Moment) {
        let Some(at) = self.under_way.iter().position(|(known, ..)| *known == renewal) else {
            return;
        };
        let (_, sent, counted) = self.under_way[at];
        self.under_way.drain(..=at);
        let State::Open(open) = &mut self.state else { return };
        // A lease that has run out stays lost, whatever arrives afterwards.
        if open.deadline <= now {
            return;
        }
        // Never longer than was agreed when it was sent, nor than what is agreed by now.
        let ttl = counted.min(self.length.counting());
        open.deadline = open.deadline.max(holder_deadline(sent, ttl, self.drift));
        self.pace.acknowledged(now.since(sent), now.since(open.planned));
        open.confirmed = open.confirmed.max(sent);
        open.planned = open.confirmed + counted.renew_interval();
    }

    pub(super) fn renewal_due(&mut self, now: Moment) -> Option<(SessionId, Renewal)> {
        let ttl = self.ttl();
        let State::Open(open) = &mut self.state else { return None };
        if now < open.next_renewal {
            return None;
        }
        open.next_renewal = now + ttl.renew_interval();
        self.renewals += 1;
        let renewal = Renewal(self.renewals);
        if self.under_way.len() >= MAX_RENEWALS {
            self.under_way.pop_front();
        }
        self.under_way.push_back((renewal, now, ttl));
        Some((open.session, renewal))
    }

    /// Time has passed: how late this process woke, if it did, and what the lease went through
    /// if it has run out.
    pub(super) fn measure(&mut self, now: Moment) {
        let State::Open(open) = &self.state else { return };
        let late = now.since(open.next_renewal.min(open.deadline));
        let ran_out = (open.deadline <= now).then(|| open.deadline.since(open.confirmed));
        self.pace.woke_late(late);
        if let Some(gap) = ran_out {
            self.pace.lost(gap);
        }
    }

    /// What to ask the store for, when the lease should have another length by now.
    pub(super) fn retiming(&mut self, now: Moment) -> Option<(SessionId, Retiming)> {
        let State::Open(open) = &mut self.state else { return None };
        if open.deadline <= now {
            return None;
        }
        let Open { deadline, confirmed, .. } = *open;
        let drift = self.drift;
        // What is believed would be believed with the shorter length as well.
        let covered = |ttl| deadline <= holder_deadline(confirmed, ttl, drift);
        let retiming = self.length.next(self.pace.wanted(), covered);
        // A shorter lease is renewed sooner.
        open.next_renewal = open.next_renewal.min(now + self.length.counting().renew_interval());
        Some((open.session, retiming?))
    }

    /// The store has answered [`Lifeline::retiming`].
    pub(super) fn retimed(&mut self, done: bool) {
        self.length.answered(done);
    }

    pub(super) fn has_expired(&self, now: Moment) -> bool {
        matches!(&self.state, State::Open(open) if open.deadline <= now)
    }

    pub(super) fn lose(&mut self) {
        self.state = State::Closed;
        self.under_way.clear();
    }

    /// Gives the session up and names it, when there is one to close.
    pub(super) fn forget(&mut self) -> Option<SessionId> {
        let session = match self.state {
            State::Closed | State::Refused { .. } => None,
            State::Opening { session, .. } | State::Open(Open { session, .. }) => Some(session),
        };
        self.lose();
        session
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    pub(super) fn is_current(&self, named: SessionId) -> bool {
        match self.state {
            State::Closed | State::Refused { .. } => false,
            State::Opening { session, .. } | State::Open(Open { session, .. }) => session == named,
        }
    }

    pub(super) fn open_session(&self) -> Option<SessionId> {
        self.validity().map(|(session, _)| session)
    }

    pub(super) fn validity(&self) -> Option<(SessionId, Moment)> {
        match self.state {
            State::Open(Open { session, deadline, .. }) => Some((session, deadline)),
            State::Closed | State::Refused { .. } | State::Opening { .. } => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        match self.state {
            State::Open(Open { deadline, next_renewal, .. }) => Some(deadline.min(next_renewal)),
            State::Refused { retry } => Some(retry),
            State::Closed | State::Opening { .. } => None,
        }
    }
}
