//! How one command changes the ledger.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use super::{
    Ban, Candidate, Command, EndReason, Event, EventKind, Handover, Ledger, MAX_CANDIDATES,
    MAX_ELECTIONS, MAX_SESSIONS, Outcome, PastTenure, Refusal, Revocation, Session, SessionEnd,
    Standing, Tenure, election::Election,
};
use crate::{CandidateId, ElectionName, SessionId, Token, Value, WallTime, timing::Ttl};

type Answer = Result<Outcome, Refusal>;

/// One command being applied: the ledger and the events so far.
pub(super) struct Step<'a> {
    ledger: &'a mut Ledger,
    events: Vec<Event>,
}

impl<'a> Step<'a> {
    pub(super) fn new(ledger: &'a mut Ledger) -> Self {
        Self { ledger, events: Vec::new() }
    }

    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }

    pub(super) fn run(&mut self, command: Command) -> Outcome {
        let answer = match command {
            Command::OpenSession { session, ttl, supersedes } => {
                self.open_session(session, ttl, supersedes)
            }
            Command::CloseSession { session, reason } => {
                self.close_session(session, reason);
                Ok(Outcome::Done)
            }
            Command::Campaign { session, election, candidate, value, standing } => {
                self.campaign(session, election, candidate, value, standing)
            }
            Command::Withdraw { session, election } => self.withdraw(session, &election),
            Command::Stand { session, election, standing } => {
                self.stand(session, &election, standing)
            }
            Command::Resign { session, election, token } => self.resign(session, &election, token),
            Command::Transfer { session, election, token, to } => {
                self.transfer(session, &election, token, &to)
            }
            Command::Reserve { election, to, if_token } => self.reserve(&election, to, if_token),
            Command::CancelReserve { election } => self.cancel_reserve(&election),
            Command::Yield { session, election, token } => self.give_way(session, &election, token),
            Command::Evict { election, if_token, ban } => self.evict(&election, if_token, ban),
            Command::FinishEviction { election, token } => {
                self.finish_eviction(&election, token);
                Ok(Outcome::Done)
            }
            Command::LiftBan { election, candidate } => {
                self.lift_ban(&election, &candidate);
                Ok(Outcome::Done)
            }
            Command::Pause { election } => self.pause(&election),
            Command::Resume { election } => self.resume(&election),
            Command::Proclaim { session, election, token, value } => {
                self.proclaim(session, &election, token, value)
            }
            Command::Member(change) => {
                let (outcome, event) = self.ledger.members.apply(change);
                if let Some(kind) = event {
                    self.emit(kind);
                }
                Ok(outcome)
            }
        };
        answer.unwrap_or_else(Outcome::Refused)
    }

    /// Counts and records one change.
    fn emit(&mut self, kind: EventKind) {
        self.ledger.revision = self.ledger.revision.next();
        let revision = self.ledger.revision;
        if let Some(election) = kind.election().and_then(|name| self.ledger.elections.get_mut(name))
        {
            election.revision = revision;
        }
        self.events.push(Event { revision, at: self.ledger.now, kind });
    }

    // Sessions

    fn open_session(
        &mut self,
        session: SessionId,
        ttl: Ttl,
        supersedes: Option<SessionId>,
    ) -> Answer {
        if self.ledger.sessions.contains_key(&session) {
            return Err(Refusal::SessionUsed { session });
        }
        // A process's own later session means that a delayed request must not revive this one.
        let later = SessionId { process: session.process, number: u32::MAX };
        if self.ledger.sessions.range(session..=later).next().is_some() {
            return Err(Refusal::SessionUsed { session });
        }
        if self.ledger.sessions.len() >= MAX_SESSIONS {
            return Err(limit("open sessions", MAX_SESSIONS));
        }
        if let Some(old) = supersedes.filter(|old| old.process == session.process) {
            self.close_session(old, SessionEnd::Closed);
        }
        self.emit(EventKind::SessionOpened { session, ttl });
        let opened = self.ledger.revision;
        self.ledger.sessions.insert(session, Session::new(ttl, opened));
        Ok(Outcome::Done)
    }

    fn close_session(&mut self, id: SessionId, reason: SessionEnd) {
        let Some(session) = self.ledger.sessions.remove(&id) else { return };
        self.emit(EventKind::SessionClosed { session: id, reason });
        let now = self.ledger.now;
        let (end, last_alive) = match reason {
            SessionEnd::Closed => (EndReason::Closed, now),
            SessionEnd::Expired { silent } => (EndReason::Expired, now.before(silent)),
            SessionEnd::Died { observed } => (EndReason::Died, observed.min(now)),
        };
        for name in session.elections {
            let revoked = self.tenure_of(id, &name).map(|tenure| tenure.revoked.clone());
            let named = self.end_tenure(id, &name, end, last_alive);
            self.remove_candidate(id, &name);
            if let Some(Some(revocation)) = revoked {
                self.ban_last(&name, &revocation);
            }
            if let Some(named) = named {
                self.settle(&name, named.as_ref(), None);
            }
        }
    }

    // Contending

    fn campaign(
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
        let election = self.ledger.elections.entry(name.clone()).or_default();
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
        }
    }

    /// Where a candidate stands, as an answer.
    fn place(&self, session: SessionId, name: &ElectionName) -> Outcome {
        let Some(election) = self.ledger.elections.get(name) else { return Outcome::Done };
        if let Some(tenure) = election.tenure.as_ref().filter(|tenure| tenure.session == session) {
            return Outcome::Leading { token: tenure.token };
        }
        let ahead = election.waiting().iter().take_while(|other| other.session != session).count();
        Outcome::Waiting { position: u32::try_from(ahead + 1).unwrap_or(u32::MAX) }
    }

    fn withdraw(&mut self, session: SessionId, name: &ElectionName) -> Answer {
        self.require_session(session)?;
        if let Some(token) = self.tenure_of(session, name).map(|tenure| tenure.token) {
            return Err(Refusal::Leads { election: name.clone(), token });
        }
        // Not contending is what was asked for, so being no candidate is success.
        self.remove_candidate(session, name);
        Ok(Outcome::Done)
    }

    fn stand(&mut self, session: SessionId, name: &ElectionName, standing: Standing) -> Answer {
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

    // The leader's own words

    fn resign(&mut self, session: SessionId, name: &ElectionName, token: Token) -> Answer {
        match self.require_leader(session, name, token) {
            Ok(()) => {}
            Err(refusal) => {
                let past = self.ledger.elections.get(name).and_then(|e| e.past(token));
                let resigned = past.is_some_and(|past| past.reason == EndReason::Resigned);
                return if resigned { Ok(Outcome::Done) } else { Err(refusal) };
            }
        }
        let now = self.ledger.now;
        let named = self.end_tenure(session, name, EndReason::Resigned, now);
        self.remove_candidate(session, name);
        self.settle(name, named.flatten().as_ref(), None);
        Ok(Outcome::Done)
    }

    fn transfer(
        &mut self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
        to: &CandidateId,
    ) -> Answer {
        self.require_leader(session, name, token)?;
        self.require_successor(session, name, Some(to))?;
        let now = self.ledger.now;
        self.end_tenure(session, name, EndReason::Transferred, now);
        self.requeue(session, name);
        self.settle(name, Some(to), Some(session));
        Ok(Outcome::Done)
    }

    fn give_way(&mut self, session: SessionId, name: &ElectionName, token: Token) -> Answer {
        self.require_leader(session, name, token)?;
        let tenure = self.tenure_of(session, name);
        if tenure.is_some_and(|tenure| tenure.revoked.is_some()) {
            self.finish_eviction(name, token);
            return Ok(Outcome::Done);
        }
        if tenure.is_none_or(|tenure| tenure.handover.is_none()) {
            return Err(Refusal::NothingReserved { election: name.clone() });
        }
        let now = self.ledger.now;
        let named = self.end_tenure(session, name, EndReason::Transferred, now);
        self.requeue(session, name);
        self.settle(name, named.flatten().as_ref(), Some(session));
        Ok(Outcome::Done)
    }

    fn proclaim(
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

    // The operator's words

    fn reserve(
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

    fn cancel_reserve(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        let asked = election.tenure.as_mut().and_then(|t| t.handover.take().map(|_| t.token));
        if let Some(token) = asked {
            self.emit(EventKind::HandoverCancelled { election: name.clone(), token });
        }
        Ok(Outcome::Done)
    }

    fn evict(
        &mut self,
        name: &ElectionName,
        if_token: Option<Token>,
        ban: Option<Duration>,
    ) -> Answer {
        let (_, token) = self.require_tenure(name, if_token)?;
        let election = self.election(name)?;
        if let Some(tenure) = election.tenure.as_mut().filter(|t| t.revoked.is_none()) {
            tenure.revoked = Some(Revocation { ban });
            let candidate = tenure.candidate.clone();
            self.emit(EventKind::Revoked { election: name.clone(), candidate, token });
        }
        Ok(Outcome::Asked { token })
    }

    fn finish_eviction(&mut self, name: &ElectionName, token: Token) {
        let revoked = self.ledger.elections.get(name).and_then(|election| {
            let tenure = election.tenure.as_ref().filter(|tenure| tenure.token == token)?;
            Some((tenure.session, tenure.revoked.clone()?))
        });
        let Some((session, revocation)) = revoked else { return };
        let now = self.ledger.now;
        let named = self.end_tenure(session, name, EndReason::Evicted, now);
        self.remove_candidate(session, name);
        self.ban_last(name, &revocation);
        self.settle(name, named.flatten().as_ref(), None);
    }

    fn lift_ban(&mut self, name: &ElectionName, candidate: &CandidateId) {
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        let before = election.bans.len();
        election.bans.retain(|ban| ban.candidate != *candidate);
        if election.bans.len() != before {
            let candidate = candidate.clone();
            self.emit(EventKind::BanLifted { election: name.clone(), candidate });
            self.note_idle(name);
        }
    }

    fn pause(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        if !election.paused {
            election.paused = true;
            self.emit(EventKind::Paused { election: name.clone() });
        }
        Ok(Outcome::Done)
    }

    fn resume(&mut self, name: &ElectionName) -> Answer {
        let election = self.election(name)?;
        if election.paused {
            election.paused = false;
            self.emit(EventKind::Resumed { election: name.clone() });
            self.settle(name, None, None);
            self.note_idle(name);
        }
        Ok(Outcome::Done)
    }

    // What commands require

    fn election(&mut self, name: &ElectionName) -> Result<&mut Election, Refusal> {
        let missing = || Refusal::NoElection { election: name.clone() };
        self.ledger.elections.get_mut(name).ok_or_else(missing)
    }

    fn require_session(&self, session: SessionId) -> Result<(), Refusal> {
        match self.ledger.sessions.contains_key(&session) {
            true => Ok(()),
            false => Err(Refusal::NoSession { session }),
        }
    }

    fn require_leader(
        &self,
        session: SessionId,
        name: &ElectionName,
        token: Token,
    ) -> Result<(), Refusal> {
        if self.tenure_of(session, name).is_some_and(|tenure| tenure.token == token) {
            return Ok(());
        }
        let current = self.ledger.elections.get(name).and_then(Election::token);
        Err(Refusal::NotLeader { election: name.clone(), given: token, current })
    }

    fn require_tenure(
        &mut self,
        name: &ElectionName,
        if_token: Option<Token>,
    ) -> Result<(SessionId, Token), Refusal> {
        let election = self.election(name)?;
        let current = election.token();
        if let Some(expected) = if_token.filter(|&expected| Some(expected) != current) {
            return Err(Refusal::TokenChanged { expected, current });
        }
        let tenure = election.tenure.as_ref();
        let tenure = tenure.ok_or_else(|| Refusal::Vacant { election: name.clone() })?;
        Ok((tenure.session, tenure.token))
    }

    fn require_successor(
        &self,
        leader: SessionId,
        name: &ElectionName,
        to: Option<&CandidateId>,
    ) -> Result<(), Refusal> {
        let mut others = self.ledger.elections.get(name).into_iter().flat_map(|election| {
            election.candidates.iter().filter(|c| c.session != leader && c.standing.eligible)
        });
        match to {
            Some(to) if !others.any(|candidate| candidate.id == *to) => {
                Err(Refusal::NoSuchCandidate { election: name.clone(), candidate: to.clone() })
            }
            None if others.next().is_none() => Err(Refusal::NoSuccessor { election: name.clone() }),
            _ => Ok(()),
        }
    }

    fn tenure_of(&self, session: SessionId, name: &ElectionName) -> Option<&Tenure> {
        let tenure = self.ledger.elections.get(name)?.tenure.as_ref()?;
        (tenure.session == session).then_some(tenure)
    }

    // How tenures begin and end

    /// Ends the tenure that a session holds, if it does. Gives the successor that a pending
    /// hand-over names.
    fn end_tenure(
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
            candidate: tenure.candidate,
            token: tenure.token,
            reason,
        });
        Some(tenure.handover.and_then(|handover| handover.to))
    }

    /// Grants a vacant election to the successor, when there is one and it is not paused.
    fn settle(
        &mut self,
        name: &ElectionName,
        named: Option<&CandidateId>,
        avoid: Option<SessionId>,
    ) {
        let now = self.ledger.now;
        let Some(election) = self.ledger.elections.get(name) else { return };
        if election.tenure.is_some() || election.paused {
            return;
        }
        let Some(next) = election.successor(named, avoid).cloned() else { return };
        let Some(ttl) = self.ledger.sessions.get(&next.session).map(Session::ttl) else { return };
        let gap = election.vacant_since.map(|since| now.since(since));
        let previous = election.history.back().map(|past| (past.candidate.clone(), past.reason));
        // The grant is a change of its own, so its revision, and with it the token, is fresh.
        let token = Token::from(self.ledger.revision.next());
        let leader =
            crate::Leader { id: next.id.clone(), value: next.value, token, ttl, since: now };
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

    fn requeue(&mut self, session: SessionId, name: &ElectionName) {
        let arrived = self.ledger.revision;
        if let Some(election) = self.ledger.elections.get_mut(name)
            && let Some(candidate) = election.candidates.iter_mut().find(|c| c.session == session)
        {
            candidate.arrived = arrived;
        }
    }

    fn remove_candidate(&mut self, session: SessionId, name: &ElectionName) {
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

    /// Bans the candidate whose revoked tenure was the last to end.
    fn ban_last(&mut self, name: &ElectionName, revocation: &Revocation) {
        let Some(length) = revocation.ban else { return };
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        let Some(candidate) = election.history.back().map(|past| past.candidate.clone()) else {
            return;
        };
        election.bans.retain(|ban| ban.candidate != candidate);
        election.bans.push(Ban { candidate, length });
        self.note_idle(name);
    }

    // Keeping the number of elections bounded

    fn note_idle(&mut self, name: &ElectionName) {
        let Some(election) = self.ledger.elections.get_mut(name) else { return };
        if let Some(since) = election.idle_since.take() {
            self.ledger.idle.remove(&(since, name.clone()));
        }
        if election.candidates.is_empty() && !election.paused && election.bans.is_empty() {
            election.idle_since = Some(election.revision);
            self.ledger.idle.insert((election.revision, name.clone()));
        }
    }

    fn make_room(&mut self, name: &ElectionName) -> Result<(), Refusal> {
        if self.ledger.elections.contains_key(name) || self.ledger.elections.len() < MAX_ELECTIONS {
            return Ok(());
        }
        let (_, oldest) =
            self.ledger.idle.pop_first().ok_or_else(|| limit("elections", MAX_ELECTIONS))?;
        self.ledger.elections.remove(&oldest);
        Ok(())
    }
}

fn limit(what: &str, max: usize) -> Refusal {
    Refusal::Limit { what: String::from(what), max: u32::try_from(max).unwrap_or(u32::MAX) }
}
