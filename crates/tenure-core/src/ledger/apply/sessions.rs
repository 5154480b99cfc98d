//! Sessions: opened, superseded, closed.

use super::{Answer, Step, limit};
use crate::{
    SessionId,
    ledger::{EndReason, EventKind, MAX_SESSIONS, Outcome, Refusal, Session, SessionEnd},
    timing::Ttl,
};

impl Step<'_> {
    pub(super) fn open_session(
        &mut self,
        session: SessionId,
        ttl: Ttl,
        supersedes: Option<SessionId>,
    ) -> Answer {
        // A process's same or later session means that a delayed request must not revive this
        // one, also when that session is closed by now.
        let last = SessionId { process: session.process, number: u32::MAX };
        let used = self.ledger.sessions.range(session..=last).next().is_some();
        if used || self.ledger.retired.covers(session) {
            return Err(Refusal::SessionUsed { session });
        }
        let old = supersedes
            .filter(|old| old.process == session.process && self.ledger.sessions.contains_key(old));
        if self.ledger.sessions.len() - usize::from(old.is_some()) >= MAX_SESSIONS {
            return Err(limit("open sessions", MAX_SESSIONS));
        }
        if let Some(old) = old {
            self.close_session(old, SessionEnd::Closed);
        }
        self.emit(EventKind::SessionOpened { session, ttl });
        let opened = self.ledger.revision;
        self.ledger.sessions.insert(session, Session::new(ttl, opened));
        Ok(Outcome::Done)
    }

    pub(super) fn retime(&mut self, id: SessionId, ttl: Ttl, number: u32) -> Answer {
        let Some(session) = self.ledger.sessions.get_mut(&id) else {
            return Err(Refusal::NoSession { session: id });
        };
        // A copy of an earlier request that was long on its way.
        if number < session.retimed || (number == session.retimed && session.ttl != ttl) {
            return Err(Refusal::Overtaken { session: id });
        }
        session.retimed = number;
        if core::mem::replace(&mut session.ttl, ttl) != ttl {
            self.emit(EventKind::SessionRetimed { session: id, ttl });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn close_session(&mut self, id: SessionId, reason: SessionEnd) {
        let Some(session) = self.ledger.sessions.remove(&id) else { return };
        self.emit(EventKind::SessionClosed { session: id, reason });
        let now = self.ledger.now;
        let (end, last_alive) = match reason {
            SessionEnd::Closed => (EndReason::Closed, now),
            SessionEnd::Expired { silent } => (EndReason::Expired, now.before(silent)),
            SessionEnd::Died { observed } => (EndReason::Died, observed.min(now)),
        };
        self.ledger.retired.push(id);
        for name in &session.elections {
            let Some(mut election) = self.changing(name) else { continue };
            let named = election.end_tenure(id, end, last_alive);
            election.remove_candidate(id);
            if let Some(named) = named {
                election.settle(named.as_ref(), None);
            }
        }
    }
}
