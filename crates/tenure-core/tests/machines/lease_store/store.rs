//! A store of leases, as Redis or a table in PostgreSQL is one.

use std::collections::BTreeMap;

use tenure_core::{
    ElectionName, Leader, Moment, Revision, SessionId, Token, WallTime,
    backend::{Bid, Hold, Holding, Report, Step},
    timing::Ttl,
};

use super::{super::closed_loop::clock::Clock, Bug};

#[derive(Debug)]
struct Lease {
    session: SessionId,
    leader: Leader,
    until: Moment,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) clock: Clock,
    leases: BTreeMap<ElectionName, Lease>,
    last: BTreeMap<ElectionName, u64>,
    /// Elections that changed and that nobody was told of.
    pub(super) changed: Vec<ElectionName>,
    bug: Option<Bug>,
}

impl Store {
    pub(super) fn new(clock: Clock, bug: Option<Bug>) -> Self {
        let (leases, last) = (BTreeMap::new(), BTreeMap::new());
        Self { clock, leases, last, changed: Vec::new(), bug }
    }

    pub(super) fn run(&mut self, step: &Step, now: u64) -> Report {
        let moment = self.clock.at(now);
        self.leases.retain(|_, lease| lease.until > moment);
        match step {
            Step::Open { .. } | Step::Withdraw { .. } => Report::Done,
            Step::Close { session } => {
                self.leases.retain(|_, lease| lease.session != *session);
                Report::Done
            }
            Step::Acquire(bid) => Report::Stood(vec![self.acquire(bid, moment)]),
            Step::Renew { holds, .. } => {
                let lapsed = holds.iter().filter(|hold| !self.renew(hold, moment));
                let lapsed: Vec<_> = lapsed.map(|hold| hold.election.clone()).collect();
                Report::Lapsed(lapsed)
            }
            Step::Release { hold, .. } => {
                let held = self.is_held(hold);
                if held {
                    self.leases.remove(&hold.election);
                    self.changed.push(hold.election.clone());
                }
                Report::Released(held)
            }
            Step::Look(elections) => {
                Report::Stood(elections.iter().map(|name| self.stands(name, moment)).collect())
            }
        }
    }

    fn until(&self, moment: Moment, ttl: Ttl) -> Moment {
        let length = ttl.get();
        moment + if self.bug == Some(Bug::ShortLeases) { length * 9 / 10 } else { length }
    }

    fn is_held(&self, hold: &Hold) -> bool {
        self.leases
            .get(&hold.election)
            .is_some_and(|lease| lease.session == hold.session && lease.leader.token == hold.token)
    }

    fn renew(&mut self, hold: &Hold, moment: Moment) -> bool {
        let (held, until) = (self.is_held(hold), self.until(moment, hold.ttl));
        if let Some(lease) = self.leases.get_mut(&hold.election).filter(|_| held) {
            lease.until = lease.until.max(until);
        }
        held
    }

    fn acquire(&mut self, bid: &Bid, moment: Moment) -> Holding {
        let until = self.until(moment, bid.ttl);
        // A later campaign of a process says that nothing runs under its former session.
        let former = |lease: &Lease| {
            lease.session.process == bid.session.process
                && lease.session.number < bid.session.number
        };
        if self.leases.get(&bid.election).is_some_and(former) {
            self.leases.remove(&bid.election);
        }
        match self.leases.get_mut(&bid.election) {
            Some(lease) if lease.session == bid.session => lease.until = lease.until.max(until),
            Some(_) => {}
            None => {
                let last = self.last.entry(bid.election.clone()).or_default();
                *last = if self.bug == Some(Bug::TokensForgotten) { 1 } else { *last + 1 };
                let leader = Leader {
                    id: bid.candidate.clone(),
                    value: bid.value.clone(),
                    token: Token::new(*last),
                    ttl: bid.ttl,
                    since: WallTime::default(),
                };
                let lease = Lease { session: bid.session, leader, until };
                self.leases.insert(bid.election.clone(), lease);
                self.changed.push(bid.election.clone());
            }
        }
        self.stands(&bid.election, moment)
    }

    fn stands(&self, election: &ElectionName, moment: Moment) -> Holding {
        let lease = self.leases.get(election);
        Holding {
            holder: lease.map(|lease| (lease.session, lease.leader.clone())),
            revision: Revision::new(self.last.get(election).copied().unwrap_or_default()),
            position: 1,
            again: lease.map(|lease| lease.until.since(moment)),
        }
    }
}
