//! One contest of a contender.
//!
//! A contest waits for the answer to its campaign before it says anything else about it, so a
//! withdrawal can never overtake the campaign it takes back. **Invariant:** a tenure that this
//! process gave up, or that it was told is over or revoked, is never led again, whatever
//! arrives late: its token is *burnt*.

use alloc::collections::VecDeque;

use super::{Action, Notice, Seen};
use crate::{
    CandidateId, ElectionName, SessionId, Token, Value,
    ledger::{Command, Outcome, Refusal, Standing},
};

/// Where a contest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not contending.
    Observing,
    /// Contending, not leading.
    Waiting,
    /// Leading.
    Leading,
    /// Leaving, handing over or withdrawing; the work has stopped.
    Stopping,
    /// Led, and must not act any more; the work may still be stopping.
    Lost,
}

/// How a tenure was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The lease ran out by this process's own clock.
    Expired,
    /// The store said that the session is not open.
    SessionGone,
    /// An operator revoked the tenure.
    Evicted,
    /// The store says that the tenure is over.
    Ended,
    /// The leader itself gave it up. Nothing tells a contender so: it is for whoever still has
    /// a handle of that tenure.
    Resigned,
}

impl Loss {
    /// The loss as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::SessionGone => "session_gone",
            Self::Evicted => "evicted",
            Self::Ended => "ended",
            Self::Resigned => "resigned",
        }
    }
}

/// How a tenure or a campaign is ended by this process's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Give up and leave the contest.
    Resign,
    /// Give up and contend again from the end of the queue.
    Requeue,
    /// Hand over to a candidate and stay in the queue.
    Transfer(CandidateId),
    /// Give way as asked and stay in the queue.
    Yield,
    /// Confirm an eviction; the store strikes this process from the queue.
    Confirm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Wants to contend and has not said so to the store.
    Idle,
    /// The campaign is not answered; `leaving` when the application wants out by now.
    Joining {
        leaving: bool,
    },
    Waiting,
    Leading {
        token: Token,
        asked: bool,
    },
    Stopping {
        token: Option<Token>,
        ending: Ending,
    },
    /// Evicted: the work must stop, then the store is told.
    Revoked {
        token: Token,
    },
    /// The application has not yet said that its work has stopped.
    Lost,
}

/// What the contender does next for a contest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// It is out, as the application wished.
    Leave,
    /// It is out; the application was told why.
    Forget,
    Rejoin,
    End(Ending),
}

#[derive(Debug)]
pub(super) struct Contest {
    election: ElectionName,
    candidate: CandidateId,
    value: Value,
    standing: Standing,
    state: State,
    /// The request whose answer counts; answers to earlier ones say nothing new.
    request: Option<u64>,
    /// Tokens up to this one are over for this session.
    burnt: Token,
    /// The store's latest word. An answer may have been under way for longer than it.
    latest: Option<Seen>,
}

