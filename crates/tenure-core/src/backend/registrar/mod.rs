//! Answers a contender's commands from a store that knows only leases.
//!
//! The contender speaks the ledger's language: sessions, campaigns, hand-overs. A plain store
//! knows who holds which lease until when. The registrar stands between them: it keeps what
//! this one process contends for, holds and follows, and turns it into [`Step`]s for the store
//! and [`News`] for the contender. Like the contender it is pure: the shell runs the steps,
//! reports what came of them with [`Registrar::done`], and passes the time.
//!
//! **Invariant:** a renewal is acknowledged to the contender only if every tenure that it
//! believes to hold was named in that renewal, or was confirmed by a step that was sent later
//! still. The contender has one deadline for all its tenures; without this rule, a renewal that
//! left while a grant was on its way would lengthen the belief in a lease it did not lengthen.

mod entry;
mod steps;
mod timers;

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use entry::{Ending, Entry, Task};
pub use steps::{Effect, Report, Step};
use steps::{UnderWay, unsupported};
use timers::Timers;

use super::{Bid, Change, Hold, Holding, News, StoreError};
use crate::{
    CandidateId, ElectionName, Moment, RequestId, SessionId, Token,
    ledger::{Command, Outcome, Refusal},
    timing::Ttl,
};

/// Elections that are asked about in one step.
const BATCH: usize = 256;

