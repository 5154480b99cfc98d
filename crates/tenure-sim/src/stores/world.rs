//! True time, one store, and the processes that contend over it.

use std::collections::{BTreeMap, VecDeque};

use tenure_core::{
    ElectionName, Moment, Token,
    backend::{Change as Hint, Report, Step, StoreError},
    ledger::EndReason,
    timing::{Drift, Ttl},
};

use super::{
    Store, StoreMutant,
    model::{Change, Model},
    process::Process,
};
use crate::{
    chance::Chance,
    clock::Clock,
    event::{Schedule, Write},
    faults::{Counts, Kind},
    invariants::{Law, Violation},
    trace::Trace,
};

pub(super) const MS: u64 = 1_000_000;
/// A run has some thousand events; one with more than this goes in circles.
const MOST_EVENTS: u64 = 500_000;
/// How much of the past a failover may go back to, in states.
const REMEMBERED: usize = 64;

/// What happens at a process; while it is paused these wait in the order they came.
#[derive(Debug)]
pub(super) enum Mail {
    Answer(u64, Result<Report, StoreError>),
    TooSlow(u64),
    Hint(Hint),
    Act(Act),
}

/// What an application does.
#[derive(Debug)]
pub(super) enum Act {
    Campaign(ElectionName),
    Finish(ElectionName, Token),
    Write(ElectionName, Token),
}

#[derive(Debug)]
pub(super) enum Event {
    Ask { from: usize, life: u32, number: u64, step: Step },
    Mail { to: usize, life: u32, mail: Mail },
    Wake { who: usize, life: u32 },
    Resume { who: usize, life: u32 },
    Start(usize),
    Write(Write),
    Failover,
    StoreBack,
    Trouble,
}

/// How bad this run's store and network are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Odds {
    pub(super) latency: u64,
    pub(super) late: u32,
    pub(super) lost: u32,
    pub(super) twice: u32,
    pub(super) resigns: u32,
    pub(super) late_stop: u64,
    pub(super) late_write: u64,
    pub(super) trouble_every: u64,
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) mutant: Option<StoreMutant>,
    pub(super) chance: Chance,
    pub(super) now: u64,
    queue: Schedule<Event>,
    pub(super) elections: Vec<ElectionName>,
    pub(super) ttl: Ttl,
    pub(super) drift: Drift,
    pub(super) drift_ppm: i64,
    pub(super) odds: Odds,
    pub(super) calm: bool,
    model: Model,
    past: VecDeque<Model>,
    epoch: u64,
    pub(super) clock: Clock,
    pub(super) store_up: bool,
    /// When the store last went back to an older state.
    forgot_at: Option<u64>,
    /// Until when hints are lost.
    pub(super) gap_until: u64,
    pub(super) processes: Vec<Process>,
    pub(super) resources: BTreeMap<ElectionName, Token>,
    pub(super) law: Law,
    pub(super) counts: Counts,
    pub(super) trace: Trace,
    pub(super) incarnations: u64,
    pub(super) vacated: BTreeMap<ElectionName, u64>,
    pub(super) longest_failover: u64,
}

impl World {
    pub(super) fn new(
        store: Store,
        seed: u64,
        mutant: Option<StoreMutant>,
        readable: bool,
    ) -> Self {
        let mut chance = Chance::new(seed ^ 0x7374_6f72_6573);
        let ttl_ms = chance.pick(&[100, 300, 1000, 1000, 3000]);
        let drift_ppm = chance.pick(&[1_000, 10_000, 10_000, 50_000]);
        let late = if store.has(Store::LateAnswers) { chance.pick(&[100, 300]) } else { 0 };
        let lossy = store.has(Store::LostAnswers);
        let odds = Odds {
            latency: chance.pick(&[200_000, MS, 10 * MS]),
            late,
            lost: if lossy { chance.pick(&[50, 200]) } else { 2 },
            twice: if lossy { chance.pick(&[50, 200]) } else { 0 },
            resigns: chance.pick(&[0, 300, 700]),
            late_stop: chance.pick(&[1, 50, 500, 3000]) * MS,
            late_write: chance.pick(&[1, 50, 500, 5000]) * MS,
            trouble_every: chance.pick(&[300, 1000, 2000]) * MS,
        };
        let names = ["x", "y"].into_iter().take(chance.pick(&[1, 2]));
        let elections: Vec<ElectionName> =
            names.map(|name| ElectionName::new(name).expect("a name of letters")).collect();
        let model = Model::new(store.has(Store::SharedLease), mutant);
        let mut world = Self {
            store,
            mutant,
            now: 1000 * MS,
            queue: Schedule::default(),
            elections,
            ttl: Ttl::try_from(ttl_ms).expect("a ttl in range"),
            drift: Drift::from_ppm(drift_ppm),
            drift_ppm: i64::from(drift_ppm),
            odds,
            calm: false,
            model,
            past: VecDeque::new(),
            epoch: 0,
            clock: Clock::new(0, 0, 0),
            store_up: true,
            forgot_at: None,
            gap_until: 0,
            processes: Vec::new(),
            resources: BTreeMap::new(),
            law: Law::new(false),
            counts: Counts::default(),
            trace: Trace::new(readable),
            incarnations: 0,
            vacated: BTreeMap::new(),
            longest_failover: 0,
            chance,
        };
        world.clock = world.drawn_clock();
        for at in 0..world.chance.pick(&[2, 3, 3]) {
            let clock = world.drawn_clock();
            world.processes.push(Process::new(at, clock, world.ttl, world.drift));
            let wait = world.chance.below(200 * MS);
            world.after(wait, Event::Start(at));
        }
        let first = world.odds.trouble_every;
        world.after(first, Event::Trouble);
        world
    }

