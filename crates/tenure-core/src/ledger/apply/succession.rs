//! How tenures begin and end.

use core::time::Duration;

use super::Step;
use crate::{
    CandidateId, ElectionName, Leader, SessionId, Token, WallTime,
    ledger::{Ban, EndReason, EventKind, PastTenure, Session, Tenure},
};

impl Step<'_> {
    /// Ends the tenure that a session holds, if it does; with a revoked tenure its candidacy
    /// ends as well, whoever ended it. Gives the successor that a pending hand-over names.
    pub(super) fn end_tenure(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        reason: EndReason,
        last_alive: WallTime,
    ) -> Option<Option<CandidateId>> {
        let now = self.ledger.now;
        let election = self.ledger.elections.get_mut(name)?;
        let tenure = election.tenure.take_if(|tenure| tenure.session == session)?;
        election.vacant_since = Some(last_alive.max(tenure.since));
        election.remember(PastTenure {
            candidate: tenure.candidate.clone(),
            token: tenure.token,
            started: tenure.since,
            ended: now,
            reason,
            gap: tenure.gap,
        });
        self.emit(EventKind::Ended {
            election: name.clone(),
            candidate: tenure.candidate.clone(),
            token: tenure.token,
            reason,
        });
        if let Some(revocation) = tenure.revoked {
            self.remove_candidate(session, name);
            self.ban(name, tenure.candidate, revocation.ban);
        }
        Some(tenure.handover.and_then(|handover| handover.to))
    }

    /// Grants a vacant election to the successor, when there is one and it is not paused.
    pub(super) fn settle(
        &mut self,
        name: &ElectionName,
        named: Option<&CandidateId>,
        avoid: Option<SessionId>,
    ) {
        let now = self.ledger.now;
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
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
        let Some(ttl) = self.ledger.sessions.get(&next.session).map(Session::ttl) else { return };
        let gap = election.vacant_since.map(|since| now.since(since));
        let previous = election.history.back().map(|past| (past.candidate.clone(), past.reason));
        // The grant is a change of its own, so its revision, and with it the token, is fresh.
        let token = Token::from(self.ledger.revision.next());
        let leader = Leader { id: next.id.clone(), value: next.value, token, ttl, since: now };
        let candidates = u32::try_from(election.candidates.len()).unwrap_or(u32::MAX);
        self.emit(EventKind::Elected {
            election: name.clone(),
            leader,
            session: next.session,
            reason: previous.as_ref().map(|(_, reason)| *reason),
            previous: previous.map(|(candidate, _)| candidate),
            gap,
            candidates,
        });
        if let Some(election) = self.ledger.elections.get_mut(name) {
            election.vacant_since = None;
            election.tenure = Some(Tenure {
                token,
                candidate: next.id,
                session: next.session,
                since: now,
                gap,
                handover: None,
                revoked: None,
            });
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
        if let Some(session) = self.ledger.sessions.get_mut(&session) {
            session.elections.remove(name);
        }
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        let Some(at) = election.candidates.iter().position(|c| c.session == session) else {
            return;
        };
        let candidate = election.candidates.remove(at).id;
        self.emit(EventKind::CandidateLeft { election: name.clone(), candidate });
        self.note_idle(name);
    }

    fn ban(&mut self, name: &ElectionName, candidate: CandidateId, length: Option<Duration>) {
        let Some(length) = length else { return };
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        election.bans.retain(|ban| ban.candidate != candidate);
        election.bans.push(Ban { candidate, length });
        self.note_idle(name);
    }
}
