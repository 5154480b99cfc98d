//! One contending process: its contender, its shell, and its application.

use std::collections::BTreeMap;

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, RequestId, SessionId, Token, Value,
    candidate::{Contender, Phase, Seen},
    ledger::{Command, Outcome, Standing},
    timing::{Drift, Ttl, holder_deadline},
};

use super::{Bug, clock::Clock};

/// News on its way to a process.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Answer(RequestId, Outcome),
    Seen(ElectionName, Seen),
    Renewed { session: SessionId, renewal: u64, with: Vec<(ElectionName, Seen)> },
    Gone(SessionId),
}

/// What the application does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Campaign(ElectionName),
    Stopped(ElectionName),
    Resign(ElectionName, Option<CandidateId>),
    SetTtl(Ttl),
}

pub(crate) struct Process {
    pub(crate) contender: Contender,
    pub(crate) clock: Clock,
    pub(crate) candidate: CandidateId,
    /// Counts its starts; what belongs to an earlier one is void.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    pub(crate) unanswered: BTreeMap<u64, (RequestId, Command)>,
    /// Elections whose work runs, with the token it runs under.
    pub(crate) working: BTreeMap<ElectionName, Token>,
    pub(crate) wakes_at: u64,
    /// What a shell that counts its lease from the acknowledgement takes for its deadline.
    careless_until: Moment,
    timing: (Ttl, Drift),
    last_session: Option<SessionId>,
    /// Commands that a shell with a bug adds.
    pub(crate) unsent: Vec<(RequestId, Command)>,
    retimed: u32,
    early: u32,
    bug: Option<Bug>,
}

impl Process {
    pub(crate) fn start(
        at: u64,
        life: u64,
        clock: Clock,
        timing: (Ttl, Drift),
        bug: Option<Bug>,
    ) -> Self {
        let incarnation = Incarnation::from_random((at + 10) << 32 | life);
        Self {
            contender: Contender::new(incarnation, timing.0, timing.1),
            clock,
            candidate: candidate(at),
            life,
            paused_until: 0,
            unanswered: BTreeMap::new(),
            working: BTreeMap::new(),
            wakes_at: u64::MAX,
            careless_until: Moment::default(),
            timing,
            last_session: None,
            unsent: Vec::new(),
            retimed: 0,
            early: 0,
            bug,
        }
    }

    /// Whether it may act as the leader, as far as it knows.
    pub(crate) fn believes(&self, election: &ElectionName, now: u64) -> bool {
        let until = self.contender.validity().map_or(Moment::default(), |(_, until)| until);
        let until = until.max(self.careless_until);
        self.contender.phase(election) == Phase::Leading && self.clock.at(now) < until
    }

    pub(crate) fn tick(&mut self, now: u64) {
        let moment = self.clock.at(now);
        let expired = self.contender.validity().is_some_and(|(_, until)| until <= moment);
        if !expired || moment >= self.careless_until {
            self.contender.tick(moment);
        }
    }

    /// When it wants to tick next, in true time.
    pub(crate) fn alarm(&self) -> Option<u64> {
        let next = self.contender.next_deadline()?;
        let expires = self.contender.validity().is_some_and(|(_, until)| until <= next);
        Some(self.clock.when(if expires { next.max(self.careless_until) } else { next }))
    }

    pub(crate) fn hear(&mut self, news: News, now: u64) {
        let moment = self.clock.at(now);
        match news {
            News::Answer(request, outcome) => {
                self.unanswered.remove(&request.number);
                self.contender.answered(request, &outcome, moment);
            }
            News::Seen(election, seen) => self.contender.seen(&election, &seen, moment),
            News::Renewed { session, renewal, with } => {
                for (election, seen) in with {
                    self.contender.seen(&election, &seen, moment);
                }
                self.contender.renewed(session, renewal, moment);
                if self.bug == Some(Bug::CountsFromAcknowledgement) {
                    self.careless_until = holder_deadline(moment, self.timing.0, self.timing.1);
                }
            }
            News::Gone(session) => self.contender.session_gone(session, moment),
        }
    }

    pub(crate) fn act(&mut self, act: Act, now: u64) {
        let moment = self.clock.at(now);
        match act {
            Act::Campaign(election) => {
                let (candidate, value) = (self.candidate.clone(), Value::default());
                let standing = Standing::default();
                self.contender.campaign(election, candidate, value, standing, moment);
            }
            Act::Stopped(election) => {
                self.working.remove(&election);
                self.contender.stopped(&election, moment);
            }
            Act::Resign(election, to) => {
                self.working.remove(&election);
                self.contender.resign(&election, to);
            }
            Act::SetTtl(ttl) => {
                self.contender.set_ttl(ttl);
                self.shorten_early(ttl);
                self.contender.tick(moment);
            }
        }
    }

    /// The bug: the store shortens at once.
    fn shorten_early(&mut self, ttl: Ttl) {
        let Some((session, _)) = self.contender.validity() else { return };
        if self.bug == Some(Bug::ShortenedAtTheStoreFirst) && ttl < self.contender.ttl() {
            self.early += 1;
            let number = (1 << 32) + u64::from(self.early);
            let request = RequestId { process: session.process, number };
            let command = Command::Retime { session, ttl, number: self.retimed + self.early };
            self.unsent.push((request, command));
        }
    }

    /// The bug: what was asked for is counted with from then on. So nobody waits for the answer,
    /// and nothing is repeated.
    pub(crate) fn believes_early(
        &mut self,
        request: RequestId,
        command: &Command,
        now: u64,
    ) -> bool {
        let longer = match command {
            Command::Retime { ttl, .. } => *ttl > self.contender.ttl(),
            _ => false,
        };
        let early = longer && self.bug == Some(Bug::LengthenedAtTheHolderFirst);
        if early {
            self.contender.answered(request, &Outcome::Done, self.clock.at(now));
        }
        early
    }

    /// A command on its way out, as a shell with a bug would send it.
    pub(crate) fn outgoing(&mut self, command: Command) -> Command {
        if let Command::Retime { session, ttl, number } = command {
            self.retimed = number;
            return Command::Retime { session, ttl, number: number + self.early };
        }
        let Command::OpenSession { session, ttl, supersedes } = command else { return command };
        (self.retimed, self.early) = (0, 0);
        let old = self.last_session.replace(session);
        let careless = self.bug == Some(Bug::SupersedesThoughNotStopped);
        let supersedes = if careless { old } else { supersedes };
        Command::OpenSession { session, ttl, supersedes }
    }
}

pub(crate) fn candidate(at: u64) -> CandidateId {
    CandidateId::new(format!("p{at}")).expect("a name")
}