    pub(super) fn drawn_clock(&mut self) -> Clock {
        let worst = self.drift_ppm - 50;
        let at_the_edge = self.store.has(Store::OtherClock);
        let ppm = match at_the_edge {
            true => self.chance.pick(&[-worst, worst]),
            false => self.chance.pick(&[-worst, 0, worst]),
        };
        let mut clock = Clock::new(0, self.chance.below(1 << 40), 0);
        clock.set_rate(self.now, ppm);
        clock
    }

    pub(super) fn mutated(&self, mutant: StoreMutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn ttl_ns(&self) -> u64 {
        u64::try_from(self.ttl.get().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time within which every election is led after the faults: a lease that nobody renews
    /// and its sessions, the slowest stop of work, and a few questions that wait for their
    /// time-outs.
    pub(super) fn bound(&self) -> u64 {
        8 * self.ttl_ns() + 3000 * MS + 3000 * MS
    }

    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.queue.plan(self.now + wait, event);
    }

    /// Faults for a while, then none. Gives the time until everybody was served.
    pub(super) fn run(&mut self) -> Result<u64, Violation> {
        let rounds = self.chance.between(10, 20);
        self.run_until(self.now + rounds * self.ttl_ns().max(1000 * MS))?;
        self.calm_down();
        let start = self.now;
        while let Some(why) = self.unserved() {
            if self.now > start + self.bound() {
                let why = format!("not served within {} ms: {why}", self.bound() / MS);
                self.law.liveness.broken(self.now, why);
            }
            self.run_until(self.now + 20 * MS)?;
        }
        let took = self.now - start;
        self.run_until(self.now + 4 * self.ttl_ns() + 4000 * MS)?;
        let before = self.leaders();
        if let Some(why) = self.unserved() {
            self.law.liveness.unstable(self.now, format!("no longer served: {why}"));
        }
        self.run_until(self.now + 4 * self.ttl_ns())?;
        if before != self.leaders() {
            let why = format!("{before:?} led, then {:?}, without a fault", self.leaders());
            self.law.liveness.unstable(self.now, why);
        }
        self.law.broken().map_or(Ok(took), Err)
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some((at, event)) = self.queue.next(end) {
            self.now = at;
            self.trace.count();
            self.dispatch(event);
            if self.trace.events() > MOST_EVENTS {
                self.law.stops.broken(at, format!("no end after {MOST_EVENTS} events"));
            }
            if let Some(violation) = self.law.broken() {
                return Err(violation);
            }
        }
        self.now = end;
        self.law.broken().map_or(Ok(()), Err)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Ask { from, life, number, step } => self.asked(from, life, number, step),
            Event::Mail { to, life, mail } => self.deliver(to, life, mail),
            Event::Wake { who, life } => self.wake(who, life),
            Event::Resume { who, life } => self.resume(who, life),
            Event::Start(who) => self.start(who),
            Event::Write(write) => self.write_arrives(&write),
            Event::Failover => self.failover(),
            Event::StoreBack => self.store_up = true,
            Event::Trouble => self.trouble(),
        }
    }

    // The store

    fn latency(&mut self) -> u64 {
        let latency = 50_000 + self.chance.below(self.odds.latency);
        if !self.calm && self.chance.permille(self.odds.late) {
            self.counts.add(Kind::AnswerLate);
            return latency + self.chance.below(self.ttl_ns() * 3 / 2);
        }
        latency
    }

    /// A question leaves a process.
    pub(super) fn send(&mut self, from: usize, number: u64, step: Step) {
        let life = self.processes[from].life;
        if !self.calm && self.chance.permille(self.odds.twice) {
            self.counts.add(Kind::AskedTwice);
            let wait = self.latency() + self.chance.below(2 * self.ttl_ns());
            self.after(wait, Event::Ask { from, life, number, step: step.clone() });
        }
        if !self.calm && self.chance.permille(self.odds.lost) {
            self.counts.add(Kind::QuestionLost);
            return;
        }
        let wait = self.latency();
        self.after(wait, Event::Ask { from, life, number, step });
    }

    fn asked(&mut self, from: usize, life: u32, number: u64, step: Step) {
        if !self.store_up || self.processes[from].cut_until > self.now {
            return;
        }
        let moment = self.clock.at(self.now);
        self.trace.line(self.now, || format!("the store hears p{from}: {step:?}"));
        let result = self.model.run(step, moment);
        self.trace.note(&[1, self.now, from as u64, number]);
        self.judge();
        if !self.calm && self.chance.permille(self.odds.lost) {
            self.counts.add(Kind::AnswerLost);
            return;
        }
        let wait = self.latency();
        let mail = Mail::Answer(number, result);
        self.after(wait, Event::Mail { to: from, life, mail });
    }

    /// Looks at what the store has done, and tells those who follow.
    fn judge(&mut self) {
        for change in self.model.take_changes() {
            self.trace.line(self.now, || format!("the store: {change:?}"));
            let election = match change {
                Change::Granted { election, token, session, after } => {
                    self.law.granted(self.now, &election, token, session);
                    if let Some(after) = after {
                        self.ended(&election, after, false);
                    }
                    election
                }
                Change::Released { election, token } => {
                    self.ended(&election, token, true);
                    election
                }
            };
            self.hint(&election);
        }
        if self.past.len() >= REMEMBERED {
            self.past.pop_front();
        }
        if self.store == Store::Forgets {
            self.past.push_back(self.model.clone());
        }
    }

    /// For a lease after a failover that forgot, what it forgot is still believed in.
    pub(super) fn is_excused(&self) -> bool {
        let grace = 2 * self.ttl_ns() + 100 * MS;
        self.forgot_at.is_some_and(|at| self.now < at + grace)
    }

    fn ended(&mut self, election: &ElectionName, token: Token, own_word: bool) {
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            let held = process.holds.get(election).is_some_and(|(held, _)| *held == token);
            let reason = if own_word { EndReason::Resigned } else { EndReason::Expired };
            if held && self.believes(at, election) && !self.is_excused() {
                self.law.respected.broken(self.now, at, election, token, reason);
            }
            if own_word && process.up && process.working.get(election) == Some(&token) {
                self.law.stopped.broken(self.now, at, election, token, reason);
            }
        }
    }

