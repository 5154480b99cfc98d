//! The session of a contender: opened, renewed, lost.

use alloc::collections::VecDeque;

use crate::{
    Incarnation, Moment, SessionId,
    timing::{Drift, Ttl, holder_deadline},
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
    Open { session: SessionId, deadline: Moment, next_renewal: Moment },
}

/// The session and until when it may be believed in.
#[derive(Debug)]
pub(super) struct Lifeline {
    ttl: Ttl,
    drift: Drift,
    state: State,
    sessions: u32,
    last: Option<SessionId>,
    renewals: u64,
    under_way: VecDeque<(Renewal, Moment)>,
}

impl Lifeline {
    pub(super) fn new(ttl: Ttl, drift: Drift) -> Self {
        Self {
            ttl,
            drift,
            state: State::Closed,
            sessions: 0,
            last: None,
            renewals: 0,
            under_way: VecDeque::new(),
        }
    }

    pub(super) fn ttl(&self) -> Ttl {
        self.ttl
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
        (session, follows)
    }

    /// The store opened it. False when so much time has passed since the request was first
    /// sent that the lease is over already.
    pub(super) fn opened(&mut self, now: Moment) -> bool {
        let State::Opening { session, first_sent, .. } = self.state else { return false };
        let deadline = holder_deadline(first_sent, self.ttl, self.drift);
        self.state = State::Open { session, deadline, next_renewal: now };
        deadline > now
    }

    /// The store refused to open it, so the one before it is still the last that was open.
    pub(super) fn retry_later(&mut self, now: Moment) {
        if let State::Opening { follows, .. } = self.state {
            self.last = follows;
        }
        self.state = State::Refused { retry: now + self.ttl.renew_interval() };
    }

    pub(super) fn retry_due(&self, now: Moment) -> bool {
        matches!(self.state, State::Refused { retry } if retry <= now)
    }

    pub(super) fn acknowledged(&mut self, renewal: Renewal, now: Moment) {
        let Some(at) = self.under_way.iter().position(|(known, _)| *known == renewal) else {
            return;
        };
        let (_, sent) = self.under_way[at];
        self.under_way.drain(..=at);
        if let State::Open { deadline, .. } = &mut self.state
            // A lease that has run out stays lost, whatever arrives afterwards.
            && *deadline > now
        {
            *deadline = (*deadline).max(holder_deadline(sent, self.ttl, self.drift));
        }
    }

    pub(super) fn renewal_due(&mut self, now: Moment) -> Option<(SessionId, Renewal)> {
        let State::Open { session, next_renewal, .. } = &mut self.state else { return None };
        if now < *next_renewal {
            return None;
        }
        *next_renewal = now + self.ttl.renew_interval();
        self.renewals += 1;
        let renewal = Renewal(self.renewals);
        if self.under_way.len() >= MAX_RENEWALS {
            self.under_way.pop_front();
        }
        self.under_way.push_back((renewal, now));
        Some((*session, renewal))
    }

    pub(super) fn has_expired(&self, now: Moment) -> bool {
        matches!(self.state, State::Open { deadline, .. } if deadline <= now)
    }

    pub(super) fn lose(&mut self) {
        self.state = State::Closed;
        self.under_way.clear();
    }

    /// Gives the session up and names it, when there is one to close.
    pub(super) fn forget(&mut self) -> Option<SessionId> {
        let session = match self.state {
            State::Closed | State::Refused { .. } => None,
            State::Opening { session, .. } | State::Open { session, .. } => Some(session),
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
            State::Opening { session, .. } | State::Open { session, .. } => session == named,
        }
    }

    pub(super) fn open_session(&self) -> Option<SessionId> {
        self.validity().map(|(session, _)| session)
    }

    pub(super) fn validity(&self) -> Option<(SessionId, Moment)> {
        match self.state {
            State::Open { session, deadline, .. } => Some((session, deadline)),
            State::Closed | State::Refused { .. } | State::Opening { .. } => None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        match self.state {
            State::Open { deadline, next_renewal, .. } => Some(deadline.min(next_renewal)),
            State::Refused { retry } => Some(retry),
            State::Closed | State::Opening { .. } => None,
        }
    }
}
