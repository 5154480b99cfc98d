//! Some processes, a store, true time, and everything that can go wrong between them.

use std::{collections::BTreeMap, time::Duration};

use tenure_core::{
    CandidateId, ElectionName, Token,
    backend::{Change, Report, Step, StoreError},
    candidate::{Notice, Phase},
    timing::Ttl,
};

use super::{
    super::closed_loop::{chance::Chance, clock::Clock},
    Bug,
    process::{Out, Process},
    store::Store,
};

const TTL_MS: u64 = 1000;
const PROCESSES: u64 = 3;
const MS: u64 = 1_000_000;

enum Event {
    /// A step takes effect.
    Arrives {
        from: usize,
        life: u64,
        number: u64,
        step: Step,
    },
    /// Its answer, or the end of the patience for it.
    Done {
        at: usize,
        life: u64,
        number: u64,
        result: Result<Report, StoreError>,
    },
    Hint {
        at: usize,
        life: u64,
        change: Change,
    },
    Wakes {
        at: usize,
        life: u64,
    },
    Stopped {
        at: usize,
        life: u64,
        election: ElectionName,
    },
    Campaigns {
        at: usize,
        life: u64,
        election: ElectionName,
    },
    Trouble,
}

struct Faults {
    loss: u64,
    delay: Duration,
    /// How long an application takes to stop.
    slowness: Duration,
    hints_lost: u64,
}

pub(super) struct World {
    chance: Chance,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    store: Store,
    processes: Vec<Process>,
    elections: [ElectionName; 2],
    faults: Faults,
    calm: bool,
    elected: BTreeMap<ElectionName, Token>,
    bug: Option<Bug>,
}

fn clock(chance: &mut Chance) -> Clock {
    // The worst clocks are the likeliest; a little is left for rounding.
    let ppm = chance.pick(&[-9_900, 9_900, 9_900, 0]);
    Clock { ppm, offset: chance.below(1 << 40) }
}

