//! One contest of a contender.

use super::{Notice, Seen};
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

/// How a tenure was lost without the leader's wish.
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
    /// Confirm an eviction; the store has struck this process from the queue.
    Confirm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Joining,
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
    Lost {
        stopped: bool,
    },
}

/// What follows when the store has answered an [`Ending`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Leave,
    Wait,
    Rejoin,
    End(Ending),
}

#[derive(Debug)]
pub(super) struct Contest {
    candidate: CandidateId,
    value: Value,
    standing: Standing,
    state: State,
    /// Tokens up to this one are over for this process, whatever arrives late about them.
    burnt: Token,
}

impl Contest {
    pub(super) fn new(candidate: CandidateId, value: Value, standing: Standing) -> Self {
        Self { candidate, value, standing, state: State::Idle, burnt: Token::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Idle => Phase::Observing,
            State::Joining | State::Waiting => Phase::Waiting,
            State::Leading { .. } => Phase::Leading,
            State::Stopping { .. } => Phase::Stopping,
            State::Revoked { .. } | State::Lost { .. } => Phase::Lost,
        }
    }

    /// Whether nothing of the application runs under a tenure of this contest.
    pub(super) fn is_stopped(&self) -> bool {
        !matches!(
            self.state,
            State::Leading { .. } | State::Revoked { .. } | State::Lost { stopped: false }
        )
    }

    /// Whether the application wants to be out of it for good.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Stopping { ending: Ending::Resign, .. })
    }

    pub(super) fn join(&mut self, session: SessionId, election: &ElectionName) -> Option<Command> {
        if self.state != State::Idle {
            return None;
        }
        self.state = State::Joining;
        Some(Command::Campaign {
            session,
            election: election.clone(),
            candidate: self.candidate.clone(),
            value: self.value.clone(),
            standing: self.standing,
        })
    }

    /// The store's answer to a campaign; `valid` tells whether the session's deadline lies
    /// ahead.
    pub(super) fn joined(
        &mut self,
        election: &ElectionName,
        valid: bool,
        outcome: &Outcome,
    ) -> Option<Notice> {
        if self.state != State::Joining {
            return None;
        }
        self.state = State::Waiting;
        let election = election.clone();
        match outcome {
            Outcome::Leading { token } => self.granted(&election, *token, valid),
            Outcome::Waiting { position } => {
                Some(Notice::Waiting { election, position: *position })
            }
            Outcome::Refused(refusal) => {
                Some(Notice::Refused { election, refusal: refusal.clone() })
            }
            Outcome::Done | Outcome::Asked { .. } | Outcome::Member { .. } => None,
        }
    }

    fn granted(&mut self, election: &ElectionName, token: Token, valid: bool) -> Option<Notice> {
        // A grant that comes after the lease ran out is no leadership; the lost session is
        // dealt with by the clock.
        if !valid || token <= self.burnt {
            return None;
        }
        self.burnt = token;
        self.state = State::Leading { token, asked: false };
        Some(Notice::Elected { election: election.clone(), token })
    }

    /// The store's word; `valid` tells whether the session's deadline lies ahead.
    pub(super) fn seen(
        &mut self,
        election: &ElectionName,
        session: SessionId,
        valid: bool,
        seen: &Seen,
    ) -> Option<Notice> {
        let mine = seen.holder.filter(|(holder, _)| *holder == session).map(|(_, token)| token);
        match self.state {
            State::Joining | State::Waiting => {
                mine.and_then(|token| self.granted(election, token, valid))
            }
            // What is older than the grant says nothing about it.
            State::Leading { token, .. } if seen.revision.get() < token.get() => None,
            State::Leading { token, asked } => {
                let election = election.clone();
                if mine != Some(token) {
                    self.state = State::Lost { stopped: false };
                    return Some(Notice::Lost { election, token, loss: Loss::Ended });
                }
                if seen.revoked {
                    self.state = State::Revoked { token };
                    return Some(Notice::Lost { election, token, loss: Loss::Evicted });
                }
                if seen.handover && !asked {
                    self.state = State::Leading { token, asked: true };
                    return Some(Notice::HandoverAsked { election, token });
                }
                None
            }
            State::Idle | State::Stopping { .. } | State::Revoked { .. } | State::Lost { .. } => {
                None
            }
        }
    }

    /// The application's work has stopped: what to tell the store, if anything.
    pub(super) fn work_stopped(&mut self) -> Next {
        match &mut self.state {
            State::Leading { asked: true, .. } => Next::End(Ending::Yield),
            State::Revoked { .. } => Next::End(Ending::Confirm),
            State::Lost { stopped } => {
                *stopped = true;
                self.state = State::Idle;
                Next::Rejoin
            }
            _ => Next::Wait,
        }
    }

    pub(super) fn end(
        &mut self,
        session: SessionId,
        election: &ElectionName,
        ending: Ending,
    ) -> Command {
        let election = election.clone();
        let token = match self.state {
            State::Leading { token, .. } | State::Revoked { token } => Some(token),
            State::Stopping { token, .. } => token,
            State::Idle | State::Joining | State::Waiting | State::Lost { .. } => None,
        };
        self.state = State::Stopping { token, ending: ending.clone() };
        let Some(token) = token else { return Command::Withdraw { session, election } };
        match ending {
            Ending::Resign | Ending::Requeue => Command::Resign { session, election, token },
            Ending::Transfer(to) => Command::Transfer { session, election, token, to },
            Ending::Yield | Ending::Confirm => Command::Yield { session, election, token },
        }
    }

    /// The store answered an ending.
    pub(super) fn ended(&mut self, outcome: &Outcome) -> Next {
        let State::Stopping { token, ending } = &mut self.state else { return Next::Wait };
        // The withdrawal met a grant: the tenure is given back before it was ever used.
        if let Outcome::Refused(Refusal::Leads { token: granted, .. }) = outcome {
            *token = Some(*granted);
            return Next::End(Ending::Resign);
        }
        let refused = matches!(
            outcome,
            Outcome::Refused(refusal) if !matches!(refusal, Refusal::NotLeader { .. })
        );
        match ending {
            Ending::Resign => Next::Leave,
            // The work has stopped, so leading on without it would hold everybody up.
            Ending::Transfer(_) | Ending::Yield if refused => Next::End(Ending::Requeue),
            Ending::Transfer(_) | Ending::Yield => {
                self.state = State::Waiting;
                Next::Wait
            }
            Ending::Requeue | Ending::Confirm => {
                self.state = State::Idle;
                Next::Rejoin
            }
        }
    }

    /// The session is lost, and with it whatever it carried.
    pub(super) fn lose(&mut self, election: &ElectionName, loss: Loss) -> Option<Notice> {
        let before = core::mem::replace(&mut self.state, State::Idle);
        match before {
            State::Leading { token, .. } => {
                self.state = State::Lost { stopped: false };
                Some(Notice::Lost { election: election.clone(), token, loss })
            }
            // The application was told already and has not said that its work has stopped.
            State::Revoked { .. } | State::Lost { stopped: false } => {
                self.state = State::Lost { stopped: false };
                None
            }
            State::Idle
            | State::Joining
            | State::Waiting
            | State::Stopping { .. }
            | State::Lost { stopped: true } => None,
        }
    }
}
