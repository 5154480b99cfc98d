//! Answers a contender's commands from a store that knows only leases.
//!
//! The contender speaks the ledger's language: sessions, campaigns, hand-overs. A plain store
//! knows who holds which lease until when. The registrar stands between them: it keeps what
//! this one process contends for, holds and follows, and turns it into [`Step`]s for the store
//! and [`News`] for the contender. Like the contender it is pure: the shell runs the steps,
//! reports what came of them with [`Registrar::done`], and passes the time.
//!
//! **Invariant:** a renewal is acknowledged to the contender only if every tenure that it
//! believes to hold was confirmed by that renewal, or by a step that was sent later still. The
//! contender has one deadline for all its tenures; without this rule, a renewal that left while
//! a grant was on its way would lengthen the belief in a lease it did not lengthen. While grants
//! flow, the answer to one renewal so acknowledges the one before it.

mod candidacies;
mod entry;
mod renewals;
mod sessions;
mod steps;
#[cfg(test)]
mod tests;
mod timers;

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use entry::{Entry, Task};
use renewals::Renewals;
use sessions::Closing;
pub use steps::{Effect, Report, Step};
use steps::{UnderWay, unsupported};
use timers::Timers;

use super::{Bid, Change, News, StoreError};
use crate::{
    ElectionName, Moment, RequestId, SessionId,
    ledger::{Command, Outcome, Refusal},
    timing::Ttl,
};

/// Elections that are asked about in one step.
const BATCH: usize = 256;
/// Elections that are contended for at once. The others wait here and not at the store, where a
/// renewal would come after them.
const ACQUISITIONS: usize = 32;

/// One process's dealings with a store of leases.
#[derive(Debug)]
pub struct Registrar {
    session: Option<(SessionId, Ttl)>,
    entries: BTreeMap<ElectionName, Entry>,
    timers: Timers,
    /// The session is not open yet; the moment when the store is asked, unless it is being asked.
    opening: Option<(RequestId, Option<Moment>)>,
    /// Sessions whose end the store has not confirmed.
    closing: Vec<Closing>,
    under_way: BTreeMap<u64, UnderWay>,
    next_step: u64,
    renewals: Renewals,
    /// Acquisitions under way, and the elections whose turn comes after them.
    acquiring: usize,
    held_up: VecDeque<ElectionName>,
    poll: Duration,
    patience: Duration,
    retry: Duration,
    trouble: String,
    effects: VecDeque<Effect>,
}

