//! The clocks that only the Raft leader keeps.
//!
//! Deadlines are not replicated. A new Raft leader starts every clock afresh at its takeover,
//! in full: every renewal that an earlier leader acknowledged was sent before that. It lets none
//! ring before it has applied an entry of its own term: until then a lease may have been
//! lengthened, and its holder told so, by an entry that this node has not applied.
//! **Invariant:** a clock that runs out only *proposes*; the log decides.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, SessionId, Token, WallTime,
    ledger::{Command, Event, EventKind, Ledger, SessionEnd},
    timing::{Drift, Ttl, grantor_deadline},
};

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Session(SessionId),
    Eviction(ElectionName, Token),
    Ban(ElectionName, CandidateId),
}

#[derive(Debug)]
struct SessionClock {
    ttl: Ttl,
    deadline: Moment,
    last_heard: Moment,
    /// Its end was proposed in this term: it is no longer renewed.
    ending: bool,
}

/// Deadlines of sessions, evictions and bans.
#[derive(Debug)]
pub(crate) struct Clocks {
    drift: Drift,
    sessions: BTreeMap<SessionId, SessionClock>,
    /// When to look at a timer again. Renewing a session leaves its entry where it is: it is
    /// moved when it comes up, so a renewal costs one write.
    queue: BTreeSet<(Moment, Timer)>,
}

impl Clocks {
    /// Starts every clock of the ledger in full.
    pub(crate) fn start(drift: Drift, ledger: &Ledger, now: Moment) -> Self {
        let mut clocks = Self { drift, sessions: BTreeMap::new(), queue: BTreeSet::new() };
        for (id, session) in ledger.sessions() {
            clocks.open(id, session.ttl(), now);
        }
        for (name, election) in ledger.all_elections().iter() {
            if let Some(tenure) = election.tenure().filter(|tenure| tenure.revoked.is_some()) {
                clocks.revoke(ledger, name, tenure.session, tenure.token, now);
            }
            for ban in election.bans() {
                let timer = Timer::Ban(name.clone(), ban.candidate.clone());
                clocks.queue.insert((now + ban.length, timer));
            }
        }
        clocks
    }

    fn open(&mut self, id: SessionId, ttl: Ttl, now: Moment) {
        let deadline = grantor_deadline(now, ttl, self.drift);
        let clock = SessionClock { ttl, deadline, last_heard: now, ending: false };
        self.sessions.insert(id, clock);
        self.queue.insert((deadline, Timer::Session(id)));
    }

    /// A longer lease starts in full: its holder may count with it as soon as it hears of it. A
    /// shorter one ends no sooner than what was granted before.
    fn retimed(&mut self, id: SessionId, ttl: Ttl, now: Moment) {
        let drift = self.drift;
        if let Some(clock) = self.sessions.get_mut(&id) {
            clock.ttl = ttl;
            clock.deadline = clock.deadline.max(grantor_deadline(now, ttl, drift));
        }
    }

    /// The evicted leader may believe until renewals that were sent before the eviction have
    /// run out.
    fn revoke(
        &mut self,
        ledger: &Ledger,
        name: &ElectionName,
        session: SessionId,
        token: Token,
        now: Moment,
    ) {
        let Some(ttl) = ledger.session(session).map(|session| session.ttl()) else { return };
        let deadline = grantor_deadline(now, ttl, self.drift);
        self.queue.insert((deadline, Timer::Eviction(name.clone(), token)));
    }

    /// The ledger has changed.
    pub(crate) fn applied(&mut self, ledger: &Ledger, event: &Event, now: Moment) {
        match &event.kind {
            EventKind::SessionOpened { session, ttl } => self.open(*session, *ttl, now),
            EventKind::SessionRetimed { session, ttl } => self.retimed(*session, *ttl, now),
            EventKind::SessionClosed { session, .. } => {
                self.sessions.remove(session);
            }
            EventKind::Revoked { election, token, .. } => {
                let tenure = ledger.election(election).and_then(|election| election.tenure());
                if let Some(tenure) = tenure.filter(|tenure| tenure.token == *token) {
                    self.revoke(ledger, election, tenure.session, *token, now);
                }
            }
            EventKind::Ended { election, candidate, .. } => {
                let bans = ledger.election(election).map(|election| election.bans());
                if let Some(ban) =
                    bans.unwrap_or_default().iter().find(|ban| ban.candidate == *candidate)
                {
                    let timer = Timer::Ban(election.clone(), candidate.clone());
                    self.queue.insert((now + ban.length, timer));
                }
            }
            _ => {}
        }
    }

    /// A renewal was received. False when the session is not open, or is being ended, so that
    /// nothing may be confirmed about it.
    pub(crate) fn renew(&mut self, id: SessionId, now: Moment) -> bool {
        let drift = self.drift;
        match self.sessions.get_mut(&id).filter(|clock| !clock.ending) {
            Some(clock) => {
                clock.deadline = clock.deadline.max(grantor_deadline(now, clock.ttl, drift));
                clock.last_heard = now;
                true
            }
            None => false,
        }
    }

    /// Whether a session is open and not being ended.
    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|clock| !clock.ending)
    }

    /// Commands that end the sessions of a process that was seen dead.
    pub(crate) fn died(&mut self, process: Incarnation, observed: WallTime) -> Vec<Command> {
        let first = SessionId { process, number: 0 };
        let last = SessionId { process, number: u32::MAX };
        let mut commands = Vec::new();
        for (&session, clock) in self.sessions.range_mut(first..=last) {
            if !clock.ending {
                clock.ending = true;
                let reason = SessionEnd::Died { observed };
                commands.push(Command::CloseSession { session, reason });
            }
        }
        commands
    }

    /// Commands that are due.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some((at, _)) = self.queue.first() {
            if *at > now {
                break;
            }
            let Some((_, timer)) = self.queue.pop_first() else { break };
            commands.extend(self.ring(timer, now));
        }
        commands
    }

    /// A command was not taken by the log: it comes again at `at`.
    pub(crate) fn again(&mut self, command: Command, at: Moment) {
        match command {
            Command::CloseSession { session, reason } => {
                let Some(clock) = self.sessions.get_mut(&session) else { return };
                // Nothing was proposed, so it may be renewed until then. A death is reported
                // again by whoever holds the proof.
                clock.ending = false;
                if matches!(reason, SessionEnd::Expired { .. }) {
                    self.queue.insert((at, Timer::Session(session)));
                }
            }
            Command::FinishEviction { election, token } => {
                self.queue.insert((at, Timer::Eviction(election, token)));
            }
            Command::LiftBan { election, candidate } => {
                self.queue.insert((at, Timer::Ban(election, candidate)));
            }
            _ => {}
        }
    }

    fn ring(&mut self, timer: Timer, now: Moment) -> Option<Command> {
        match timer {
            Timer::Session(session) => {
                let clock = self.sessions.get_mut(&session).filter(|clock| !clock.ending)?;
                if clock.deadline > now {
                    let deadline = clock.deadline;
                    self.queue.insert((deadline, Timer::Session(session)));
                    return None;
                }
                clock.ending = true;
                let reason = SessionEnd::Expired { silent: now.since(clock.last_heard) };
                Some(Command::CloseSession { session, reason })
            }
            Timer::Eviction(election, token) => Some(Command::FinishEviction { election, token }),
            Timer::Ban(election, candidate) => Some(Command::LiftBan { election, candidate }),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }
}
