//! A store of leases: rows with a holder, a token and an end, and sessions that some of them
//! hang on. Everything is decided at the receipt, by the store's own clock.

use std::collections::BTreeMap;

use core::time::Duration;
use tenure_core::{
    ElectionName, Leader, Moment, Revision, SessionId, Token, WallTime,
    backend::{Bid, Hold, Holding, Report, Step, StoreError},
};

use super::mutant::StoreMutant;

/// Tokens after a failover begin this much higher than those before it could have got to: the
/// epoch in the high bits that an adapter of such a store needs.
const EPOCH: u64 = 1 << 32;

/// Who holds an election until when.
#[derive(Debug, Clone, Default)]
struct Row {
    holder: Option<(Bid, Token, Moment)>,
    revision: u64,
}

/// What a change did, for whoever judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A tenure began, in the place of one whose lease had run out, if any.
    Granted { election: ElectionName, token: Token, session: SessionId, after: Option<Token> },
    /// A tenure ended by its holder's word.
    Released { election: ElectionName, token: Token },
}

/// The rows and sessions of a store.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    rows: BTreeMap<ElectionName, Row>,
    sessions: BTreeMap<SessionId, (Duration, Moment)>,
    counter: u64,
    /// Holds end with their session and are renewed with it.
    shared: bool,
    mutant: Option<StoreMutant>,
    changes: Vec<Change>,
}