fn ttl() -> Ttl {
    Ttl::try_from(TTL_MS).expect("a ttl")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a short time")
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { why: String::from("nothing came in time") }
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        let ms = Duration::from_millis;
        let faults = Faults {
            loss: chance.pick(&[0, 5, 20, 40]),
            delay: chance.pick(&[ms(1), ms(2), ms(50), ms(300), ms(900), ms(2500)]),
            slowness: chance.pick(&[ms(1), ms(100), ms(1500)]),
            hints_lost: chance.pick(&[0, 30, 100]),
        };
        let store = Store::new(clock(&mut chance), bug);
        let processes = (0..PROCESSES)
            .map(|at| Process::start(at, 1, clock(&mut chance), ttl(), bug))
            .collect();
        let elections = ["x", "y"].map(|name| ElectionName::new(name).expect("a name"));
        Self {
            chance,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            store,
            processes,
            elections,
            faults,
            calm: false,
            elected: BTreeMap::new(),
            bug,
        }
    }

    /// A while with faults, then a while without; at its end everybody must be served.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for at in 0..self.processes.len() {
            self.everybody_campaigns(at);
        }
        self.after(Duration::ZERO, Event::Trouble);
        let ttl = nanos(ttl().get());
        self.run_until(ttl * 15)?;
        self.calm = true;
        self.run_until(self.now + ttl * 8)?;
        for election in &self.elections {
            let believes = |process: &&Process| process.believes(election, self.now);
            let believers = self.processes.iter().filter(believes).count();
            if believers != 1 {
                return Err(format!("{election} has {believers} leaders long after all faults"));
            }
        }
        Ok(())
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event)?;
            self.check_one_believer()?;
        }
        self.now = end;
        Ok(())
    }

    fn check_one_believer(&self) -> Result<(), String> {
        for election in &self.elections {
            let processes = self.processes.iter().enumerate();
            let believers: Vec<_> = processes
                .filter(|(_, process)| process.believes(election, self.now))
                .map(|(at, _)| at)
                .collect();
            if believers.len() > 1 {
                return Err(format!("{believers:?} lead {election} at {} ns", self.now));
            }
        }
        Ok(())
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + nanos(delay), self.events), event);
    }

    fn delay(&mut self) -> Duration {
        let longest = if self.calm { Duration::from_millis(2) } else { self.faults.delay };
        self.chance.up_to(longest)
    }

    fn is_lost(&mut self) -> bool {
        !self.calm && self.chance.percent(self.faults.loss)
    }

    fn everybody_campaigns(&mut self, at: usize) {
        for election in self.elections.clone() {
            self.processes[at].campaign(&election, self.now);
        }
        self.drive(at).expect("nothing is elected yet");
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Arrives { from, life, number, step } => self.arrives(from, life, number, &step),
            Event::Done { at, life, number, result } => {
                if self.defer(at, life) {
                    let event = Event::Done { at, life, number, result };
                    return self.later(at, life, event);
                }
                self.processes[at].done(number, result, self.now);
                return self.drive(at);
            }
            Event::Hint { at, life, change } => {
                if self.defer(at, life) {
                    return self.later(at, life, Event::Hint { at, life, change });
                }
                self.processes[at].hint(change, self.now);
                return self.drive(at);
            }
            Event::Wakes { at, life } => {
                if self.defer(at, life) {
                    return self.later(at, life, Event::Wakes { at, life });
                }
                self.processes[at].wakes_at = u64::MAX;
                return self.drive(at);
            }
            Event::Stopped { at, life, election } => {
                if self.defer(at, life) {
                    return self.later(at, life, Event::Stopped { at, life, election });
                }
                self.processes[at].stopped(&election, self.now);
                return self.drive(at);
            }
            Event::Campaigns { at, life, election } => {
                if self.defer(at, life) {
                    return self.later(at, life, Event::Campaigns { at, life, election });
                }
                self.processes[at].campaign(&election, self.now);
                return self.drive(at);
            }
            Event::Trouble => return self.trouble(),
        }
        Ok(())
    }

    fn defer(&self, at: usize, life: u64) -> bool {
        self.processes[at].life != life || self.processes[at].paused_until > self.now
    }

    /// What reaches a paused process waits; what was meant for a dead one is void.
    fn later(&mut self, at: usize, life: u64, event: Event) -> Result<(), String> {
        if self.processes[at].life == life {
            let wait = Duration::from_nanos(self.processes[at].paused_until - self.now);
            self.after(wait, event);
        }
        Ok(())
    }

    fn arrives(&mut self, from: usize, life: u64, number: u64, step: &Step) {
        let report = self.store.run(step, self.now);
        for election in std::mem::take(&mut self.store.changed) {
            for at in 0..self.processes.len() {
                if self.chance.percent(self.faults.hints_lost) {
                    continue;
                }
                let (delay, life) = (self.delay(), self.processes[at].life);
                let change = Change::Elections(vec![election.clone()]);
                self.after(delay, Event::Hint { at, life, change });
            }
        }
        if !self.is_lost() {
            let delay = self.delay();
            self.after(delay, Event::Done { at: from, life, number, result: Ok(report) });
        }
    }

    /// Runs a process, and sends what leaves it.
    fn drive(&mut self, at: usize) -> Result<(), String> {
        for out in self.processes[at].run(self.now) {
            match out {
                Out::Step(number, step) => self.send(at, number, step),
                Out::Told(notice) => self.told(at, notice)?,
            }
        }
        let process = &self.processes[at];
        let deadlines = process.contender.next_deadline().into_iter();
        let next = deadlines.chain(process.registrar.next_deadline()).min();
        let next = next.map(|next| process.clock.when(next).max(self.now + 1));
        if let Some(next) = next.filter(|next| *next < process.wakes_at) {
            let life = process.life;
            self.processes[at].wakes_at = next;
            let late = if self.calm {
                Duration::ZERO
            } else {
                self.chance.up_to(Duration::from_millis(3))
            };
            let wait = Duration::from_nanos(next - self.now) + late;
            self.after(wait, Event::Wakes { at, life });
        }
        Ok(())
    }

    fn send(&mut self, at: usize, number: u64, step: Step) {
        let life = self.processes[at].life;
        if !self.is_lost() {
            let delay = self.delay();
            self.after(delay, Event::Arrives { from: at, life, number, step });
        }
        let result = Err(unavailable());
        self.after(Duration::from_millis(TTL_MS / 2), Event::Done { at, life, number, result });
    }

    fn told(&mut self, at: usize, notice: Notice) -> Result<(), String> {
        let life = self.processes[at].life;
        match notice {
            Notice::Elected { election, token } => {
                let last = self.elected.entry(election.clone()).or_default();
                if token <= *last {
                    return Err(format!("p{at} leads {election} with {token} after {last}"));
                }
                *last = token;
                self.processes[at].working.insert(election, token);
            }
            Notice::Lost { election, .. } | Notice::HandoverAsked { election, .. } => {
                let wait = self.chance.up_to(self.faults.slowness);
                self.after(wait, Event::Stopped { at, life, election });
            }
            Notice::Left { election } | Notice::Refused { election, .. } => {
                let wait = self.chance.up_to(Duration::from_millis(TTL_MS / 4));
                self.after(wait, Event::Campaigns { at, life, election });
            }
            Notice::Waiting { .. } => {}
        }
        Ok(())
    }

    fn trouble(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        let wait = self.chance.up_to(Duration::from_millis(TTL_MS / 2));
        self.after(wait, Event::Trouble);
        let at = usize::try_from(self.chance.below(PROCESSES)).expect("an index");
        match self.chance.below(10) {
            0..4 => {
                let length = self.chance.below(2 * TTL_MS * MS);
                self.processes[at].paused_until = self.now + length;
            }
            4..6 => {
                let life = self.processes[at].life + 1;
                let clock = self.processes[at].clock;
                let number = u64::try_from(at).expect("an index");
                self.processes[at] = Process::start(number, life, clock, ttl(), self.bug);
                self.everybody_campaigns(at);
            }
            _ if self.processes[at].paused_until <= self.now => self.resigns(at)?,
            _ => {}
        }
        Ok(())
    }

    fn resigns(&mut self, at: usize) -> Result<(), String> {
        let election = self.elections[usize::from(self.chance.percent(50))].clone();
        if self.processes[at].contender.phase(&election) != Phase::Leading {
            return Ok(());
        }
        let to = CandidateId::new("p0").expect("a name");
        let to = self.chance.percent(50).then_some(to);
        self.processes[at].resign(&election, to);
        self.drive(at)
    }
}
