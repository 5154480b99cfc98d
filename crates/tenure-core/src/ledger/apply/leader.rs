//! The leader's own words.

use super::{Answer, Step};
use crate::{
    CandidateId, ElectionName, SessionId, Token, Value,
    backend::Slot,
    ledger::{EndReason, EventKind, Outcome, Refusal, Tenure},
};

impl Step<'_> {
    pub(super) fn resign(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
    ) -> Answer {
        match self.require_leader(session, name, token) {
            Ok(()) => {}
            Err(refusal) => {
                let past = self.ledger.elections.get(name).and_then(|e| e.past(token));
                let left = past.is_some_and(|past| {
                    matches!(past.reason, EndReason::Resigned | EndReason::Evicted)
                });
                return if left { Ok(Outcome::Done) } else { Err(refusal) };
            }
        }
        let now = self.ledger.now;
        let reason = self.unless_revoked(session, name, EndReason::Resigned);
        let named = self.end_tenure(session, name, reason, now);
        self.remove_candidate(session, name);
        self.settle(name, named.flatten().as_ref(), None);
        Ok(Outcome::Done)
    }

    pub(super) fn transfer(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
        to: &CandidateId,
    ) -> Answer {
        self.require_leader(session, name, token)?;
        self.require_successor(session, name, Some(to))?;
        let now = self.ledger.now;
        let reason = self.unless_revoked(session, name, EndReason::Transferred);
        self.end_tenure(session, name, reason, now);
        self.requeue(session, name);
        self.settle(name, Some(to), Some(session));
        Ok(Outcome::Done)
    }

    pub(super) fn give_way(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
    ) -> Answer {
        self.require_leader(session, name, token)?;
        let asked = |tenure: &Tenure| tenure.handover.is_some() || tenure.revoked.is_some();
        if !self.tenure_of(session, name).is_some_and(asked) {
            return Err(Refusal::NothingReserved { election: name.clone() });
        }
        let now = self.ledger.now;
        let reason = self.unless_revoked(session, name, EndReason::Transferred);
        let named = self.end_tenure(session, name, reason, now);
        self.requeue(session, name);
        self.settle(name, named.flatten().as_ref(), Some(session));
        Ok(Outcome::Done)
    }

    pub(super) fn proclaim(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
        value: Value,
    ) -> Answer {
        self.require_leader(session, name, token)?;
        let election = self.election(name)?;
        let candidate = election.candidates.iter_mut().find(|c| c.session == session);
        if let Some(candidate) = candidate.filter(|candidate| candidate.value != value) {
            candidate.value = value.clone();
            self.emit(EventKind::Proclaimed { election: name.clone(), token, value });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn take(&mut self, name: &ElectionName, token: Token, slot: Value) -> Answer {
        let election = self.election(name)?;
        let current = election.token();
        // Asked again by one that leads no longer, what it took is still its own.
        let asked = Slot { election: name.clone(), name: slot, token };
        if current != Some(token) && election.slot.as_ref() != Some(&(asked.name.clone(), token)) {
            return Err(Refusal::NotLeader { election: name.clone(), given: token, current });
        }
        let before = election.slot.take();
        let before = before.map(|(name, token)| Slot { name, token, ..asked.clone() });
        let Slot { name: slot, token, .. } = asked.after(before);
        election.slot = Some((slot.clone(), token));
        Ok(Outcome::Taken { slot, token })
    }

    /// Whatever the leader says when its tenure is revoked, it confirms the eviction.
    fn unless_revoked(
        &self,
        session: SessionId,
        name: &ElectionName,
        reason: EndReason,
    ) -> EndReason {
        let revoked = |tenure: &Tenure| tenure.revoked.is_some();
        match self.tenure_of(session, name).is_some_and(revoked) {
            true => EndReason::Evicted,
            false => reason,
        }
    }
}