impl Model {
    pub(super) fn new(shared: bool, mutant: Option<StoreMutant>) -> Self {
        Self { shared, mutant, ..Self::default() }
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Carries out one step.
    pub(super) fn run(&mut self, step: Step, now: Moment) -> Result<Report, StoreError> {
        match step {
            Step::Open { session, ttl } => {
                let end = now + self.length(ttl.get());
                self.sessions.insert(session, (ttl.get(), end));
                Ok(Report::Done)
            }
            Step::Close { session } => {
                self.sessions.remove(&session);
                let held = self.held_by(session, now);
                for election in held {
                    self.free(&election);
                }
                Ok(Report::Done)
            }
            Step::Acquire(bid) => {
                self.acquire(bid, now).map(|holding| Report::Stood(vec![holding]))
            }
            Step::Withdraw { .. } => Ok(Report::Done),
            Step::Renew { session, holds } => {
                self.extend(session, now)?;
                let holds = holds.into_iter();
                let lapsed = holds.filter(|hold| !self.renew(hold, now));
                Ok(Report::Lapsed(lapsed.map(|hold| hold.election).collect()))
            }
            Step::Release { hold, .. } => Ok(Report::Released(self.release(&hold, now))),
            Step::Look(elections) => {
                let look = |election: &ElectionName| self.holding(election, now);
                Ok(Report::Stood(elections.iter().map(look).collect()))
            }
        }
    }

    fn length(&self, ttl: Duration) -> Duration {
        if self.mutant == Some(StoreMutant::ExpiresEarly) { ttl / 2 } else { ttl }
    }

    fn extend(&mut self, session: SessionId, now: Moment) -> Result<(), StoreError> {
        if !self.shared {
            return Ok(());
        }
        let length = self.sessions.get(&session).filter(|(_, end)| *end > now);
        let Some((ttl, _)) = length.copied() else { return Err(StoreError::NoSession { session }) };
        let end = now + self.length(ttl);
        self.sessions.insert(session, (ttl, end));
        Ok(())
    }

    /// Until when the lease of a row lasts.
    fn end(&self, session: SessionId, own: Moment) -> Moment {
        match self.shared {
            true => self.sessions.get(&session).map_or(Moment::default(), |(_, end)| *end),
            false => own,
        }
    }

    fn holder(&self, election: &ElectionName, now: Moment) -> Option<(&Bid, Token, Moment)> {
        let (bid, token, own) = self.rows.get(election)?.holder.as_ref()?;
        let end = self.end(bid.session, *own);
        (end > now).then_some((bid, *token, end))
    }

    fn held_by(&self, session: SessionId, now: Moment) -> Vec<ElectionName> {
        let names = self
            .rows
            .keys()
            .filter(|name| self.holder(name, now).is_some_and(|(bid, ..)| bid.session == session));
        names.cloned().collect()
    }

    fn acquire(&mut self, bid: Bid, now: Moment) -> Result<Holding, StoreError> {
        self.extend(bid.session, now)?;
        let (election, session) = (bid.election.clone(), bid.session);
        let end = now + self.length(bid.ttl.get());
        match self.holder(&election, now) {
            Some((held, token, _)) if held.session == session => {
                let row = self.rows.entry(election.clone()).or_default();
                row.holder = Some((bid, token, end));
            }
            Some(_) => {}
            None => {
                self.counter += 1;
                let (token, row) = (Token::new(self.counter), self.rows.entry(election.clone()));
                let row = row.or_default();
                let after = row.holder.take().map(|(_, token, _)| token);
                row.holder = Some((bid, token, end));
                row.revision = self.counter;
                let election = election.clone();
                self.changes.push(Change::Granted { election, token, session, after });
            }
        }
        Ok(self.holding(&election, now))
    }

    fn renew(&mut self, hold: &Hold, now: Moment) -> bool {
        let end = now + self.length(hold.ttl.get());
        let held = self.holder(&hold.election, now);
        let mine =
            held.is_some_and(|(bid, token, _)| bid.session == hold.session && token == hold.token);
        if mine && let Some(row) = self.rows.get_mut(&hold.election) {
            row.holder = row.holder.take().map(|(bid, token, _)| (bid, token, end));
        }
        mine || self.mutant == Some(StoreMutant::RenewsAnything)
    }

    fn release(&mut self, hold: &Hold, now: Moment) -> bool {
        let held = self.holder(&hold.election, now);
        let mine =
            held.is_some_and(|(bid, token, _)| bid.session == hold.session && token == hold.token);
        if mine || self.mutant == Some(StoreMutant::ReleasesAnything) {
            self.free(&hold.election);
        }
        mine
    }

    fn free(&mut self, election: &ElectionName) {
        let Some(row) = self.rows.get_mut(election) else { return };
        let Some((_, token, _)) = row.holder.take() else { return };
        self.counter += 1;
        row.revision = self.counter;
        self.changes.push(Change::Released { election: election.clone(), token });
    }

    pub(super) fn holding(&self, election: &ElectionName, now: Moment) -> Holding {
        let held = self.holder(election, now);
        let again = held.as_ref().map(|(.., end)| end.since(now));
        let holder = held.map(|(bid, token, _)| {
            let leader = Leader {
                id: bid.candidate.clone(),
                value: bid.value.clone(),
                token,
                ttl: bid.ttl,
                since: WallTime::default(),
            };
            (bid.session, leader)
        });
        let revision = self.rows.get(election).map_or(0, |row| row.revision);
        Holding { holder, revision: Revision::new(revision), position: 1, again }
    }

    /// Another machine takes over with this state, by a clock of its own: every lease that it
    /// knows begins again in full.
    /// `epoch` counts the machines that may have forgotten something; it is what such a store's
    /// adapter must keep safe, or tokens would be given out twice.
    pub(super) fn take_over(&mut self, now: Moment, epoch: Option<u64>) {
        for (ttl, end) in self.sessions.values_mut() {
            *end = now + *ttl;
        }
        let frees = self.mutant == Some(StoreMutant::FailoverFreesAll);
        for row in self.rows.values_mut() {
            if let Some((bid, _, end)) = &mut row.holder {
                *end = if frees { Moment::default() } else { now + bid.ttl.get() };
            }
        }
        if frees {
            self.sessions.values_mut().for_each(|(_, end)| *end = Moment::default());
        }
        if let Some(epoch) = epoch.filter(|_| self.mutant != Some(StoreMutant::TokensRestart)) {
            self.counter = epoch * EPOCH;
            for row in self.rows.values_mut() {
                // What is known of a row may be older than what was told of it.
                self.counter += 1;
                row.revision = self.counter;
            }
        }
    }
}
