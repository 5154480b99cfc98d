//! The operator's words.

use core::time::Duration;

use super::{Answer, Step};
use crate::{
    CandidateId, ElectionName, Token,
    ledger::{Candidate, Election, EndReason, EventKind, Handover, Outcome, Revocation, Tenure},
};

impl Step<'_> {
    pub(super) fn reserve(
        &mut self,
        name: &ElectionName,
        to: Option<CandidateId>,
        if_token: Option<Token>,
    ) -> Answer {
        let (session, token) = self.require_tenure(name, if_token)?;
        self.require_successor(session, name, to.as_ref())?;
        let handover = Some(Handover { to: to.clone() });
        let election = self.election(name)?;
        if let Some(tenure) = election.tenure.as_mut().filter(|t| t.handover != handover) {
            tenure.handover = handover;
            self.emit(EventKind::HandoverAsked { election: name.clone(), token, to });
        }
        Ok(Outcome::Asked { token })
    }

    pub(super) fn preempt(&mut self, name: &ElectionName, candidate: &CandidateId) -> Answer {
        let (session, token) = self.require_tenure(name, None)?;
        self.require_successor(session, name, Some(candidate))?;
        let election = self.election(name)?;
        let priority = |one: Option<&Candidate>| one.map(|one| one.standing.priority);
        let higher =
            priority(election.candidate_named(candidate)) > priority(election.candidate(session));
        let asked = election.tenure.as_ref().is_some_and(|t| t.handover.is_some());
        match higher && !asked {
            true => self.reserve(name, Some(candidate.clone()), Some(token)),
            false => Ok(Outcome::Done),
        }
    }

    pub(super) fn cancel_reserve(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        let asked = election.tenure.as_mut().and_then(|t| t.handover.take().map(|_| t.token));
        if let Some(token) = asked {
            self.emit(EventKind::HandoverCancelled { election: name.clone(), token });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn evict(
        &mut self,
        name: &ElectionName,
        if_token: Option<Token>,
        ban: Option<Duration>,
    ) -> Answer {
        let (_, token) = self.require_tenure(name, if_token)?;
        let election = self.election(name)?;
        let tenure = election.tenure.as_mut();
        // Repeating an eviction changes nothing, but a ban may be added to it.
        let news =
            |t: &&mut Tenure| t.revoked.as_ref().is_none_or(|r| ban.is_some() && r.ban != ban);
        if let Some(tenure) = tenure.filter(news) {
            tenure.revoked = Some(Revocation { ban });
            let candidate = tenure.candidate.clone();
            self.emit(EventKind::Revoked { election: name.clone(), candidate, token });
        }
        Ok(Outcome::Asked { token })
    }

    pub(super) fn finish_eviction(&mut self, name: &ElectionName, token: Token) {
        let tenure = self.ledger.elections.get(name).and_then(Election::tenure);
        let revoked = tenure.filter(|tenure| tenure.token == token && tenure.revoked.is_some());
        let Some(session) = revoked.map(|tenure| tenure.session) else { return };
        let now = self.ledger.now;
        let named = self.end_tenure(session, name, EndReason::Evicted, now);
        self.settle(name, named.flatten().as_ref(), None);
    }

    pub(super) fn lift_ban(&mut self, name: &ElectionName, candidate: &CandidateId) {
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        let before = election.bans.len();
        election.bans.retain(|ban| ban.candidate != *candidate);
        if election.bans.len() != before {
            let candidate = candidate.clone();
            self.emit(EventKind::BanLifted { election: name.clone(), candidate });
            self.note_idle(name);
        }
    }

    pub(super) fn pause(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        if !election.paused {
            election.paused = true;
            self.emit(EventKind::Paused { election: name.clone() });
            self.note_idle(name);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn resume(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        if election.paused {
            election.paused = false;
            self.emit(EventKind::Resumed { election: name.clone() });
            self.settle(name, None, None);
            self.note_idle(name);
        }
        Ok(Outcome::Done)
    }
}
