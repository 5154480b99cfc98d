//! A process: a real contender, a real registrar, and a shell that feeds them as the facade's
//! keeper does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, Token, View,
    backend::{Effect, News, Registrar, Report, Step, StoreError},
    candidate::{Action, Contender, Phase},
    timing::{Drift, Ttl, holder_deadline},
};

use super::{
    StoreMutant,
    world::{Event, MS, Mail, World},
};
use crate::{clock::Clock, faults::Kind, trace::hash_bytes};

pub(super) struct Process {
    pub(super) candidate: CandidateId,
    pub(super) clock: Clock,
    pub(super) life: u32,
    pub(super) up: bool,
    pub(super) incarnation: Incarnation,
    pub(super) contender: Contender,
    pub(super) registrar: Registrar,
    /// What the application was granted and has not let go of; true while it leads.
    pub(super) holds: BTreeMap<ElectionName, (Token, bool)>,
    pub(super) working: BTreeMap<ElectionName, Token>,
    pub(super) follows: BTreeSet<ElectionName>,
    /// What an observer of this process sees.
    pub(super) views: BTreeMap<ElectionName, Option<Token>>,
    pub(super) paused_until: u64,
    pub(super) cut_until: u64,
    inbox: VecDeque<Mail>,
    wakes_at: u64,
    /// Steps without an answer: renewals are told from others.
    running: BTreeMap<u64, bool>,
    last_renewal: u64,
    /// What a shell that counts its lease from the acknowledgement takes for its deadline.
    careless_until: Moment,
}

impl Process {
    pub(super) fn new(at: usize, clock: Clock, ttl: Ttl, drift: Drift) -> Self {
        let incarnation = Incarnation::from_random(0);
        Self {
            candidate: CandidateId::new(format!("p{at}")).expect("a name of letters"),
            clock,
            life: 0,
            up: false,
            incarnation,
            contender: Contender::new(incarnation, ttl, drift),
            registrar: Registrar::new(ttl),
            holds: BTreeMap::new(),
            working: BTreeMap::new(),
            follows: BTreeSet::new(),
            views: BTreeMap::new(),
            paused_until: 0,
            cut_until: 0,
            inbox: VecDeque::new(),
            wakes_at: u64::MAX,
            running: BTreeMap::new(),
            last_renewal: 0,
            careless_until: Moment::default(),
        }
    }
}

impl World {
    pub(super) fn start(&mut self, at: usize) {
        if self.processes[at].up {
            return;
        }
        self.incarnations += 1;
        let drift = match self.mutant {
            Some(StoreMutant::NoDrift) => Drift::from_ppm(0),
            Some(StoreMutant::DriftOfOneSide) => self.drift,
            _ => self.drift.of_both_sides(),
        };
        let incarnation = Incarnation::from_random(self.incarnations << 32);
        let old = &self.processes[at];
        let (clock, life) = (old.clock, old.life + 1);
        self.processes[at] = Process {
            life,
            up: true,
            incarnation,
            contender: Contender::new(incarnation, self.ttl, drift),
            ..Process::new(at, clock, self.ttl, drift)
        };
        self.trace.line(self.now, || format!("p{at} starts as {incarnation}"));
        self.begin_application(at);
        self.follow_on(at);
    }

    /// The process ends without a word of its own.
    pub(super) fn kill(&mut self, at: usize) {
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
        process.holds.clear();
        process.working.clear();
        process.follows.clear();
        self.trace.line(self.now, || format!("p{at} dies"));
    }

    pub(super) fn deliver(&mut self, at: usize, life: u32, mail: Mail) {
        let process = &mut self.processes[at];
        if process.life != life || !process.up {
            return;
        }
        if process.paused_until > self.now {
            process.inbox.push_back(mail);
            return;
        }
        self.read(at, mail);
        self.follow_on(at);
    }

    fn read(&mut self, at: usize, mail: Mail) {
        let now = self.moment(at);
        match mail {
            Mail::Answer(number, result) => {
                // What was given up on is not read any more.
                if self.processes[at].running.remove(&number).is_some() {
                    self.processes[at].registrar.done(number, result, now);
                } else {
                    self.counts.add(Kind::AnswerTooLate);
                }
            }
            Mail::TooSlow(number) => {
                let Some(renewal) = self.processes[at].running.remove(&number) else { return };
                let lost = StoreError::Unavailable { why: String::from("nothing came in time") };
                let result = match renewal && self.mutated(StoreMutant::SilenceIsRenewal) {
                    true => Ok(Report::Lapsed(Vec::new())),
                    false => Err(lost),
                };
                self.processes[at].registrar.done(number, result, now);
            }
            Mail::Hint(change) => self.processes[at].registrar.changed(change, now),
            Mail::Act(act) => self.act(at, act),
        }
    }

    pub(super) fn resume(&mut self, at: usize, life: u32) {
        let process = &self.processes[at];
        if process.life != life || !process.up || process.paused_until > self.now {
            return;
        }
        self.trace.line(self.now, || format!("p{at} goes on"));
        let inbox = std::mem::take(&mut self.processes[at].inbox);
        // Whether a timer or the mail comes first is left to chance.
        if self.chance.percent(50) {
            self.follow_on(at);
        }
        for mail in inbox {
            if self.processes[at].life == life && self.processes[at].up {
                self.read(at, mail);
                self.follow_on(at);
            }
        }
        self.follow_on(at);
    }

    pub(super) fn wake(&mut self, at: usize, life: u32) {
        let process = &mut self.processes[at];
        if process.life != life || !process.up || process.wakes_at != self.now {
            return;
        }
        process.wakes_at = u64::MAX;
        if process.paused_until <= self.now {
            self.follow_on(at);
        }
    }

