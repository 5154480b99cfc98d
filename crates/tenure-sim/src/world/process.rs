//! A process beside the quorum: a real contender with the shell that keeps it, an observer, or
//! an operator.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, Revision, Token, View,
    candidate::{Action, Contender, Phase, Seen},
    ledger::{Command, Outcome},
    timing::{Drift, Ttl, holder_deadline},
};
use tenure_replica::Wish;

use super::{
    MS, World,
    line::{Heard, Line},
    net::Close,
    retime::Early,
};
use crate::{
    event::{Act, Event, Happening, Item, Who},
    mutant::Mutant,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Candidate,
    Observer,
    Operator,
}

/// How the application stands with a tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Leading,
    /// Asked to hand over, or lost: its work must stop.
    Stopping,
}

pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) candidate: CandidateId,
    pub(crate) host: usize,
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) incarnation: Incarnation,
    pub(crate) contender: Contender,
    pub(crate) line: Line,
    /// Elections that the application was granted and has not let go of.
    pub(crate) holds: BTreeMap<ElectionName, (Token, Hold)>,
    /// Elections whose work runs, with the token it runs under.
    pub(crate) working: BTreeMap<ElectionName, Token>,
    pub(crate) paused_until: u64,
    pub(crate) inbox: VecDeque<Happening>,
    pub(crate) wakes_at: u64,
    /// What an observer knows: revision, token and whether it is known.
    pub(crate) views: BTreeMap<ElectionName, (Revision, Option<Token>, bool)>,
    /// What a shell that counts its lease from the acknowledgement takes for its deadline.
    pub(crate) careless_until: Moment,
    /// Requests of an operator.
    pub(crate) requests: u64,
    pub(crate) was_on: Option<u64>,
    pub(crate) closing: bool,
    /// Changes of its lease that a shell with a bug adds to those of its contender.
    pub(crate) early: Early,
    last_session: Option<tenure_core::SessionId>,
    /// How long this life's machine had slept when it began.
    slept_before: u64,
}

impl Process {
    pub(crate) fn new(at: usize, role: Role, host: usize, ttl: Ttl, drift: Drift) -> Self {
        let incarnation = Incarnation::from_random(0);
        Self {
            role,
            candidate: candidate(at),
            host,
            life: 0,
            up: false,
            incarnation,
            contender: Contender::new(incarnation, ttl, drift),
            line: Line::default(),
            holds: BTreeMap::new(),
            working: BTreeMap::new(),
            paused_until: 0,
            inbox: VecDeque::new(),
            wakes_at: u64::MAX,
            views: BTreeMap::new(),
            careless_until: Moment::default(),
            requests: 0,
            was_on: None,
            closing: false,
            early: Early::default(),
            last_session: None,
            slept_before: 0,
        }
    }
}

pub(crate) fn candidate(at: usize) -> CandidateId {
    CandidateId::new(format!("p{at}")).expect("a name of letters")
}

impl World {
    pub(crate) fn moment(&self, at: usize) -> Moment {
        let moment = self.net.hosts[self.processes[at].host].clock.at(self.now);
        moment - self.missed(at)
    }

    fn process_when(&self, at: usize, moment: Moment) -> u64 {
        self.net.hosts[self.processes[at].host].clock.when(moment + self.missed(at))
    }

