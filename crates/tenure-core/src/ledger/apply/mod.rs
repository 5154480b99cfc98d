//! How one command changes the ledger.

mod candidates;
mod leader;
mod operator;
mod sessions;
mod succession;

use alloc::{string::String, vec::Vec};

use super::{Command, Event, EventKind, Ledger, Outcome, Refusal, Tenure, election::Election};
use crate::{CandidateId, ElectionName, SessionId, Token};

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
            Command::Retime { session, ttl, number } => self.retime(session, ttl, number),
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
            Command::Preempt { election, candidate } => self.preempt(&election, &candidate),
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
            Command::Take { election, token, slot } => self.take(&election, token, slot),
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
}

fn limit(what: &str, max: usize) -> Refusal {
    Refusal::Limit { what: String::from(what), max: u32::try_from(max).unwrap_or(u32::MAX) }
}