    /// Lets time pass, and does what the two machines ask for until they ask for nothing.
    pub(super) fn follow_on(&mut self, at: usize) {
        let now = self.moment(at);
        let careless = self.processes[at].careless_until;
        let process = &mut self.processes[at];
        if !process.up {
            return;
        }
        process.registrar.tick(now);
        let expired = process.contender.validity().is_some_and(|(_, until)| until <= now);
        if !expired || now >= careless {
            process.contender.tick(now);
        }
        loop {
            let process = &mut self.processes[at];
            if let Some(action) = process.contender.poll() {
                match action {
                    Action::Ask { request, command } => {
                        process.registrar.ask(request, command, now);
                    }
                    Action::Renew { session, renewal } => {
                        process.last_renewal = renewal;
                        process.registrar.renew(session, renewal);
                    }
                    Action::Tell(notice) => self.told(at, notice),
                }
                continue;
            }
            let Some(effect) = process.registrar.poll() else { break };
            self.carry_out(at, effect, now);
        }
        self.check_one_holder();
        self.arm(at);
    }

    fn carry_out(&mut self, at: usize, effect: Effect, now: Moment) {
        let process = &mut self.processes[at];
        match effect {
            Effect::Run { number, step } => {
                let mute = self.mutant == Some(StoreMutant::WaitsForHints);
                if mute && matches!(step, Step::Look(_)) {
                    return;
                }
                process.running.insert(number, matches!(step, Step::Renew { .. }));
                let life = process.life;
                let hasty = self.mutant == Some(StoreMutant::SilenceIsRenewal);
                let patience = if hasty { self.ttl.get() / 8 } else { self.ttl.get() };
                let timeout = process.clock.when(now + patience) - self.now;
                let mail = Mail::TooSlow(number);
                self.after(timeout, Event::Mail { to: at, life, mail });
                self.send(at, number, step);
            }
            Effect::Follow(election) => _ = process.follows.insert(election),
            Effect::Unfollow(election) => _ = process.follows.remove(&election),
            Effect::Say(news) => self.hear(at, news, now),
        }
    }

    fn hear(&mut self, at: usize, news: News, now: Moment) {
        let latest = self.processes[at].last_renewal;
        let process = &mut self.processes[at];
        match news {
            News::Outcome(request, outcome) => {
                self.trace.line(self.now, || format!("p{at} is told {outcome:?} on {request}"));
                process.contender.answered(request, &outcome, now);
            }
            News::Renewed(session, renewal) => {
                let careless = self.mutant == Some(StoreMutant::AnswerForAnother);
                let renewal = if careless { latest } else { renewal };
                process.contender.renewed(session, renewal, now);
                if self.mutant == Some(StoreMutant::CountsFromReceipt) {
                    let drift = self.drift.of_both_sides();
                    process.careless_until = holder_deadline(now, self.ttl, drift);
                }
            }
            News::Gone(session) => process.contender.session_gone(session, now),
            News::Seen(word) => {
                let shown = match &word.sighting.view {
                    View::Led(leader) => Some(leader.token),
                    View::Vacant | View::Unknown => None,
                };
                process.views.insert(word.election.clone(), shown);
                let (who, seen_at) = ((at, process.life), word.sighting.revision);
                self.law.views.saw(self.now, who, &word.election, seen_at);
                if let Some(seen) = &word.seen {
                    process.contender.seen(&word.election, seen, now);
                }
                let name = hash_bytes(word.election.as_str().as_bytes());
                let revision = word.sighting.revision.get();
                self.trace.note(&[2, self.now, at as u64, name, revision]);
            }
        }
    }

    fn arm(&mut self, at: usize) {
        let now = self.moment(at);
        let process = &self.processes[at];
        let deadlines = process.contender.next_deadline().into_iter();
        let deadlines = deadlines.chain(process.registrar.next_deadline());
        let Some(next) = deadlines.min() else { return };
        let next = next.max(now);
        let expired = process.contender.validity().is_some_and(|(_, until)| until <= next);
        let next = if expired { next.max(process.careless_until) } else { next };
        let due = process.clock.when(next).max(self.now + 1);
        if due < process.wakes_at {
            self.processes[at].wakes_at = due;
            let life = self.processes[at].life;
            self.after(due - self.now, Event::Wake { who: at, life });
        }
    }

    /// The clock was set to another rate: whoever lives by it wakes at another time.
    pub(super) fn re_arm(&mut self, at: usize) {
        self.processes[at].wakes_at = self.now + MS;
        let life = self.processes[at].life;
        self.after(MS, Event::Wake { who: at, life });
    }

    pub(super) fn believes(&self, at: usize, election: &ElectionName) -> bool {
        let process = &self.processes[at];
        let until = process.contender.validity().map_or(Moment::default(), |(_, until)| until);
        process.up
            && process.contender.phase(election) == Phase::Leading
            && self.moment(at) < until.max(process.careless_until)
    }

    /// Who may act as the leader now, by true time and its own deadline.
    pub(super) fn believers(&self) -> Vec<(ElectionName, usize, Token)> {
        let mut believers = Vec::new();
        for (at, process) in self.processes.iter().enumerate() {
            for (election, (token, _)) in &process.holds {
                if self.believes(at, election) {
                    believers.push((election.clone(), at, *token));
                }
            }
        }
        believers
    }

    fn check_one_holder(&mut self) {
        let believers = self.believers();
        if !self.is_excused() {
            self.law.holder.check(self.now, &believers);
        }
    }
}