impl Registrar {
    /// Nothing is followed or held yet. `ttl` is the lease of this process's sessions: how an
    /// election stands is asked at least twice in it, and not known after as long in silence.
    #[must_use]
    pub fn new(ttl: Ttl) -> Self {
        let ttl = ttl.get();
        Self {
            session: None,
            entries: BTreeMap::new(),
            timers: Timers::default(),
            opening: None,
            closing: Vec::new(),
            under_way: BTreeMap::new(),
            next_step: 1,
            renewals: Renewals::default(),
            acquiring: 0,
            held_up: VecDeque::new(),
            poll: ttl / 2,
            patience: ttl,
            retry: (ttl / 8).clamp(Duration::from_millis(50), Duration::from_secs(1)),
            trouble: String::from("the store has not answered yet"),
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Registrar::tick`] must be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let opening = self.opening.and_then(|(_, at)| at);
        let closing = self.closing.iter().map(|closing| closing.next);
        self.timers.first().into_iter().chain(opening).chain(closing).min()
    }

    /// Whether a request is not answered yet.
    #[must_use]
    pub fn has_open_requests(&self) -> bool {
        let closing = |step: &UnderWay| matches!(step, UnderWay::Close { .. });
        let waits = |entry: &Entry| entry.ending.is_some();
        let repeats = self.closing.iter().any(|closing| closing.request.is_some());
        repeats || self.under_way.values().any(closing) || self.entries.values().any(waits)
    }

    // Wishes

    /// A command of the contender. It is answered once, when the store has confirmed it.
    pub fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        match command {
            Command::OpenSession { session, ttl, supersedes } => {
                self.open(request, session, ttl, supersedes, now);
            }
            Command::CloseSession { session, .. } => self.close(request, session, now),
            Command::Campaign { session, election, candidate, value, standing } => {
                let Some(ttl) = self.ttl_of(request, session) else { return };
                if !standing.eligible {
                    return self.refuse(request, unsupported("a candidate that is not eligible"));
                }
                self.campaign(request, Bid { session, election, candidate, value, ttl }, now);
            }
            Command::Withdraw { session, election } => {
                self.withdraw(request, session, &election, now);
            }
            Command::Resign { session, election, token }
            | Command::Yield { session, election, token } => {
                self.release(request, session, election, token, None, now);
            }
            Command::Transfer { session, election, token, to } => {
                self.release(request, session, election, token, Some(to), now);
            }
            Command::Retime { .. } => self.refuse(request, unsupported("a lease that adapts")),
            Command::Stand { .. } => self.refuse(request, unsupported("a change of standing")),
            // Taken directly, see `Backend::take`.
            Command::Take { .. } => self.refuse(request, unsupported("a slot as a command")),
            Command::Proclaim { .. } => self.refuse(request, unsupported("a new value")),
            Command::Reserve { .. }
            | Command::Preempt { .. }
            | Command::CancelReserve { .. }
            | Command::Evict { .. }
            | Command::FinishEviction { .. }
            | Command::LiftBan { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Member(_) => self.refuse(request, unsupported("an operator's command")),
        }
    }

    /// Renews the session and everything it holds.
    pub fn renew(&mut self, session: SessionId, renewal: u64) {
        let Some((current, ttl)) = self.session else { return };
        if current != session || self.opening.is_some() {
            return;
        }
        let entries = self.entries.iter();
        let holds: Vec<_> = entries.filter_map(|(name, entry)| entry.hold(name, ttl)).collect();
        let step = Step::Renew { session, holds: holds.clone() };
        self.renewals.sent(self.next_step, renewal);
        self.run(step, UnderWay::Renew { session, holds });
    }

    /// Somebody wants to know how an election stands.
    pub fn follow(&mut self, election: &ElectionName, now: Moment) {
        let entry = self.entry(election);
        entry.followed = true;
        let session = self.session.map(|(session, _)| session);
        match self.entry(election).word(election, session, now) {
            Some(word) => self.say(News::Seen(word.into())),
            None => self.look_after(election, now),
        }
    }

    /// Nobody does any more.
    pub fn unfollow(&mut self, election: &ElectionName) {
        if let Some(entry) = self.entries.get_mut(election) {
            entry.followed = false;
            self.tidy(election);
        }
    }

    // News from the store

    /// A hint that something has changed.
    pub fn changed(&mut self, change: Change, now: Moment) {
        match change {
            Change::Elections(elections) => {
                for election in elections {
                    if let Some(entry) = self.entries.get_mut(&election) {
                        entry.again = true;
                        self.timers.set(&election, Some(now));
                    }
                }
            }
            Change::Everything => {
                for (election, entry) in &mut self.entries {
                    entry.again = true;
                    self.timers.set(election, Some(now));
                }
            }
            Change::Gone(session) => self.gone(session, now),
        }
        self.tick(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        if let Some((request, Some(at))) = self.opening
            && at <= now
        {
            self.opening = Some((request, None));
            if let Some((session, ttl)) = self.session {
                self.run(Step::Open { session, ttl }, UnderWay::Open { request, session });
            }
        }
        self.repeat_closes(now);
        let mut looks = Vec::new();
        for election in self.timers.take_due(now) {
            self.mind_silence(&election, now);
            self.advance(&election, now, &mut looks);
        }
        for elections in looks.chunks(BATCH) {
            let elections = elections.to_vec();
            self.run(Step::Look(elections.clone()), UnderWay::Look(elections));
        }
    }

    /// What came of a step.
    pub fn done(&mut self, number: u64, result: Result<Report, StoreError>, now: Moment) {
        let Some(step) = self.under_way.remove(&number) else { return };
        match &result {
            Err(StoreError::NoSession { session }) => self.gone(*session, now),
            Err(error) => self.trouble = alloc::format!("{error}"),
            Ok(_) => {}
        }
        match step {
            UnderWay::Open { request, session } => self.opened(request, session, &result, now),
            UnderWay::Close { request, session, until } => {
                self.closed(request, session, until, &result, now);
            }
            UnderWay::Renew { session, holds } => {
                if let Ok(Report::Lapsed(lapsed)) = result {
                    self.extended(number, session, &holds, &lapsed, now);
                }
            }
            UnderWay::Acquire(bid) => {
                self.acquiring -= 1;
                self.acquired(number, &bid, result, now);
                self.let_one_in(now);
            }
            UnderWay::Ending(bid) => self.ended(&bid, &result, now),
            UnderWay::Look(elections) => self.looked(elections, result, now),
        }
    }

    // Inside

    fn entry(&mut self, election: &ElectionName) -> &mut Entry {
        self.entries.entry(election.clone()).or_insert_with(|| {
            self.effects.push_back(Effect::Follow(election.clone()));
            Entry::new()
        })
    }

    fn say(&mut self, news: News) {
        self.effects.push_back(Effect::Say(news));
    }

    fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        self.say(News::Outcome(request, Outcome::Refused(refusal)));
    }

    fn tell(&mut self, election: &ElectionName, now: Moment) {
        let session = self.session.map(|(session, _)| session);
        if let Some(word) = self.entry(election).word(election, session, now) {
            self.say(News::Seen(word.into()));
        }
    }

    fn run(&mut self, step: Step, what: UnderWay) {
        let number = self.next_step;
        self.next_step += 1;
        self.under_way.insert(number, what);
        self.effects.push_back(Effect::Run { number, step });
    }

    /// Asks the store about it now.
    fn look_after(&mut self, election: &ElectionName, now: Moment) {
        self.timers.set(election, Some(now));
        self.tick(now);
    }

    /// The store gave no answer about it.
    fn ask_later(&mut self, election: &ElectionName, now: Moment) {
        let at = now + self.retry;
        self.timers.set(election, Some(at));
    }

    /// When it is looked after next, now that it is known how it stands.
    fn settle(&mut self, election: &ElectionName, now: Moment) {
        let poll = self.poll;
        let entry = self.entry(election);
        let urgent = core::mem::take(&mut entry.again) || entry.ending.is_some();
        let wait = if urgent { Duration::ZERO } else { entry.ask_again_after(poll) };
        self.timers.set(election, Some(now + wait));
        self.tidy(election);
        if urgent {
            self.tick(now);
        }
    }

    fn advance(&mut self, election: &ElectionName, now: Moment, looks: &mut Vec<ElectionName>) {
        let open = self.session.is_some() && self.opening.is_none();
        let Some(entry) = self.entries.get_mut(election) else { return };
        if let Some(silent_from) = entry.rests_until(self.patience).filter(|until| *until > now) {
            return self.timers.set(election, Some(silent_from));
        }
        let task = match entry.next_task(now) {
            // Nothing can be asked for without a session.
            Some(Task::Look) => Some(Task::Look),
            task if open => task,
            _ => None,
        };
        let Some(task) = task else { return self.tidy(election) };
        if matches!(task, Task::Acquire(_)) && self.acquiring >= ACQUISITIONS {
            if !core::mem::replace(&mut entry.held_up, true) {
                self.held_up.push_back(election.clone());
            }
            return;
        }
        entry.busy = true;
        entry.again = false;
        match task {
            Task::Look => looks.push(election.clone()),
            Task::Acquire(bid) => {
                self.acquiring += 1;
                self.run(Step::Acquire(bid.clone()), UnderWay::Acquire(bid));
            }
            Task::Withdraw(bid) => {
                let step = Step::Withdraw { session: bid.session, election: bid.election.clone() };
                self.run(step, UnderWay::Ending(bid));
            }
            Task::Release(hold, successor) => {
                let Some(bid) = self.entry(election).bid.clone() else { return };
                self.run(Step::Release { hold, successor }, UnderWay::Ending(bid));
            }
        }
    }

    /// An acquisition has ended: it is the turn of the next that still wants one.
    fn let_one_in(&mut self, now: Moment) {
        while self.acquiring < ACQUISITIONS
            && let Some(election) = self.held_up.pop_front()
        {
            if let Some(entry) = self.entries.get_mut(&election) {
                entry.held_up = false;
                self.look_after(&election, now);
            }
        }
    }

    /// Says so when nothing was heard about an election for too long.
    fn mind_silence(&mut self, election: &ElectionName, now: Moment) {
        let Some(entry) = self.entries.get_mut(election) else { return };
        if entry.silent_from(self.patience).is_some_and(|from| from <= now) {
            entry.lost_sight = true;
            let word = entry.unknown(election, &self.trouble, now);
            self.say(News::Seen(word.into()));
        }
    }

    fn tidy(&mut self, election: &ElectionName) {
        if self.entries.get(election).is_some_and(Entry::is_idle) {
            self.entries.remove(election);
            self.timers.set(election, None);
            self.effects.push_back(Effect::Unfollow(election.clone()));
        }
    }
}
