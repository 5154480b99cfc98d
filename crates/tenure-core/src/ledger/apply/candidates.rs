//! Candidates: joining, leaving, and their place in the order.

use super::{Answer, Step, limit};
use crate::{
    CandidateId, ElectionName, SessionId, Value,
    ledger::{
        Candidate, EndReason, EventKind, MAX_CANDIDATES, MAX_ELECTIONS, Outcome, Refusal, Standing,
    },
};

impl Step<'_> {
    pub(super) fn campaign(
        &mut self,
        session: SessionId,
        name: ElectionName,
        id: CandidateId,
        value: Value,
        standing: Standing,
    ) -> Answer {
        if !self.ledger.sessions.contains_key(&session) {
            return Err(Refusal::NoSession { session });
        }
        self.make_room(&name)?;
        self.replace_older(session, &name, &id)?;
        let election = self.ledger.elections.get_or_default(&name);
        if let Some(same) = election.candidate_named(&id).filter(|same| same.session != session) {
            return Err(Refusal::DuplicateCandidate { candidate: id, holder: same.session });
        }
        if election.bans.iter().any(|ban| ban.candidate == id) {
            return Err(Refusal::Banned { election: name, candidate: id });
        }
        if election.candidate(session).is_none() {
            if election.candidates.len() >= MAX_CANDIDATES {
                return Err(limit("candidates of one election", MAX_CANDIDATES));
            }
            self.join(session, &name, id, value, standing);
        }
        self.settle(&name, None, None);
        Ok(self.place(session, &name))
    }

    /// A process that lost its session contends under the next one before the ledger has ended
    /// the old one: it takes its own older place, and does not fight itself.
    fn replace_older(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        id: &CandidateId,
    ) -> Result<(), Refusal> {
        let election = self.ledger.elections.get(name);
        let older = election
            .and_then(|e| e.candidate_named(id))
            .map(|c| c.session)
            .filter(|old| old.process == session.process && old.number < session.number);
        let Some(older) = older else { return Ok(()) };
        let revoked = self.tenure_of(older, name).and_then(|tenure| tenure.revoked.as_ref());
        if revoked.is_some_and(|revocation| revocation.ban.is_some()) {
            return Err(Refusal::Banned { election: name.clone(), candidate: id.clone() });
        }
        let now = self.ledger.now;
        let named = self.end_tenure(older, name, EndReason::Closed, now);
        self.remove_candidate(older, name);
        if let Some(named) = named {
            self.settle(name, named.as_ref(), None);
        }
        Ok(())
    }

    fn join(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        id: CandidateId,
        value: Value,
        standing: Standing,
    ) {
        self.emit(EventKind::CandidateJoined { election: name.clone(), candidate: id.clone() });
        let arrived = self.ledger.revision;
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        election.candidates.push(Candidate { id, session, value, standing, arrived });
        if let Some(since) = election.idle_since.take() {
            self.ledger.idle.remove(&(since, name.clone()));
        }
        if let Some(session) = self.ledger.sessions.get_mut(&session) {
            session.elections.insert(name.clone());
            session.joined = arrived;
        }
    }

    /// Where a candidate stands, as an answer.
    pub(super) fn place(&self, session: SessionId, name: &ElectionName) -> Outcome {
        let Some(election) = self.ledger.elections.get(name) else { return Outcome::Done };
        if let Some(tenure) = election.tenure.as_ref().filter(|tenure| tenure.session == session) {
            return Outcome::Leading { token: tenure.token };
        }
        let ahead = election.ahead_of(session);
        Outcome::Waiting { position: u32::try_from(ahead + 1).unwrap_or(u32::MAX) }
    }

    pub(super) fn withdraw(&mut self, session: SessionId, name: &ElectionName) -> Answer {
        self.require_session(session)?;
        if let Some(token) = self.tenure_of(session, name).map(|tenure| tenure.token) {
            return Err(Refusal::Leads { election: name.clone(), token });
        }
        // Not contending is what was asked for, so being no candidate is success.
        self.remove_candidate(session, name);
        Ok(Outcome::Done)
    }

    pub(super) fn stand(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        standing: Standing,
    ) -> Answer {
        self.require_session(session)?;
        let election = self.election(name)?;
        let candidate = election
            .candidates
            .iter_mut()
            .find(|candidate| candidate.session == session)
            .ok_or_else(|| Refusal::NotCandidate { election: name.clone() })?;
        if candidate.standing != standing {
            candidate.standing = standing;
            let candidate = candidate.id.clone();
            self.emit(EventKind::Stood { election: name.clone(), candidate });
            self.settle(name, None, None);
        }
        Ok(self.place(session, name))
    }

    // Keeping the number of elections bounded

    pub(super) fn make_room(&mut self, name: &ElectionName) -> Result<(), Refusal> {
        if self.ledger.elections.contains(name) || self.ledger.elections.len() < MAX_ELECTIONS {
            return Ok(());
        }
        let (_, oldest) =
            self.ledger.idle.pop_first().ok_or_else(|| limit("elections", MAX_ELECTIONS))?;
        if let Some(forgotten) = self.ledger.elections.remove(&oldest) {
            self.ledger.forgotten = self.ledger.forgotten.max(forgotten.revision);
        }
        Ok(())
    }
}
