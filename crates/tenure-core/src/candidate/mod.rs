//! What one contending process may believe about itself, and until when.
//!
//! A [`Contender`] is one process with one session and any number of contests. Everything that
//! can end leadership (the lease running out, the session gone, an eviction, a hand-over, its
//! own resignation) is an input to this one machine, so no cached flag can disagree with it.
//!
//! Its methods come in four kinds: wishes of the application (`campaign`, `resign`, ...), news
//! from the store (`answered`, `renewed`, `seen`, ...), [`Contender::tick`] for the passing of
//! time, and [`Contender::poll`], which must be called after each of them until it gives
//! nothing. Moments given to it never go back.
//!
//! **Invariant:** a contest is `Leading` only while a grant of the present session is known
//! *and* the session's deadline lies ahead. The deadline counts from the sending of the renewal
//! that was acknowledged ([`crate::timing`]).

mod contest;
mod length;
mod session;

use alloc::{collections::BTreeMap, collections::VecDeque, vec::Vec};

use contest::{Contest, Ending, Next};
pub use contest::{Loss, Phase};
use length::Retiming;
use session::{Lifeline, Renewal};

use crate::{
    CandidateId, ElectionName, Incarnation, Moment, RequestId, Revision, SessionId, Token, Value,
    ledger::{Command, Outcome, Refusal, SessionEnd, Standing},
    timing::{Drift, Ttl, adaptive::TtlRange},
};

/// What the store says about one election, as a contender needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Number of the last change to the election.
    pub revision: Revision,
    /// Who holds it, with which token.
    pub holder: Option<(SessionId, Token)>,
    /// The holder is asked to hand over.
    pub handover: bool,
    /// The holder's tenure is revoked.
    pub revoked: bool,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a command until it is answered; repeat it unchanged when the answer may be lost.
    Ask {
        /// Names the request for the store.
        request: RequestId,
        /// The command.
        command: Command,
    },
    /// Send a renewal once.
    Renew {
        /// The session to renew.
        session: SessionId,
        /// Names this renewal in its acknowledgement.
        renewal: u64,
    },
    /// Tell the application.
    Tell(Notice),
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It contends and waits; the first in line has position 1.
    Waiting {
        /// The contest.
        election: ElectionName,
        /// Place in the order of succession when it joined.
        position: u32,
    },
    /// It leads now.
    Elected {
        /// The contest.
        election: ElectionName,
        /// Its fencing token.
        token: Token,
    },
    /// It is asked to hand over: stop the work, then call [`Contender::stopped`].
    HandoverAsked {
        /// The contest.
        election: ElectionName,
        /// The tenure that is to end.
        token: Token,
    },
    /// It does not lead any more. If its work still runs it must stop now, and
    /// [`Contender::stopped`] must be called when it has.
    Lost {
        /// The contest.
        election: ElectionName,
        /// The tenure that ended.
        token: Token,
        /// Why.
        loss: Loss,
    },
    /// It left the contest as it wished.
    Left {
        /// The contest.
        election: ElectionName,
    },
    /// The store refused to let it contend; the shell may try again later.
    Refused {
        /// The contest.
        election: ElectionName,
        /// Why.
        refusal: Refusal,
    },
}

/// One process that contends.
#[derive(Debug)]
pub struct Contender {
    process: Incarnation,
    lifeline: Lifeline,
    contests: BTreeMap<ElectionName, Contest>,
    /// Tokens that are over for the present session, of contests that were left.
    burnt: BTreeMap<ElectionName, Token>,
    /// What each unanswered request was for.
    asked: BTreeMap<u64, Asked>,
    next_request: u64,
    closing: bool,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone)]
struct Asked {
    session: SessionId,
    purpose: Purpose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    Open,
    Contest(ElectionName),
    Retime,
    Close,
}

/// Left contests whose last token is remembered: a sighting that old does not arrive any more.
const MAX_BURNT: usize = 1024;

