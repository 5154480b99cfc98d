//! A store and some processes, true time, and everything that can go wrong between them.

use std::{collections::BTreeMap, time::Duration};

use tenure_core::{
    ElectionName, RequestId, SessionId, Token,
    candidate::{Action, Notice, Phase},
    ledger::{Applied, Command, EndReason, EventKind},
    timing::{Drift, Ttl},
};

use super::{
    Bug,
    chance::Chance,
    clock::Clock,
    process::{Act, News, Process, candidate},
    store::Store,
};

const TTL_MS: u64 = 1000;
const PROCESSES: u64 = 3;
const DRIFT_PPM: i64 = 10_000;
const BAN: Duration = Duration::from_millis(2 * TTL_MS);

enum Event {
    /// A request arrives at the store.
    Asked { from: usize, life: u64, request: RequestId, command: Command },
    /// A renewal arrives at the store.
    Renewal { from: usize, life: u64, session: SessionId, renewal: u64 },
    /// Something arrives at a process.
    Heard { at: usize, life: u64, news: News },
    /// Its application does something.
    Acts { at: usize, life: u64, act: Act },
    /// Its timer rings.
    Wakes { at: usize, life: u64 },
    /// It looks whether a request is still unanswered.
    AsksAgain { at: usize, life: u64, number: u64 },
    /// The keeper of the clocks looks.
    StoreTimer,
    /// Something bad, or an operator.
    Trouble,
}

/// How bad it is.
struct Faults {
    loss: u64,
    duplication: u64,
    delay: Duration,
    /// How long an application takes to stop, and how late a timer may ring.
    slowness: Duration,
}

pub(crate) struct World {
    chance: Chance,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    store: Store,
    store_wakes_at: u64,
    processes: Vec<Process>,
    elections: [ElectionName; 2],
    faults: Faults,
    calm: bool,
    highest_granted: Token,
    elected: BTreeMap<ElectionName, Token>,
    bug: Option<Bug>,
}

fn timing() -> (Ttl, Drift) {
    (Ttl::try_from(TTL_MS).expect("a ttl"), Drift::default())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a short time")
}