/// One process's dealings with a store of leases.
#[derive(Debug)]
pub struct Registrar {
    session: Option<(SessionId, Ttl)>,
    entries: BTreeMap<ElectionName, Entry>,
    timers: Timers,
    /// Sessions that are to be opened or closed, until the store has confirmed it.
    opening: Option<(RequestId, Moment)>,
    under_way: BTreeMap<u64, UnderWay>,
    next_step: u64,
    /// The latest renewal that the store acknowledged and the contender was told of.
    renewed: u64,
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
            under_way: BTreeMap::new(),
            next_step: 1,
            renewed: 0,
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
        self.timers.first().into_iter().chain(self.opening.map(|(_, at)| at)).min()
    }

    /// Whether a request is not answered yet.
    #[must_use]
    pub fn has_open_requests(&self) -> bool {
        let closing = |step: &UnderWay| matches!(step, UnderWay::Close { .. });
        let waits = |entry: &Entry| entry.ending.is_some();
        self.under_way.values().any(closing) || self.entries.values().any(waits)
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
            Command::Stand { .. } => self.refuse(request, unsupported("a change of standing")),
            Command::Proclaim { .. } => self.refuse(request, unsupported("a new value")),
            Command::Reserve { .. }
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
        self.run(step, UnderWay::Renew { session, renewal, holds });
    }

    /// Somebody wants to know how an election stands.
    pub fn follow(&mut self, election: &ElectionName, now: Moment) {
        let entry = self.entry(election);
        entry.followed = true;
        match entry.word(election, now) {
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
        if let Some((request, at)) = self.opening
            && at <= now
        {
            self.opening = Some((request, Moment::from_nanos(u64::MAX)));
            if let Some((session, ttl)) = self.session {
                self.run(Step::Open { session, ttl }, UnderWay::Open { request, session });
            }
        }
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
            UnderWay::Close { request, .. } => {
                if let Some(request) = request {
                    self.say(News::Outcome(request, Outcome::Done));
                }
            }
            UnderWay::Renew { session, renewal, holds } => {
                if let Ok(Report::Lapsed(lapsed)) = result {
                    self.extended(number, session, renewal, &holds, &lapsed, now);
                }
            }
            UnderWay::Acquire(bid) => self.acquired(number, &bid, result, now),
            UnderWay::Ending(bid) => self.ended(&bid, &result, now),
            UnderWay::Look(elections) => self.looked(elections, result, now),
        }
    }

    // Sessions

    fn ttl_of(&mut self, request: RequestId, session: SessionId) -> Option<Ttl> {
        let ttl = self.session.filter(|(current, _)| *current == session).map(|(_, ttl)| ttl);
        if ttl.is_none() {
            self.refuse(request, Refusal::NoSession { session });
        }
        ttl
    }

    fn open(
        &mut self,
        request: RequestId,
        session: SessionId,
        ttl: Ttl,
        supersedes: Option<SessionId>,
        now: Moment,
    ) {
        if let Some((old, _)) = self.session.take() {
            self.forsake(old, now);
        }
        if let Some((old, _)) = self.opening.take() {
            // Too late: the contender has given that session up.
            self.refuse(old, Refusal::NoSession { session });
        }
        if let Some(old) = supersedes {
            self.run(Step::Close { session: old }, UnderWay::Close { request: None });
        }
        self.session = Some((session, ttl));
        self.opening = Some((request, now));
        self.tick(now);
    }

    fn opened(
        &mut self,
        request: RequestId,
        session: SessionId,
        result: &Result<Report, StoreError>,
        now: Moment,
    ) {
        if self.opening.is_none_or(|(open, _)| open != request) {
            return;
        }
        if self.session.is_none_or(|(current, _)| current != session) {
            return;
        }
        match result {
            Ok(_) => {
                self.opening = None;
                self.say(News::Outcome(request, Outcome::Done));
            }
            Err(_) => self.opening = Some((request, now + self.retry)),
        }
    }

    fn close(&mut self, request: RequestId, session: SessionId, now: Moment) {
        if self.session.is_some_and(|(current, _)| current == session) {
            self.session = None;
            self.opening = None;
            self.forsake(session, now);
        }
        self.run(Step::Close { session }, UnderWay::Close { request: Some(request) });
    }

    fn gone(&mut self, session: SessionId, now: Moment) {
        if self.session.is_some_and(|(current, _)| current == session) {
            self.session = None;
            self.opening = None;
            self.forsake(session, now);
            self.say(News::Gone(session));
        }
    }

    /// Nothing counts any more that rode on this session.
    fn forsake(&mut self, session: SessionId, now: Moment) {
        let mut unanswered = Vec::new();
        for (election, entry) in &mut self.entries {
            self.timers.set(election, Some(now));
            unanswered.extend(entry.campaign);
            match entry.ending {
                Some(Ending::Withdraw { request } | Ending::Release { request, .. }) => {
                    unanswered.push(request);
                }
                None => {}
            }
            entry.forsake();
        }
        for request in unanswered {
            self.refuse(request, Refusal::NoSession { session });
        }
    }

    fn extended(
        &mut self,
        number: u64,
        session: SessionId,
        renewal: u64,
        holds: &[Hold],
        lapsed: &[ElectionName],
        now: Moment,
    ) {
        if self.session.is_none_or(|(current, _)| current != session) {
            return;
        }
        let holds: BTreeMap<_, _> = holds.iter().map(|hold| (&hold.election, hold.token)).collect();
        let mut covered = true;
        let mut words = Vec::new();
        for (election, entry) in &mut self.entries {
            let Some((token, confirmed)) = entry.held else { continue };
            // What is being given back is not believed in any more.
            if entry.ending.is_some() {
                continue;
            }
            let named = holds.get(election) == Some(&token);
            if named && lapsed.contains(election) && confirmed < number {
                words.push(entry.lapse(election, token, now));
            } else if named {
                entry.refresh(now);
            } else if confirmed < number {
                covered = false;
            }
        }
        for word in words {
            self.timers.set(&word.election, Some(now));
            self.say(News::Seen(word.into()));
        }
        if covered {
            self.renewed = self.renewed.max(number);
            self.say(News::Renewed(session, renewal));
        }
        self.tick(now);
    }

    // Candidacies

    fn campaign(&mut self, request: RequestId, bid: Bid, now: Moment) {
        let election = bid.election.clone();
        let entry = self.entry(&election);
        if let Some(older) = entry.campaign.replace(request) {
            // The later one is answered for both.
            self.refuse(older, Refusal::NotCandidate { election: election.clone() });
        }
        let entry = self.entry(&election);
        if let (Some(token), None) = (entry.held_token(), &entry.ending) {
            entry.campaign = None;
            return self.say(News::Outcome(request, Outcome::Leading { token }));
        }
        if entry.ending.is_none() {
            entry.bid = Some(bid);
        }
        self.look_after(&election, now);
    }

    fn withdraw(
        &mut self,
        request: RequestId,
        session: SessionId,
        election: &ElectionName,
        now: Moment,
    ) {
        if self.ttl_of(request, session).is_none() {
            return;
        }
        let entry = self.entry(election);
        if let Some(token) = entry.held_token() {
            let election = election.clone();
            return self.refuse(request, Refusal::Leads { election, token });
        }
        if entry.bid.is_none() {
            self.refuse(request, Refusal::NotCandidate { election: election.clone() });
            return self.tidy(election);
        }
        entry.ending = Some(Ending::Withdraw { request });
        self.look_after(election, now);
    }

    fn release(
        &mut self,
        request: RequestId,
        session: SessionId,
        election: ElectionName,
        token: Token,
        successor: Option<CandidateId>,
        now: Moment,
    ) {
        let Some(ttl) = self.ttl_of(request, session) else { return };
        let entry = self.entry(&election);
        if entry.held_token() != Some(token) || entry.ending.is_some() {
            let current = entry.held_token();
            return self.refuse(request, Refusal::NotLeader { election, given: token, current });
        }
        let hold = Hold { session, election: election.clone(), token, ttl };
        entry.ending = Some(Ending::Release { request, hold, successor });
        self.look_after(&election, now);
    }

    fn acquired(
        &mut self,
        number: u64,
        bid: &Bid,
        result: Result<Report, StoreError>,
        now: Moment,
    ) {
        let (election, renewed) = (&bid.election, self.renewed);
        let entry = self.entry(election);
        entry.busy = false;
        if entry.bid.as_ref() != Some(bid) {
            // Asked under a session that is gone.
            return self.look_after(election, now);
        }
        let Ok(Report::Stood(mut holdings)) = result else { return self.ask_later(election, now) };
        let Some(holding) = holdings.pop() else { return self.ask_later(election, now) };
        let token = holding.token_of(bid.session);
        // A renewal that left later and did not name it was believed already: once more, so
        // that its lease is at least as long.
        if token.is_some() && renewed > number {
            return self.look_after(election, now);
        }
        entry.held = token.map(|token| (token, number));
        let news = entry.note(holding, now) || token.is_some();
        let outcome = match token {
            Some(token) => Outcome::Leading { token },
            None => Outcome::Waiting { position: entry.position() },
        };
        let campaign = entry.campaign.take();
        if let (Some(token), Some(Ending::Withdraw { request })) = (token, &entry.ending) {
            let request = *request;
            entry.ending = None;
            self.refuse(request, Refusal::Leads { election: election.clone(), token });
        } else if let Some(campaign) = campaign {
            self.say(News::Outcome(campaign, outcome));
        }
        if news {
            self.tell(election, now);
        }
        self.settle(election, now);
    }

    fn ended(&mut self, bid: &Bid, result: &Result<Report, StoreError>, now: Moment) {
        let (election, poll) = (&bid.election, self.poll);
        let entry = self.entry(election);
        entry.busy = false;
        if entry.bid.as_ref() != Some(bid) {
            return self.look_after(election, now);
        }
        let Ok(report) = result else { return self.ask_later(election, now) };
        let Some(ending) = entry.ending.take() else { return };
        if entry.campaign.is_none() {
            entry.bid = None;
        }
        let (request, outcome) = match ending {
            Ending::Withdraw { request } => (request, Outcome::Done),
            Ending::Release { request, hold, .. } => {
                entry.held = None;
                entry.stands_back = Some(now + poll);
                let given = hold.token;
                let election = election.clone();
                match report {
                    Report::Released(false) => (
                        request,
                        Outcome::Refused(Refusal::NotLeader { election, given, current: None }),
                    ),
                    _ => (request, Outcome::Done),
                }
            }
        };
        self.say(News::Outcome(request, outcome));
        self.look_after(election, now);
    }

    fn looked(
        &mut self,
        elections: Vec<ElectionName>,
        result: Result<Report, StoreError>,
        now: Moment,
    ) {
        let mut holdings = match result {
            Ok(Report::Stood(holdings)) => holdings.into_iter().map(Some).collect(),
            _ => Vec::<Option<Holding>>::new(),
        };
        holdings.resize(elections.len(), None);
        for (election, holding) in elections.into_iter().zip(holdings) {
            let Some(entry) = self.entries.get_mut(&election) else { continue };
            entry.busy = false;
            match holding {
                Some(holding) => self.stands(&election, holding, now),
                None => self.ask_later(&election, now),
            }
        }
    }

    fn stands(&mut self, election: &ElectionName, holding: Holding, now: Moment) {
        let session = self.session.map(|(session, _)| session);
        let entry = self.entry(election);
        if let Some(token) = entry.held_token()
            && entry.ending.is_none()
            && holding.revision.get() >= token.get()
            && session.and_then(|session| holding.token_of(session)) != Some(token)
        {
            let word = entry.lapse(election, token, now);
            self.say(News::Seen(word.into()));
        }
        if self.entry(election).note(holding, now) {
            self.tell(election, now);
        }
        self.settle(election, now);
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
        if let Some(word) = self.entry(election).word(election, now) {
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
        entry.busy = true;
        entry.again = false;
        match task {
            Task::Look => looks.push(election.clone()),
            Task::Acquire(bid) => self.run(Step::Acquire(bid.clone()), UnderWay::Acquire(bid)),
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