impl Contender {
    /// A contender that has no session yet and opens one with its first campaign. Its lease has
    /// the length given, or follows what its renewals go through between two bounds.
    #[must_use]
    pub fn new(process: Incarnation, ttl: impl Into<TtlRange>, drift: Drift) -> Self {
        Self {
            process,
            lifeline: Lifeline::new(ttl.into(), drift),
            contests: BTreeMap::new(),
            burnt: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 1,
            closing: false,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Contender::tick`] must be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.lifeline.next_deadline()
    }

    /// The present session and until when this process may believe in it.
    #[must_use]
    pub fn validity(&self) -> Option<(SessionId, Moment)> {
        self.lifeline.validity()
    }

    /// Length of the lease that is in force: what renewals count with.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.lifeline.ttl()
    }

    /// Where one contest stands.
    #[must_use]
    pub fn phase(&self, election: &ElectionName) -> Phase {
        self.contests.get(election).map_or(Phase::Observing, Contest::phase)
    }

    // Wishes of the application

    /// Starts to contend. Contending for an election that it is in already changes nothing,
    /// also while it is still leaving: wait for [`Notice::Left`] first.
    pub fn campaign(
        &mut self,
        election: ElectionName,
        candidate: CandidateId,
        value: Value,
        standing: Standing,
        now: Moment,
    ) {
        if self.closing || self.contests.contains_key(&election) {
            return;
        }
        let name = election.clone();
        let burnt = self.burnt.remove(&name).unwrap_or_default();
        let contest = Contest::new(election, candidate, value, standing, burnt);
        self.contests.insert(name.clone(), contest);
        self.join_or_open(&name, now);
    }

    /// The application wants to leave a contest; a leader's work must have stopped. With
    /// `to`, leadership goes to that candidate and this one stays in the queue; who does not
    /// lead (any more) has nothing to hand over and just stays.
    pub fn resign(&mut self, election: &ElectionName, to: Option<CandidateId>) {
        let Some(contest) = self.contests.get_mut(election) else { return };
        let next = match to {
            Some(to) => contest.transfer(to),
            None => contest.resign(),
        };
        self.go_on(election, next);
    }

    /// The work of a tenure that was lost, revoked or asked to be handed over has stopped.
    pub fn stopped(&mut self, election: &ElectionName, now: Moment) {
        let Some(contest) = self.contests.get_mut(election) else { return };
        match contest.work_stopped() {
            Next::Rejoin => self.join_or_open(election, now),
            next => self.go_on(election, next),
        }
    }

    /// Leaves everything: the work of every tenure must have stopped.
    pub fn close(&mut self) {
        self.closing = true;
        self.contests.clear();
        if let Some(session) = self.lifeline.forget() {
            let command = Command::CloseSession { session, reason: SessionEnd::Closed };
            self.ask(session, Purpose::Close, command);
        }
    }

    /// The lease is to have another length, or other bounds. What is in force changes when the
    /// store has agreed, see [`Contender::ttl`].
    pub fn set_ttl(&mut self, ttl: impl Into<TtlRange>) {
        self.lifeline.set_range(ttl.into());
    }

    // News from the store

    /// The answer to a request of [`Action::Ask`]. Answers for an older session are dropped.
    pub fn answered(&mut self, request: RequestId, outcome: &Outcome, now: Moment) {
        if request.process != self.process {
            return;
        }
        let Some(asked) = self.asked.remove(&request.number) else { return };
        if !self.lifeline.is_current(asked.session) {
            return;
        }
        if let Outcome::Refused(Refusal::NoSession { session }) = outcome {
            self.session_gone(*session, now);
            return;
        }
        match asked.purpose {
            Purpose::Open => self.opened(outcome, now),
            Purpose::Contest(election) => {
                self.contest_answered(&election, request.number, outcome, now);
            }
            Purpose::Retime => self.lifeline.retimed(*outcome == Outcome::Done),
            Purpose::Close => {}
        }
    }

    /// A renewal was acknowledged with proof that the store's leader led after receiving it.
    ///
    /// Whatever the store knew about this session's elections when it *received* the renewal
    /// must have been passed to [`Contender::seen`] before: an eviction waits only for renewals
    /// that were received before it, so an acknowledgement that came without news of the
    /// eviction would let this process believe for longer than the eviction waits.
    pub fn renewed(&mut self, session: SessionId, renewal: u64, now: Moment) {
        if self.lifeline.is_current(session) {
            self.lifeline.acknowledged(Renewal(renewal), now);
        }
    }

    /// The store says that a session is not open.
    pub fn session_gone(&mut self, session: SessionId, now: Moment) {
        if self.lifeline.is_current(session) {
            self.lose_session(Loss::SessionGone, now);
        }
    }

    /// The store's latest word on an election.
    pub fn seen(&mut self, election: &ElectionName, seen: &Seen, now: Moment) {
        let Some((session, deadline)) = self.lifeline.validity() else { return };
        let Some(contest) = self.contests.get_mut(election) else { return };
        let next = contest.seen(session, deadline > now, seen, &mut self.actions);
        self.go_on(election, next);
    }

    /// Time has passed: renews, and ends what has run out.
    pub fn tick(&mut self, now: Moment) {
        self.lifeline.measure(now);
        if self.lifeline.has_expired(now) {
            self.lose_session(Loss::Expired, now);
        }
        if self.lifeline.retry_due(now) {
            self.open(now);
        }
        if let Some((session, Retiming { ttl, number })) = self.lifeline.retiming(now) {
            let command = Command::Retime { session, ttl, number };
            self.ask(session, Purpose::Retime, command);
        }
        if let Some((session, renewal)) = self.lifeline.renewal_due(now) {
            self.actions.push_back(Action::Renew { session, renewal: renewal.0 });
        }
    }

    // Inside

    fn open(&mut self, now: Moment) {
        if self.closing || self.lifeline.is_opening() {
            return;
        }
        // Naming the old session says that nothing runs under it any more.
        let all_stopped = self.contests.values().all(Contest::is_stopped);
        let (session, old) = self.lifeline.begin(self.process, now);
        let command = Command::OpenSession {
            session,
            ttl: self.lifeline.ttl(),
            supersedes: old.filter(|_| all_stopped),
        };
        self.ask(session, Purpose::Open, command);
    }

    fn opened(&mut self, outcome: &Outcome, now: Moment) {
        match outcome {
            // So late that the lease is over already: take a fresh one.
            Outcome::Done if !self.lifeline.opened(now) => {
                return self.lose_session(Loss::Expired, now);
            }
            Outcome::Done => {}
            // The store is full, or the number was used by a request of ours that was believed
            // lost: try a fresh one a little later.
            _ => return self.lifeline.retry_later(now),
        }
        let Some(session) = self.lifeline.open_session() else { return };
        let elections: Vec<_> = self.contests.keys().cloned().collect();
        for election in elections {
            self.join(session, &election);
        }
    }

    fn join(&mut self, session: SessionId, election: &ElectionName) {
        let Some(contest) = self.contests.get_mut(election) else { return };
        let Some(command) = contest.join(session) else { return };
        self.ask_for(session, election, command);
    }

    fn contest_answered(
        &mut self,
        election: &ElectionName,
        number: u64,
        outcome: &Outcome,
        now: Moment,
    ) {
        let Some((session, deadline)) = self.lifeline.validity() else { return };
        let Some(contest) = self.contests.get_mut(election) else { return };
        let valid = deadline > now;
        let next = contest.answered(number, session, valid, outcome, &mut self.actions);
        self.go_on(election, next);
    }

    fn join_or_open(&mut self, election: &ElectionName, now: Moment) {
        match self.lifeline.open_session() {
            Some(session) => self.join(session, election),
            None => self.open(now),
        }
    }

    fn end(&mut self, election: &ElectionName, ending: Ending) {
        let Some(contest) = self.contests.get_mut(election) else { return };
        // Without a session nothing is held; what an older one held ends with its lease.
        let Some(session) = self.lifeline.open_session() else { return self.leave(election) };
        let command = contest.end(session, ending);
        self.ask_for(session, election, command);
    }

    fn go_on(&mut self, election: &ElectionName, next: Next) {
        match next {
            Next::Wait => {}
            // Without an open session, one is being opened, and every contest joins it then.
            Next::Rejoin => {
                if let Some(session) = self.lifeline.open_session() {
                    self.join(session, election);
                }
            }
            Next::End(ending) => self.end(election, ending),
            Next::Leave => self.leave(election),
            Next::Forget => self.forget(election),
        }
    }

    fn leave(&mut self, election: &ElectionName) {
        self.forget(election);
        self.actions.push_back(Action::Tell(Notice::Left { election: election.clone() }));
    }

    fn forget(&mut self, election: &ElectionName) {
        let Some(contest) = self.contests.remove(election) else { return };
        if contest.burnt() == Token::default() {
            return;
        }
        self.burnt.insert(election.clone(), contest.burnt());
        if self.burnt.len() > MAX_BURNT {
            let oldest = self.burnt.iter().min_by_key(|(_, token)| **token);
            if let Some(oldest) = oldest.map(|(election, _)| election.clone()) {
                self.burnt.remove(&oldest);
            }
        }
    }

    fn lose_session(&mut self, loss: Loss, now: Moment) {
        self.lifeline.lose();
        let leaving = self.contests.iter().filter(|(_, contest)| contest.is_leaving());
        let leaving: Vec<_> = leaving.map(|(election, _)| election.clone()).collect();
        for election in leaving {
            self.leave(&election);
        }
        for contest in self.contests.values_mut() {
            self.actions.extend(contest.lose(loss).map(Action::Tell));
        }
        self.burnt.clear();
        // Contests that were only waiting go on under a fresh session at once; those that led
        // follow when their work has stopped.
        if !self.contests.is_empty() {
            self.open(now);
        }
    }

    fn ask_for(&mut self, session: SessionId, election: &ElectionName, command: Command) {
        let number = self.ask(session, Purpose::Contest(election.clone()), command);
        if let Some(contest) = self.contests.get_mut(election) {
            contest.awaits(number);
        }
    }

    fn ask(&mut self, session: SessionId, purpose: Purpose, command: Command) -> u64 {
        let number = self.next_request;
        self.next_request += 1;
        self.asked.insert(number, Asked { session, purpose });
        let request = RequestId { process: self.process, number };
        self.actions.push_back(Action::Ask { request, command });
        number
    }
}