impl Contest {
    pub(super) fn new(
        election: ElectionName,
        candidate: CandidateId,
        value: Value,
        standing: Standing,
        burnt: Token,
    ) -> Self {
        let state = State::Idle;
        Self { election, candidate, value, standing, state, request: None, burnt, latest: None }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Idle => Phase::Observing,
            State::Joining { leaving: false } | State::Waiting => Phase::Waiting,
            State::Leading { .. } => Phase::Leading,
            State::Joining { leaving: true } | State::Stopping { .. } => Phase::Stopping,
            State::Revoked { .. } | State::Lost => Phase::Lost,
        }
    }

    pub(super) fn burnt(&self) -> Token {
        self.burnt
    }

    /// Whether nothing of the application runs under a tenure of this contest.
    pub(super) fn is_stopped(&self) -> bool {
        !matches!(self.state, State::Leading { .. } | State::Revoked { .. } | State::Lost)
    }

    /// Whether the application wants to be out of it for good.
    pub(super) fn is_leaving(&self) -> bool {
        let resigning = matches!(self.state, State::Stopping { ending: Ending::Resign, .. });
        resigning || self.state == State::Joining { leaving: true }
    }

    /// From now on only the answer to this request counts.
    pub(super) fn awaits(&mut self, request: u64) {
        self.request = Some(request);
    }

    // Commands

    pub(super) fn join(&mut self, session: SessionId) -> Option<Command> {
        if self.state != State::Idle {
            return None;
        }
        self.state = State::Joining { leaving: false };
        Some(Command::Campaign {
            session,
            election: self.election.clone(),
            candidate: self.candidate.clone(),
            value: self.value.clone(),
            standing: self.standing,
        })
    }

    pub(super) fn end(&mut self, session: SessionId, ending: Ending) -> Command {
        let election = self.election.clone();
        let token = match self.state {
            State::Leading { token, .. } | State::Revoked { token } => Some(token),
            State::Stopping { token, .. } => token,
            State::Idle | State::Joining { .. } | State::Waiting | State::Lost => None,
        };
        self.state = State::Stopping { token, ending: ending.clone() };
        let Some(token) = token else { return Command::Withdraw { session, election } };
        match ending {
            Ending::Resign | Ending::Requeue => Command::Resign { session, election, token },
            Ending::Transfer(to) => Command::Transfer { session, election, token, to },
            Ending::Yield | Ending::Confirm => Command::Yield { session, election, token },
        }
    }

    // Wishes of the application

    /// The application wants out, and its work has stopped.
    pub(super) fn resign(&mut self) -> Next {
        match &mut self.state {
            State::Idle => Next::Leave,
            State::Joining { leaving } => {
                *leaving = true;
                Next::Wait
            }
            State::Stopping { ending: Ending::Resign, .. } => Next::Wait,
            State::Waiting
            | State::Leading { .. }
            | State::Stopping { .. }
            | State::Revoked { .. }
            | State::Lost => Next::End(Ending::Resign),
        }
    }

    /// The application wants to hand over, and its work has stopped.
    pub(super) fn transfer(&mut self, to: CandidateId) -> Next {
        match self.state {
            State::Leading { .. } => Next::End(Ending::Transfer(to)),
            // Too late to hand anything over; what holds is that the work has stopped.
            _ => self.work_stopped(),
        }
    }

    /// The application's work has stopped: what to tell the store, if anything.
    pub(super) fn work_stopped(&mut self) -> Next {
        match self.state {
            State::Leading { asked: true, .. } => Next::End(Ending::Yield),
            State::Revoked { .. } => Next::End(Ending::Confirm),
            State::Lost => self.rejoin(),
            _ => Next::Wait,
        }
    }

    // News from the store

    /// The store's answer; `valid` tells whether the session's deadline lies ahead.
    pub(super) fn answered(
        &mut self,
        request: u64,
        session: SessionId,
        valid: bool,
        outcome: &Outcome,
        told: &mut VecDeque<Action>,
    ) -> Next {
        if self.request != Some(request) {
            return Next::Wait;
        }
        self.request = None;
        match self.state {
            State::Joining { leaving: false } => self.joined(session, valid, outcome, told),
            State::Joining { leaving: true } => self.joined_in_vain(outcome),
            State::Stopping { .. } => self.ended(outcome),
            _ => Next::Wait,
        }
    }

    fn joined(
        &mut self,
        session: SessionId,
        valid: bool,
        outcome: &Outcome,
        told: &mut VecDeque<Action>,
    ) -> Next {
        self.state = State::Waiting;
        let election = self.election.clone();
        match outcome {
            Outcome::Leading { token } => self.joined_as_leader(session, *token, valid, told),
            Outcome::Waiting { position } => {
                told.push_back(Action::Tell(Notice::Waiting { election, position: *position }));
                Next::Wait
            }
            Outcome::Refused(refusal) => {
                let refusal = refusal.clone();
                told.push_back(Action::Tell(Notice::Refused { election, refusal }));
                Next::Forget
            }
            Outcome::Done
            | Outcome::Asked { .. }
            | Outcome::Taken { .. }
            | Outcome::Member { .. } => Next::Wait,
        }
    }

    fn joined_as_leader(
        &mut self,
        session: SessionId,
        token: Token,
        valid: bool,
        told: &mut VecDeque<Action>,
    ) -> Next {
        let newer = self.latest.as_ref().filter(|seen| seen.revision.get() > token.get());
        let over = newer.is_some_and(|seen| seen.holder != Some((session, token)));
        if over || token <= self.burnt {
            // The answer was overtaken by what is known, or the store has kept a tenure that
            // was given up here: nothing runs under it.
            self.burnt = self.burnt.max(token);
            self.state = State::Stopping { token: Some(token), ending: Ending::Requeue };
            return Next::End(Ending::Requeue);
        }
        if newer.is_some() {
            return self.review(session, valid, told);
        }
        self.granted(token, valid, told);
        Next::Wait
    }

    /// The campaign is answered after the application wanted out: nothing ran under it.
    fn joined_in_vain(&mut self, outcome: &Outcome) -> Next {
        match *outcome {
            Outcome::Leading { token } => {
                self.burnt = self.burnt.max(token);
                self.state = State::Stopping { token: Some(token), ending: Ending::Resign };
                Next::End(Ending::Resign)
            }
            Outcome::Refused(_) => Next::Leave,
            _ => Next::End(Ending::Resign),
        }
    }

    fn granted(&mut self, token: Token, valid: bool, told: &mut VecDeque<Action>) {
        // A grant that comes after the lease ran out is no leadership; the lost session is
        // dealt with by the clock.
        if !valid {
            return;
        }
        self.burnt = token;
        self.state = State::Leading { token, asked: false };
        told.push_back(Action::Tell(Notice::Elected { election: self.election.clone(), token }));
    }

    /// The store's word; `valid` tells whether the session's deadline lies ahead.
    pub(super) fn seen(
        &mut self,
        session: SessionId,
        valid: bool,
        seen: &Seen,
        told: &mut VecDeque<Action>,
    ) -> Next {
        if self.latest.as_ref().is_some_and(|latest| latest.revision > seen.revision) {
            return Next::Wait;
        }
        self.latest = Some(seen.clone());
        self.review(session, valid, told)
    }

    /// Draws the consequences of the store's latest word.
    fn review(&mut self, session: SessionId, valid: bool, told: &mut VecDeque<Action>) -> Next {
        let Some(seen) = self.latest.clone() else { return Next::Wait };
        let mine = seen.holder.filter(|(holder, _)| *holder == session).map(|(_, token)| token);
        if matches!(self.state, State::Joining { leaving: false } | State::Waiting)
            && let Some(token) = mine.filter(|token| *token > self.burnt)
        {
            if seen.revoked {
                // Nothing ran under it yet, so the eviction can be confirmed at once.
                self.burnt = token;
                self.state = State::Revoked { token };
                return Next::End(Ending::Confirm);
            }
            self.granted(token, valid, told);
        }
        if self.state == State::Waiting
            && let Some(token) = mine.filter(|token| *token <= self.burnt)
        {
            // The store went back to before this tenure was given up here: nothing runs under
            // it, and nobody else is elected while its lease is renewed.
            self.state = State::Stopping { token: Some(token), ending: Ending::Requeue };
            return Next::End(Ending::Requeue);
        }
        if let State::Leading { token, asked } = self.state
            // What is older than the grant says nothing about it.
            && seen.revision.get() >= token.get()
        {
            self.review_tenure(token, asked, mine, &seen, told);
        }
        Next::Wait
    }

    fn review_tenure(
        &mut self,
        token: Token,
        asked: bool,
        mine: Option<Token>,
        seen: &Seen,
        told: &mut VecDeque<Action>,
    ) {
        let election = self.election.clone();
        let notice = if mine != Some(token) {
            self.state = State::Lost;
            Notice::Lost { election, token, loss: Loss::Ended }
        } else if seen.revoked {
            self.state = State::Revoked { token };
            Notice::Lost { election, token, loss: Loss::Evicted }
        } else if seen.handover && !asked {
            self.state = State::Leading { token, asked: true };
            Notice::HandoverAsked { election, token }
        } else {
            return;
        };
        told.push_back(Action::Tell(notice));
    }

    /// The store answered an ending.
    fn ended(&mut self, outcome: &Outcome) -> Next {
        let State::Stopping { token, ending } = &mut self.state else { return Next::Wait };
        let led = token.is_some();
        match (outcome, &ending) {
            // The withdrawal met a grant: the tenure is given back before it was ever used.
            (Outcome::Refused(Refusal::Leads { token: granted, .. }), _) => {
                self.burnt = self.burnt.max(*granted);
                *token = Some(*granted);
                Next::End(Ending::Resign)
            }
            // The tenure ended in another way, perhaps one that left the candidacy standing.
            (Outcome::Refused(Refusal::NotLeader { .. }), Ending::Resign) if led => {
                *token = None;
                Next::End(Ending::Resign)
            }
            (_, Ending::Resign) => Next::Leave,
            (Outcome::Refused(Refusal::NotLeader { .. }), _) => self.rejoin(),
            // The work has stopped, so leading on without it would hold everybody up.
            (Outcome::Refused(_), Ending::Transfer(_) | Ending::Yield) => {
                Next::End(Ending::Requeue)
            }
            // Also after a hand-over, which leaves the candidate in the queue unless it was
            // evicted meanwhile: a campaign that stands already changes nothing.
            _ => self.rejoin(),
        }
    }

    fn rejoin(&mut self) -> Next {
        self.state = State::Idle;
        Next::Rejoin
    }

    /// The session is lost, and with it whatever it carried.
    pub(super) fn lose(&mut self, loss: Loss) -> Option<Notice> {
        // Words about the lost session are told by its id; a fresh one starts anew.
        self.request = None;
        self.burnt = Token::default();
        self.latest = None;
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Leading { token, .. } => {
                self.state = State::Lost;
                Some(Notice::Lost { election: self.election.clone(), token, loss })
            }
            // The application was told already and has not said that its work has stopped.
            State::Revoked { .. } | State::Lost => {
                self.state = State::Lost;
                None
            }
            State::Idle | State::Joining { .. } | State::Waiting | State::Stopping { .. } => None,
        }
    }
}