fn clock(chance: &mut Chance) -> Clock {
    // The worst clocks are the likeliest; a little is left for rounding.
    let worst = DRIFT_PPM - 100;
    let any = i64::try_from(chance.below(2 * 9_900)).expect("a small number") - worst;
    let ppm = chance.pick(&[-worst, worst, 0, any]);
    Clock { ppm, offset: chance.below(1 << 40) }
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        let ms = Duration::from_millis;
        let faults = Faults {
            loss: chance.pick(&[0, 5, 20, 40]),
            duplication: chance.pick(&[0, 10, 30]),
            delay: chance.pick(&[ms(2), ms(50), ms(300), ms(900), ms(2500)]),
            slowness: chance.pick(&[ms(1), ms(100), ms(1500)]),
        };
        let store = Store::new(clock(&mut chance), Drift::default(), bug);
        let processes = (0..PROCESSES)
            .map(|at| Process::start(at, 1, clock(&mut chance), timing(), bug))
            .collect();
        let elections = ["x", "y"].map(|name| ElectionName::new(name).expect("a name"));
        Self {
            chance,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            store,
            store_wakes_at: u64::MAX,
            processes,
            elections,
            faults,
            calm: false,
            highest_granted: Token::default(),
            elected: BTreeMap::new(),
            bug,
        }
    }

    /// A while with faults, then a while without; at its end everybody must be served.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for at in 0..self.processes.len() {
            self.everybody_campaigns(at);
        }
        self.after(Duration::ZERO, Event::Trouble);
        let ttl = Duration::from_millis(TTL_MS);
        let storm = 15 + self.chance.below(10);
        self.run_until(nanos(ttl) * storm)?;
        self.calm_down()?;
        self.run_until(self.now + nanos(BAN + 12 * ttl))?;
        self.check_liveness()
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

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Asked { from, life, request, command } => {
                let outcome = self.apply(Some(request), command)?.outcome;
                self.tell(from, life, &News::Answer(request, outcome));
            }
            Event::Renewal { from, life, session, renewal } => {
                let news = match self.store.renew(session, self.now) {
                    true => News::Renewed { session, renewal, with: self.store.news(session) },
                    false => News::Gone(session),
                };
                self.tell(from, life, &news);
            }
            Event::StoreTimer => {
                self.store_wakes_at = u64::MAX;
                for command in self.store.due(self.now) {
                    self.apply(None, command)?;
                }
                self.set_store_timer();
            }
            Event::Trouble if self.calm => {}
            Event::Trouble => self.trouble()?,
            Event::Heard { at, life, .. }
            | Event::Acts { at, life, .. }
            | Event::Wakes { at, life }
            | Event::AsksAgain { at, life, .. } => {
                if self.processes[at].life == life {
                    return self.at_process(at, event);
                }
            }
        }
        Ok(())
    }

    fn at_process(&mut self, at: usize, event: Event) -> Result<(), String> {
        let (process, now) = (&mut self.processes[at], self.now);
        if process.paused_until > now {
            // It lies in the process's buffers; whether it or the timer comes first when the
            // process goes on is left to chance.
            let until = Duration::from_nanos(process.paused_until - now);
            let order = self.chance.up_to(Duration::from_millis(1));
            self.after(until + order, event);
            return Ok(());
        }
        match event {
            Event::Heard { news, .. } => process.hear(news, now),
            Event::Acts { act, .. } => process.act(act, now),
            Event::AsksAgain { number, .. } => self.ask_again(at, number),
            _ => {
                process.wakes_at = u64::MAX;
                process.tick(now);
            }
        }
        self.follow(at)
    }

    // Processes

    /// Does what the contender asks for.
    fn follow(&mut self, at: usize) -> Result<(), String> {
        while let Some(action) = self.processes[at].contender.poll() {
            let life = self.processes[at].life;
            match action {
                Action::Ask { request, command } => {
                    let early = self.processes[at].believes_early(request, &command, self.now);
                    let command = self.processes[at].outgoing(command);
                    self.ask(at, request, command);
                    if early {
                        self.processes[at].unanswered.remove(&request.number);
                    }
                }
                Action::Renew { session, renewal } => {
                    self.send(|| Event::Renewal { from: at, life, session, renewal });
                }
                Action::Tell(notice) => self.told(at, notice)?,
            }
        }
        for (request, command) in std::mem::take(&mut self.processes[at].unsent) {
            self.ask(at, request, command);
        }
        self.set_alarm(at);
        Ok(())
    }

    fn ask(&mut self, at: usize, request: RequestId, command: Command) {
        self.processes[at].unanswered.insert(request.number, (request, command));
        self.ask_again(at, request.number);
    }

    fn ask_again(&mut self, at: usize, number: u64) {
        let process = &self.processes[at];
        let life = process.life;
        let Some((request, command)) = process.unanswered.get(&number).cloned() else { return };
        self.send(|| Event::Asked { from: at, life, request, command: command.clone() });
        let patience = Duration::from_millis(80 + self.chance.below(200));
        self.after(patience, Event::AsksAgain { at, life, number });
    }

    fn set_alarm(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(due) = process.alarm().map(|due| due.max(self.now)) else { return };
        if due >= process.wakes_at {
            return;
        }
        process.wakes_at = due;
        let life = process.life;
        let late = if self.chance.percent(10) { self.faults.slowness } else { Duration::ZERO };
        let late = self.chance.up_to(late);
        self.after(Duration::from_nanos(due - self.now) + late, Event::Wakes { at, life });
    }

    fn told(&mut self, at: usize, notice: Notice) -> Result<(), String> {
        let slowness = self.faults.slowness;
        let (delay, act) = match notice {
            Notice::Elected { election, token } => {
                self.check_elected(&election, token)?;
                self.processes[at].working.insert(election.clone(), token);
                if self.calm || !self.chance.percent(30) {
                    return Ok(());
                }
                let to = self.chance.percent(50).then(|| self.chance.below(PROCESSES));
                (Duration::from_millis(TTL_MS), Act::Resign(election, to.map(candidate)))
            }
            Notice::Waiting { election, .. } => {
                if self.calm || !self.chance.percent(20) {
                    return Ok(());
                }
                (Duration::from_millis(TTL_MS), Act::Resign(election, None))
            }
            Notice::HandoverAsked { election, .. } | Notice::Lost { election, .. } => {
                (slowness, Act::Stopped(election))
            }
            Notice::Left { election } | Notice::Refused { election, .. } => {
                (Duration::from_millis(TTL_MS / 2), Act::Campaign(election))
            }
        };
        let (delay, life) = (self.chance.up_to(delay), self.processes[at].life);
        self.after(delay, Event::Acts { at, life, act });
        Ok(())
    }

    fn everybody_campaigns(&mut self, at: usize) {
        let life = self.processes[at].life;
        for election in self.elections.clone() {
            let delay = self.chance.up_to(Duration::from_millis(TTL_MS));
            self.after(delay, Event::Acts { at, life, act: Act::Campaign(election) });
        }
    }

    // The store

    fn apply(&mut self, request: Option<RequestId>, command: Command) -> Result<Applied, String> {
        let own_word = !matches!(command, Command::FinishEviction { .. });
        let applied = self.store.apply(request, command, self.now);
        for event in &applied.events {
            match &event.kind {
                EventKind::Elected { leader, .. } => {
                    if leader.token <= self.highest_granted {
                        return Err(format!(
                            "token {} is not above {}",
                            leader.token, self.highest_granted
                        ));
                    }
                    self.highest_granted = leader.token;
                }
                EventKind::Ended { election, token, reason, .. } if own_word => {
                    self.check_stopped(election, *token, *reason)?;
                }
                _ => {}
            }
        }
        for name in self.elections.clone() {
            if applied.events.iter().any(|event| event.kind.election() == Some(&name)) {
                self.publish(&name);
            }
        }
        self.set_store_timer();
        Ok(applied)
    }

    fn publish(&mut self, name: &ElectionName) {
        let seen = self.store.seen(name);
        for at in 0..self.processes.len() {
            let life = self.processes[at].life;
            self.tell(at, life, &News::Seen(name.clone(), seen.clone()));
        }
    }

    fn set_store_timer(&mut self) {
        let Some(due) = self.store.next_deadline() else { return };
        if due < self.store_wakes_at {
            self.store_wakes_at = due;
            let wait = Duration::from_nanos(due.saturating_sub(self.now));
            self.after(wait, Event::StoreTimer);
        }
    }

    // The network

    fn tell(&mut self, at: usize, life: u64, news: &News) {
        self.send(|| Event::Heard { at, life, news: news.clone() });
    }

    fn send(&mut self, message: impl Fn() -> Event) {
        let copies = 1 + u64::from(self.chance.percent(self.faults.duplication));
        for _ in 0..copies {
            if !self.chance.percent(self.faults.loss) {
                let delay = self.chance.up_to(self.faults.delay);
                self.after(delay, message());
            }
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + nanos(delay), self.events), event);
    }

    // Trouble

    fn trouble(&mut self) -> Result<(), String> {
        let next = self.chance.up_to(Duration::from_millis(TTL_MS));
        self.after(next, Event::Trouble);
        let at = usize::try_from(self.chance.below(PROCESSES)).expect("an index");
        let election = self.elections[usize::from(self.chance.percent(50))].clone();
        let if_token = None;
        let command = match self.chance.below(15) {
            0..=2 => {
                let pause = self.chance.up_to(Duration::from_millis(3 * TTL_MS));
                self.processes[at].paused_until = self.now + nanos(pause);
                return Ok(());
            }
            3 => {
                self.restart(at);
                return Ok(());
            }
            4 => {
                let clock = clock(&mut self.chance);
                self.store.fail_over(clock, self.now);
                self.set_store_timer();
                return Ok(());
            }
            5..=7 => {
                let ban = self.chance.percent(30).then_some(BAN);
                Command::Evict { election, if_token, ban }
            }
            8 => {
                let to = self.chance.percent(50).then_some(candidate(at as u64));
                Command::Reserve { election, to, if_token }
            }
            9 => Command::CancelReserve { election },
            10 => Command::Pause { election },
            11..=13 => {
                let ms = self.chance.pick(&[300, 600, 1500, 4000]);
                self.set_ttl(at, Ttl::try_from(ms).expect("a ttl"));
                return Ok(());
            }
            _ => Command::Resume { election },
        };
        self.apply(None, command).map(|_| ())
    }

    /// The process is killed and started again under the same name, with a new clock.
    fn restart(&mut self, at: usize) {
        let life = self.processes[at].life + 1;
        let clock = clock(&mut self.chance);
        self.processes[at] = Process::start(at as u64, life, clock, timing(), self.bug);
        self.everybody_campaigns(at);
    }

    fn set_ttl(&mut self, at: usize, ttl: Ttl) {
        let life = self.processes[at].life;
        self.after(Duration::ZERO, Event::Acts { at, life, act: Act::SetTtl(ttl) });
    }

    fn calm_down(&mut self) -> Result<(), String> {
        self.calm = true;
        let ms = Duration::from_millis;
        self.faults = Faults { loss: 0, duplication: 0, delay: ms(5), slowness: ms(5) };
        for at in 0..self.processes.len() {
            self.processes[at].paused_until = 0;
            self.set_ttl(at, timing().0);
        }
        for election in self.elections.clone() {
            self.apply(None, Command::Resume { election: election.clone() })?;
            self.publish(&election);
        }
        Ok(())
    }

    // What must hold

    /// Promise 1: at most one process believes.
    fn check_one_believer(&self) -> Result<(), String> {
        for election in &self.elections {
            let believers: Vec<_> = (0..self.processes.len())
                .filter(|at| self.processes[*at].believes(election, self.now))
                .collect();
            if believers.len() > 1 {
                return Err(format!("processes {believers:?} believe that they lead {election}"));
            }
        }
        Ok(())
    }

    /// Promise 2, as the leaders see it.
    fn check_elected(&mut self, election: &ElectionName, token: Token) -> Result<(), String> {
        let before = self.elected.insert(election.clone(), token).unwrap_or_default();
        match before < token {
            true => Ok(()),
            false => Err(format!("{election}: led with token {token} after {before}")),
        }
    }

    /// No tenure ends by its process's own word while its work runs.
    fn check_stopped(
        &self,
        election: &ElectionName,
        token: Token,
        reason: EndReason,
    ) -> Result<(), String> {
        let own_word = !matches!(reason, EndReason::Expired | EndReason::Died);
        let works = |process: &Process| process.working.get(election) == Some(&token);
        match own_word && self.processes.iter().any(works) {
            true => Err(format!("{election}: token {token} is {reason:?}, but its work runs")),
            false => Ok(()),
        }
    }

    /// Promise 4 in the small: every election is led, and everybody stands where it thinks.
    fn check_liveness(&self) -> Result<(), String> {
        for name in &self.elections {
            let leader = self.processes.iter().filter(|p| p.believes(name, self.now)).count();
            if leader != 1 {
                return Err(format!(
                    "nobody leads {name} after the faults: {:?}",
                    self.phases(name)
                ));
            }
            for (at, process) in self.processes.iter().enumerate() {
                let session = process.contender.validity().map(|(session, _)| session);
                let election = self.store.ledger.election(name);
                let stands = session.is_some_and(|session| {
                    election.is_some_and(|election| election.candidate(session).is_some())
                });
                if !stands {
                    let phases = self.phases(name);
                    return Err(format!("process {at} does not stand in {name}: {phases:?}"));
                }
            }
        }
        Ok(())
    }

    fn phases(&self, name: &ElectionName) -> Vec<Phase> {
        self.processes.iter().map(|process| process.contender.phase(name)).collect()
    }
}
