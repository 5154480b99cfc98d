//! The store's side: a ledger, and the keeper of the clocks as the safety rules want it.

use std::collections::BTreeMap;

use tenure_core::{
    CandidateId, ElectionName, Moment, RequestId, SessionId, Token, WallTime,
    candidate::Seen,
    ledger::{Applied, Command, EventKind, Ledger, SessionEnd},
    timing::{Drift, grantor_deadline},
};

use super::{Bug, clock::Clock};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Session(SessionId),
    Eviction(ElectionName, Token),
    Ban(ElectionName, CandidateId),
}

pub(crate) struct Store {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    drift: Drift,
    timers: BTreeMap<Timer, Moment>,
    bug: Option<Bug>,
}

impl Store {
    pub(crate) fn new(clock: Clock, drift: Drift, bug: Option<Bug>) -> Self {
        Self { ledger: Ledger::default(), clock, drift, timers: BTreeMap::new(), bug }
    }

    pub(crate) fn apply(
        &mut self,
        request: Option<RequestId>,
        command: Command,
        now: u64,
    ) -> Applied {
        let applied = self.ledger.apply(request, WallTime::from_micros(now / 1000), command);
        for event in &applied.events {
            self.keep_clocks(&event.kind, now);
        }
        applied
    }

    fn keep_clocks(&mut self, event: &EventKind, now: u64) {
        let moment = self.clock.at(now);
        match event {
            EventKind::SessionOpened { session, ttl } => {
                let deadline = grantor_deadline(moment, *ttl, self.drift);
                self.timers.insert(Timer::Session(*session), deadline);
            }
            EventKind::SessionRetimed { session, ttl } => {
                let deadline = grantor_deadline(moment, *ttl, self.drift);
                let kept = self.timers.entry(Timer::Session(*session)).or_insert(deadline);
                *kept = deadline.max(*kept);
            }
            EventKind::SessionClosed { session, .. } => {
                self.timers.remove(&Timer::Session(*session));
            }
            EventKind::Revoked { election, token, .. } => {
                let timer = Timer::Eviction(election.clone(), *token);
                let deadline = self.eviction_deadline(election, moment);
                self.timers.insert(timer, deadline);
            }
            EventKind::Ended { election, .. } => {
                let bans = self.ledger.election(election).map_or(&[][..], |e| e.bans());
                for ban in bans {
                    let timer = Timer::Ban(election.clone(), ban.candidate.clone());
                    self.timers.entry(timer).or_insert(moment + ban.length);
                }
            }
            _ => {}
        }
    }

    /// The evicted leader may believe until the renewals from before the eviction run out.
    fn eviction_deadline(&self, election: &ElectionName, now: Moment) -> Moment {
        let tenure = self.ledger.election(election).and_then(|election| election.tenure());
        let session = tenure.and_then(|tenure| self.ledger.session(tenure.session));
        match session {
            Some(session) if self.bug != Some(Bug::EvictionWithoutWaiting) => {
                grantor_deadline(now, session.ttl(), self.drift)
            }
            _ => now,
        }
    }

    /// A renewal was received. It counts only while its session is open.
    pub(crate) fn renew(&mut self, session: SessionId, now: u64) -> bool {
        let deadline = match self.ledger.session(session) {
            Some(open) => grantor_deadline(self.clock.at(now), open.ttl(), self.drift),
            None => return false,
        };
        let kept = self.timers.entry(Timer::Session(session)).or_insert(deadline);
        *kept = deadline.max(*kept);
        true
    }

    /// What an acknowledgement to this session must carry along.
    pub(crate) fn news(&self, session: SessionId) -> Vec<(ElectionName, Seen)> {
        if self.bug == Some(Bug::AcknowledgedWithoutNews) {
            return Vec::new();
        }
        let elections = self.ledger.session(session).into_iter().flat_map(|s| s.elections());
        elections.map(|name| (name.clone(), self.seen(name))).collect()
    }

    pub(crate) fn seen(&self, name: &ElectionName) -> Seen {
        let tenure = self.ledger.election(name).and_then(|election| election.tenure());
        Seen {
            revision: self.ledger.view(name).1,
            holder: tenure.map(|tenure| (tenure.session, tenure.token)),
            handover: tenure.is_some_and(|tenure| tenure.handover.is_some()),
            revoked: tenure.is_some_and(|tenure| tenure.revoked.is_some()),
        }
    }

    /// Another replica takes over: it knows no deadline, so each starts again in full.
    pub(crate) fn fail_over(&mut self, clock: Clock, now: u64) {
        self.clock = clock;
        let moment = clock.at(now);
        let timers: Vec<_> = self.timers.keys().cloned().collect();
        self.timers.clear();
        for timer in timers {
            let deadline = match &timer {
                Timer::Session(session) => match self.ledger.session(*session) {
                    Some(open) => grantor_deadline(moment, open.ttl(), self.drift),
                    None => continue,
                },
                Timer::Eviction(election, _) => self.eviction_deadline(election, moment),
                Timer::Ban(..) => moment,
            };
            self.timers.insert(timer, deadline);
        }
    }

    /// Commands whose time has come.
    pub(crate) fn due(&mut self, now: u64) -> Vec<Command> {
        let moment = self.clock.at(now);
        let due = self.timers.iter().filter(|(_, at)| **at <= moment);
        let due: Vec<_> = due.map(|(timer, _)| timer.clone()).collect();
        let mut commands = Vec::new();
        for timer in due {
            self.timers.remove(&timer);
            commands.push(match timer {
                Timer::Session(session) => {
                    let silent = std::time::Duration::from_secs(1);
                    Command::CloseSession { session, reason: SessionEnd::Expired { silent } }
                }
                Timer::Eviction(election, token) => Command::FinishEviction { election, token },
                Timer::Ban(election, candidate) => Command::LiftBan { election, candidate },
            });
        }
        commands
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.timers.values().min().map(|moment| self.clock.when(*moment))
    }
}
