//! How tenures begin and end.

use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};
use core::time::Duration;

use super::Step;
use crate::{
    CandidateId, ElectionName, Leader, Revision, SessionId, Token, WallTime,
    ledger::{Ban, Election, EndReason, Event, EventKind, PastTenure, Session, Tenure},
};

/// One election and what it takes to change it, looked up once: a session that ends may have led
/// a hundred thousand of them.
pub(super) struct Changing<'a> {
    name: &'a ElectionName,
    election: &'a mut Election,
    sessions: &'a mut BTreeMap<SessionId, Session>,
    idle: &'a mut BTreeSet<(Revision, ElectionName)>,
    revision: &'a mut Revision,
    now: WallTime,
    events: &'a mut Vec<Event>,
}

impl Step<'_> {
    /// An election that is known.
    pub(super) fn changing<'a>(&'a mut self, name: &'a ElectionName) -> Option<Changing<'a>> {
        let Self { ledger, events } = self;
        let election = ledger.elections.get_mut(name)?;
        let (sessions, idle) = (&mut ledger.sessions, &mut ledger.idle);
        let (revision, now) = (&mut ledger.revision, ledger.now);
        Some(Changing { name, election, sessions, idle, revision, now, events })
    }

    /// See [`Changing::end_tenure`].
    pub(super) fn end_tenure(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        reason: EndReason,
        last_alive: WallTime,
    ) -> Option<Option<CandidateId>> {
        self.changing(name)?.end_tenure(session, reason, last_alive)
    }

    /// See [`Changing::settle`].
    pub(super) fn settle(
        &mut self,
        name: &ElectionName,
        named: Option<&CandidateId>,
        avoid: Option<SessionId>,
    ) {
        if let Some(mut election) = self.changing(name) {
            election.settle(named, avoid);
        }
    }

    pub(super) fn requeue(&mut self, session: SessionId, name: &ElectionName) {
        let arrived = self.ledger.revision;
        if let Some(election) = self.ledger.elections.get_mut(name)
            && let Some(candidate) = election.candidates.iter_mut().find(|c| c.session == session)
        {
            candidate.arrived = arrived;
        }
    }

    pub(super) fn remove_candidate(&mut self, session: SessionId, name: &ElectionName) {
        if let Some(mut election) = self.changing(name) {
            election.remove_candidate(session);
        }
    }

    pub(super) fn note_idle(&mut self, name: &ElectionName) {
        if let Some(mut election) = self.changing(name) {
            election.note_idle();
        }
    }
}

impl Changing<'_> {
    /// Counts and records one change.
    fn emit(&mut self, kind: EventKind) {
        *self.revision = self.revision.next();
        self.election.revision = *self.revision;
        self.events.push(Event { revision: *self.revision, at: self.now, kind });
    }

    /// Ends the tenure that a session holds, if it does; with a revoked tenure its candidacy
    /// ends as well, whoever ended it. Gives the successor that a pending hand-over names.
    pub(super) fn end_tenure(
        &mut self,
        session: SessionId,
        reason: EndReason,
        last_alive: WallTime,
    ) -> Option<Option<CandidateId>> {
        let election = &mut *self.election;
        let tenure = election.tenure.take_if(|tenure| tenure.session == session)?;
        election.vacant_since = Some(last_alive.max(tenure.since));
        election.remember(PastTenure {
            candidate: tenure.candidate.clone(),
            token: tenure.token,
            started: tenure.since,
            ended: self.now,
            reason,
            gap: tenure.gap,
        });
        self.emit(EventKind::Ended {
            election: self.name.clone(),
            candidate: tenure.candidate.clone(),
            token: tenure.token,
            reason,
        });
        if let Some(revocation) = tenure.revoked {
            self.remove_candidate(session);
            self.ban(tenure.candidate, revocation.ban);
        }
        Some(tenure.handover.and_then(|handover| handover.to))
    }

    /// Grants a vacant election to the successor, when there is one and it is not paused.
    pub(super) fn settle(&mut self, named: Option<&CandidateId>, avoid: Option<SessionId>) {
        let election = &mut *self.election;
        if election.tenure.is_some() {
            return;
        }
        if election.paused {
            election.heir = named.cloned().or_else(|| election.heir.take());
            return;
        }
        let heir = election.heir.take();
        let named = named.or(heir.as_ref());
        let Some(next) = election.successor(named, avoid).cloned() else { return };
        let Some(ttl) = self.sessions.get(&next.session).map(Session::ttl) else { return };
        let gap = election.vacant_since.map(|since| self.now.since(since));
        let previous = election.history.back().map(|past| (past.candidate.clone(), past.reason));
        // The grant is a change of its own, so its revision, and with it the token, is fresh.
        let token = Token::from(self.revision.next());
        let leader = Leader { id: next.id.clone(), value: next.value, token, ttl, since: self.now };
        let candidates = u32::try_from(election.candidates.len()).unwrap_or(u32::MAX);
        self.emit(EventKind::Elected {
            election: self.name.clone(),
            leader,
            session: next.session,
            reason: previous.as_ref().map(|(_, reason)| *reason),
            previous: previous.map(|(candidate, _)| candidate),
            gap,
            candidates,
        });
        self.election.vacant_since = None;
        self.election.tenure = Some(Tenure {
            token,
            candidate: next.id,
            session: next.session,
            since: self.now,
            gap,
            handover: None,
            revoked: None,
        });
    }

    pub(super) fn remove_candidate(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.elections.remove(self.name);
        }
        let candidates = &mut self.election.candidates;
        let Some(at) = candidates.iter().position(|c| c.session == session) else { return };
        let candidate = candidates.remove(at).id;
        self.emit(EventKind::CandidateLeft { election: self.name.clone(), candidate });
        self.note_idle();
    }

    fn ban(&mut self, candidate: CandidateId, length: Option<Duration>) {
        let Some(length) = length else { return };
        self.election.bans.retain(|ban| ban.candidate != candidate);
        self.election.bans.push(Ban { candidate, length });
        self.note_idle();
    }

    /// Keeps the number of elections bounded: those without any candidate are forgotten first.
    fn note_idle(&mut self) {
        let election = &mut *self.election;
        if let Some(since) = election.idle_since.take() {
            self.idle.remove(&(since, self.name.clone()));
        }
        if election.candidates.is_empty() && !election.paused && election.bans.is_empty() {
            election.idle_since = Some(election.revision);
            self.idle.insert((election.revision, self.name.clone()));
        }
    }
}