    fn hint(&mut self, election: &ElectionName) {
        for to in 0..self.processes.len() {
            if !self.processes[to].follows.contains(election) {
                continue;
            }
            if self.gap_until > self.now {
                self.counts.add(Kind::HintLost);
                continue;
            }
            let (wait, life) = (self.latency(), self.processes[to].life);
            let mail = Mail::Hint(Hint::Elections(vec![election.clone()]));
            self.after(wait, Event::Mail { to, life, mail });
        }
    }

    /// Another machine takes the store over, by its own clock, perhaps with an older state.
    fn failover(&mut self) {
        self.counts.add(Kind::StoreFailedOver);
        let forgets = self.store == Store::Forgets;
        if forgets && let Some(back) = self.past.len().checked_sub(1) {
            let back = self.chance.index(back.min(8) + 1);
            let older = self.past.len() - 1 - back;
            if back > 0 {
                self.counts.add(Kind::StoreForgot);
                self.forgot_at = Some(self.now);
            }
            self.model = self.past[older].clone();
            self.past.truncate(older + 1);
        }
        self.clock = self.drawn_clock();
        let moment = self.clock.at(self.now);
        self.epoch += 1;
        self.model.take_over(moment, forgets.then_some(self.epoch));
        self.model.take_changes();
        self.trace.line(self.now, || String::from("another machine takes the store over"));
        self.store_up = false;
        let away = self.chance.below(500 * MS);
        self.after(away, Event::StoreBack);
    }

    pub(super) fn set_store_rate(&mut self) {
        let ppm = self.chance.pick(&[-1, 1]) * (self.drift_ppm - 50);
        self.clock.set_rate(self.now, ppm);
    }

    // The end

    pub(super) fn leaders(&self) -> BTreeMap<ElectionName, (usize, Token)> {
        let believers = self.believers().into_iter();
        believers.map(|(election, at, token)| (election, (at, token))).collect()
    }

    fn unserved(&self) -> Option<String> {
        let leaders = self.leaders();
        for election in &self.elections {
            let Some((leader, token)) = leaders.get(election) else {
                return Some(format!("nobody leads {election}"));
            };
            let holding = self.model.holding(election, self.clock.at(self.now));
            let held = holding.holder.map(|(_, leader)| leader.token);
            if held != Some(*token) {
                return Some(format!("p{leader} leads {election} with {token}, not {held:?}"));
            }
            for (at, process) in self.processes.iter().enumerate() {
                let seen = process.views.get(election).copied().flatten();
                if seen != Some(*token) {
                    return Some(format!("p{at} sees {seen:?} for {election}, not {token}"));
                }
            }
        }
        None
    }

    pub(super) fn moment(&self, at: usize) -> Moment {
        self.processes[at].clock.at(self.now)
    }
}