    /// What a clock that stands still in a suspended machine has missed.
    fn missed(&self, at: usize) -> Duration {
        let process = &self.processes[at];
        let host = &self.net.hosts[process.host];
        let asleep = host.suspended_until.saturating_sub(self.now);
        let slept = host.slept.saturating_sub(process.slept_before).saturating_sub(asleep);
        match self.mutant {
            Some(Mutant::ClockStandsStill) => Duration::from_nanos(slept),
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn start_process(&mut self, at: usize) {
        let fresh = self.new_incarnation();
        let again = self.mutated(Mutant::SameIncarnation) && self.processes[at].life > 0;
        let incarnation = if again { self.processes[at].incarnation } else { fresh };
        let drift = match self.mutant {
            Some(Mutant::NoDrift) => Drift::from_ppm(0),
            _ => self.setup.drift(),
        };
        let ttl = self.setup.ttl;
        let slept = self.net.hosts[self.processes[at].host].slept;
        let process = &mut self.processes[at];
        let (role, host, life) = (process.role, process.host, process.life + 1);
        *process = Process {
            life,
            up: true,
            incarnation,
            contender: Contender::new(incarnation, ttl, drift),
            slept_before: slept,
            ..Process::new(at, role, host, ttl, drift)
        };
        self.trace.line(self.now, || format!("p{at} starts as {incarnation}"));
        self.processes[at].line.next_node = self.chance.index(self.nodes.len());
        self.connect_after(at, 0);
        self.begin_application(at);
        self.process_follow(at);
    }

    /// The process ends without a word of its own.
    pub(crate) fn process_dies(&mut self, at: usize, power: bool) {
        let how = if power { Close::Silent } else { Close::Finish };
        let process = &mut self.processes[at];
        if !process.up {
            return;
        }
        let held: Vec<ElectionName> = self.processes[at].holds.keys().cloned().collect();
        for election in held {
            if self.believes(at, &election) {
                self.vacated.insert(election, self.now);
            }
        }
        let process = &mut self.processes[at];
        process.up = false;
        process.life += 1;
        process.paused_until = 0;
        process.inbox.clear();
        process.holds.clear();
        process.working.clear();
        let incarnation = process.incarnation;
        self.trace.line(self.now, || format!("p{at} dies (power lost: {power})"));
        self.leave_conns(Who::Process(at), how);
        if !power {
            self.report_death(Who::Process(at), incarnation, None);
        }
    }

    pub(crate) fn at_process(&mut self, at: usize, what: Happening) {
        match what {
            Happening::Connect => self.try_connect(at),
            Happening::Up { conn } => self.line_up(at, conn),
            Happening::Down { conn } => self.line_down(at, conn),
            Happening::Heard { conn, item } => {
                let heard = match item {
                    Item::Answer(number, reply) => self.line_answered(at, conn, number, reply),
                    Item::Push(push) => Heard::Pushed(push),
                    Item::Frame(_) | Item::Question(..) | Item::End => Heard::Nothing,
                };
                self.process_hears(at, heard);
            }
            Happening::Act(act) => self.act(at, act),
            Happening::Persisted(_) | Happening::Died { .. } | Happening::Dial(_) => {}
        }
    }

    fn process_hears(&mut self, at: usize, heard: Heard) {
        let now = self.moment(at);
        let process = &mut self.processes[at];
        match heard {
            Heard::Outcome(request, wish, outcome) => {
                self.trace.line(self.now, || format!("p{at} is told {outcome:?} on {request}"));
                self.law.acknowledged.outcome(self.now, request, &wish, &outcome);
                if self.processes[at].role == Role::Operator {
                    return self.operator_told(at, &wish, &outcome);
                }
                let outcome = self.altered_outcome(at, outcome);
                self.processes[at].contender.answered(request, &outcome, now);
            }
            Heard::Renewed(session, renewal) => {
                process.contender.renewed(session, renewal, now);
                if self.mutant == Some(Mutant::CountsFromReceipt) {
                    let ttl = process.contender.ttl();
                    process.careless_until = holder_deadline(now, ttl, self.setup.drift());
                }
            }
            Heard::Gone(session) => process.contender.session_gone(session, now),
            Heard::Pushed(push) => {
                if process.role == Role::Observer {
                    return self.observer_sees(at, &push);
                }
                // A node that knows nothing says nothing about who holds it.
                if push.known {
                    let seen = Seen {
                        revision: push.revision,
                        holder: push.holder.zip(push.token),
                        handover: push.handover,
                        revoked: push.revoked,
                    };
                    process.contender.seen(&push.election, &seen, now);
                }
            }
            Heard::Nothing => {}
        }
    }

    fn observer_sees(&mut self, at: usize, push: &crate::event::Push) {
        let known = self.processes[at].views.get(&push.election);
        // A node that lags behind one heard before may say that it does not know, but not what
        // was true earlier.
        let seen = known.map_or(Revision::default(), |(revision, ..)| *revision);
        if push.revision < seen && push.known {
            return;
        }
        let revision = push.revision.max(seen);
        let view = (revision, push.token, push.known);
        self.processes[at].views.insert(push.election.clone(), view);
    }

    fn altered_outcome(&mut self, at: usize, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Leading { token } if self.mutated(Mutant::TokensCountFromStart) => {
                let life = self.processes[at].life;
                let token = self.law.tokens.recount(1000 + at, life, token);
                Outcome::Leading { token }
            }
            outcome => outcome,
        }
    }

    /// Lets time pass and does what the contender asks for.
    pub(crate) fn process_follow(&mut self, at: usize) {
        if !self.processes[at].up {
            return;
        }
        let now = self.moment(at);
        let careless = self.processes[at].careless_until;
        let expired =
            self.processes[at].contender.validity().is_some_and(|(_, until)| until <= now);
        if !expired || now >= careless {
            self.processes[at].contender.tick(now);
        }
        self.repeat_due(at);
        while let Some(action) = self.processes[at].contender.poll() {
            match action {
                Action::Ask { request, command } => {
                    let wait = self.believed_early(at, request, &command);
                    let command = self.altered_command(at, command);
                    self.line_ask_after(at, request, Wish::Command(command), wait);
                }
                Action::Renew { session, renewal } => self.line_renew(at, session, renewal),
                Action::Tell(notice) => self.told(at, notice),
            }
        }
        self.check_one_holder();
        self.arm_process(at);
        self.leave_if_done(at);
    }

    fn altered_command(&mut self, at: usize, command: Command) -> Command {
        let command = self.processes[at].early.after_all(command);
        let Command::OpenSession { session, ttl, supersedes } = command else { return command };
        let old = self.processes[at].last_session.replace(session);
        let careless = self.mutated(Mutant::SupersedesWhileWorking);
        Command::OpenSession { session, ttl, supersedes: if careless { old } else { supersedes } }
    }

    fn arm_process(&mut self, at: usize) {
        let process = &self.processes[at];
        let deadlines = process.contender.next_deadline().into_iter();
        let deadlines = deadlines.chain(process.line.next_deadline());
        let Some(next) = deadlines.min() else { return };
        let next = next.max(self.moment(at));
        let expired = process.contender.validity().is_some_and(|(_, until)| until <= next);
        let next = if expired { next.max(process.careless_until) } else { next };
        let due = self.process_when(at, next);
        self.alarm(Who::Process(at), due);
    }

    /// A process that has said farewell ends, and comes back later.
    fn leave_if_done(&mut self, at: usize) {
        let process = &self.processes[at];
        if process.up && process.closing && process.line.open.is_empty() {
            self.process_dies(at, false);
            let wait = self.chance.below(3000 * MS);
            self.after(wait, Event::Start(Who::Process(at)));
        }
    }

    fn check_one_holder(&mut self) {
        let believers = self.believers();
        if believers.len() > 1 {
            let believers: Vec<_> =
                believers.into_iter().map(|(e, at, token)| (e.clone(), at, token)).collect();
            self.law.holder.check(self.now, &believers);
        }
    }

    /// Who may act as the leader now, by true time and its own deadline.
    pub(crate) fn believers(&self) -> Vec<(&ElectionName, usize, Token)> {
        let mut believers = Vec::new();
        for at in self.candidates() {
            for (election, (token, _)) in &self.processes[at].holds {
                if self.believes(at, election) {
                    believers.push((election, at, *token));
                }
            }
        }
        believers
    }

    pub(crate) fn believes(&self, at: usize, election: &ElectionName) -> bool {
        let process = &self.processes[at];
        let validity = process.contender.validity();
        let until = validity.map_or(Moment::default(), |(_, until)| until);
        process.up
            && process.contender.phase(election) == Phase::Leading
            && self.moment(at) < until.max(process.careless_until)
    }

    pub(crate) fn plan_act(&mut self, at: usize, wait: u64, act: Act) {
        let (who, life) = (Who::Process(at), self.processes[at].life);
        self.after(wait, Event::at(who, life, Happening::Act(act)));
    }

    pub(crate) fn token_shown(&self, node: usize, election: &ElectionName) -> Option<Token> {
        let replica = self.nodes[node].replica.as_ref()?;
        match replica.ledger().view(election).0 {
            View::Led(leader) if self.knows(node) => Some(leader.token),
            _ => None,
        }
    }
}
