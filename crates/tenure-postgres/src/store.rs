//! The port, statement by statement.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use core::{
    future::{Future, poll_fn},
    pin::Pin,
    time::Duration,
};
use tenure_core::{
    CandidateId, ElectionName, Incarnation, Leader, Moment, NameError, Revision, SessionId, Token,
    Value, WallTime,
    backend::{Answer, Backend, Bid, Capabilities, Change, Hints, Hold, Holding, Slot, StoreError},
    timing::Ttl,
};
use tokio_postgres::{Row, types::Type};

use crate::{
    clock,
    jumps::Jumps,
    lane::Lane,
    link::{Param, locked},
    sql::Sql,
};

/// Renewals do not wait behind grants: they have a connection of their own.
#[derive(Debug)]
pub(crate) struct Postgres(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) sql: Arc<Sql>,
    pub(crate) hints: Arc<Mutex<Hints>>,
    /// For what keeps leases.
    pub(crate) renewals: Lane,
    /// For everything else, in order; listens.
    pub(crate) work: Lane,
    pub(crate) capabilities: Capabilities,
    /// Longest wait for a lock, as the server reads it.
    pub(crate) lock_wait: String,
    pub(crate) jumps: Mutex<Jumps>,
    pub(crate) outbox: Mutex<Outbox>,
}

/// Grants that observers have not been told of yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: BTreeSet<ElectionName>,
    is_emptied: bool,
}

fn millis(ttl: Ttl) -> i64 {
    i64::try_from(ttl.get().as_millis()).unwrap_or(i64::MAX)
}

/// A token as the database has it. Those it made fit.
fn stored(token: Token) -> i64 {
    i64::try_from(token.get()).unwrap_or(i64::MAX)
}

fn process(session: SessionId) -> i64 {
    session.process.get().cast_signed()
}

/// What a row says about an election.
fn holding(row: &Row) -> Result<Holding, StoreError> {
    let wait: Option<i64> = row.get("wait_micros");
    let wait = wait.and_then(|micros| u64::try_from(micros).ok()).filter(|micros| *micros > 0);
    // A moment more: exactly at its end a lease is not over.
    let again = wait.map(|micros| Duration::from_micros(micros) + Duration::from_millis(1));
    let revision: Option<i64> = row.get("revision");
    let holder = match row.get("held") {
        false => None,
        true => Some(holder(row).map_err(|error| StoreError::Refused {
            why: format!("a row of the table was written by something else: {error}"),
        })?),
    };
    let revision = Revision::new(revision.map_or(0, unsigned));
    Ok(Holding { holder, revision, position: 1, again })
}

fn holder(row: &Row) -> Result<(SessionId, Leader), NameError> {
    let session = SessionId {
        process: Incarnation::from_random(row.get::<_, i64>("process").cast_unsigned()),
        number: u32::try_from(row.get::<_, i64>("session")).unwrap_or(u32::MAX),
    };
    let ttl = Duration::from_millis(unsigned(row.get("ttl_ms")));
    let leader = Leader {
        id: CandidateId::new(row.get::<_, &str>("candidate"))?,
        value: Value::new(row.get::<_, &str>("value"))?,
        token: Token::new(unsigned(row.get("token"))),
        ttl: Ttl::new(ttl).unwrap_or(Ttl::MIN),
        since: WallTime::from_micros(unsigned(row.get("since_micros"))),
    };
    Ok((session, leader))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Inner {
    async fn acquire(self: Arc<Self>, bid: Bid) -> Result<Holding, StoreError> {
        let sent = clock::moment();
        let rows = self
            .work
            .ask(
                &self.sql.acquire,
                &[
                    (&self.lock_wait, Type::TEXT),
                    (&millis(bid.ttl), Type::INT8),
                    (&bid.election.as_str(), Type::TEXT),
                    (&process(bid.session), Type::INT8),
                    (&i64::from(bid.session.number), Type::INT8),
                    (&bid.candidate.as_str(), Type::TEXT),
                    (&bid.value.as_str(), Type::TEXT),
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| self.damaged())?;
        let holding = holding(row)?;
        self.watch_clock(row, sent);
        if holding.token_of(bid.session).is_some()
            && let Some(left) = locked(&self.jumps).quiet(clock::moment())
        {
            // The grant is kept, and confirmed once more, until it can be believed in.
            return Err(StoreError::Refused {
                why: format!(
                    "the database server's clock was set forward, so whoever held {} before may \
                     believe in its lease for up to {left:?} yet",
                    bid.election
                ),
            });
        }
        if row.get("fresh") {
            self.tell(bid.election);
        }
        Ok(holding)
    }

    async fn look(&self, elections: Vec<ElectionName>) -> Result<Vec<Holding>, StoreError> {
        let sent = clock::moment();
        let names: Vec<_> = elections.iter().map(ElectionName::as_str).collect();
        let rows = self.work.ask(&self.sql.look, &[(&names, Type::TEXT_ARRAY)]).await?;
        if rows.len() != elections.len() {
            return Err(self.damaged());
        }
        if let Some(row) = rows.first() {
            self.watch_clock(row, sent);
        }
        rows.iter().map(holding).collect()
    }

    fn damaged(&self) -> StoreError {
        let line = &self.sql.line;
        let why = format!("the only row of {line} is gone: see docs/stores/postgres.md");
        StoreError::Refused { why }
    }

    /// Takes note of what time it is over there.
    fn watch_clock(&self, row: &Row, sent: Moment) {
        let longest = Duration::from_millis(unsigned(row.get("longest_ms")));
        let there = row.get("now_micros");
        let set = locked(&self.jumps).note(there, sent, clock::moment(), longest);
        if let Some(micros) = set {
            tracing::warn!(micros, "the database server's clock was set");
        }
    }

    async fn renew(
        &self,
        session: SessionId,
        holds: Vec<Hold>,
    ) -> Result<Vec<ElectionName>, StoreError> {
        let names: Vec<_> = holds.iter().map(|hold| hold.election.as_str()).collect();
        let tokens: Vec<_> = holds.iter().map(|hold| stored(hold.token)).collect();
        let ttls: Vec<_> = holds.iter().map(|hold| millis(hold.ttl)).collect();
        let rows = self
            .renewals
            .ask(
                &self.sql.renew,
                &[
                    (&self.lock_wait, Type::TEXT),
                    (&process(session), Type::INT8),
                    (&i64::from(session.number), Type::INT8),
                    (&names, Type::TEXT_ARRAY),
                    (&tokens, Type::INT8_ARRAY),
                    (&ttls, Type::INT8_ARRAY),
                ],
            )
            .await?;
        let renewed: BTreeSet<&str> = rows.iter().map(|row| row.get("election")).collect();
        let lapsed = holds.iter().filter(|hold| !renewed.contains(hold.election.as_str()));
        Ok(lapsed.map(|hold| hold.election.clone()).collect())
    }

    async fn release(
        &self,
        hold: Hold,
        successor: Option<CandidateId>,
    ) -> Result<bool, StoreError> {
        let successor = successor.as_ref().map(CandidateId::as_str);
        // One that does not come is not waited for longer than half a lease.
        let first = millis(hold.ttl) / 2;
        let names = vec![hold.election.as_str()];
        // The hint follows at once and in a transaction of its own: inside the release it would
        // make all releases of the database wait for each other's flush.
        let (released, _) = self
            .work
            .ask_both(
                (
                    &self.sql.release,
                    &[
                        (&self.lock_wait, Type::TEXT),
                        (&hold.election.as_str(), Type::TEXT),
                        (&process(hold.session), Type::INT8),
                        (&i64::from(hold.session.number), Type::INT8),
                        (&stored(hold.token), Type::INT8),
                        (&successor, Type::TEXT),
                        (&first, Type::INT8),
                    ],
                ),
                (&self.sql.hint, &[(&self.sql.channel, Type::TEXT), (&names, Type::TEXT_ARRAY)]),
            )
            .await;
        Ok(released?.first().is_some_and(|row| row.get("released")))
    }

    async fn take(&self, slot: Slot) -> Result<Slot, StoreError> {
        // Older tables have none beside them. Only a leader asks, so nobody makes it meanwhile.
        let there = "SELECT to_regclass($1) IS NOT NULL AS there";
        let there = self.work.ask(there, &[(&self.sql.slots, Type::TEXT)]).await?;
        if !there.first().is_some_and(|row| row.get("there")) {
            self.work.ask(&self.sql.make_slots, &[]).await?;
        }
        let rows = self
            .work
            .ask(
                &self.sql.take,
                &[
                    (&self.lock_wait, Type::TEXT),
                    (&slot.election.as_str(), Type::TEXT),
                    (&slot.name.as_str(), Type::TEXT),
                    (&stored(slot.token), Type::INT8),
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| self.damaged())?;
        let name = Value::new(row.get::<_, &str>("slot")).map_err(|error| {
            let why = format!("{} holds what is no slot: {error}", self.sql.slots);
            StoreError::Refused { why }
        })?;
        Ok(Slot { name, token: Token::new(unsigned(row.get("token"))), ..slot })
    }

    /// Tells observers of a grant, soon; those that come together go together.
    fn tell(self: &Arc<Self>, election: ElectionName) {
        let mut outbox = locked(&self.outbox);
        outbox.waiting.insert(election);
        if core::mem::replace(&mut outbox.is_emptied, true) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(told) = inner.next_told() {
                let names: Vec<_> = told.iter().map(ElectionName::as_str).collect();
                let channel = &inner.sql.channel;
                let params = [(channel as _, Type::TEXT), (&names as _, Type::TEXT_ARRAY)];
                if let Err(error) = inner.work.ask(&inner.sql.hint, &params).await {
                    tracing::debug!(%error, "observers find out by asking");
                }
            }
        });
    }

    fn next_told(&self) -> Option<BTreeSet<ElectionName>> {
        let mut outbox = locked(&self.outbox);
        let told = core::mem::take(&mut outbox.waiting);
        outbox.is_emptied = !told.is_empty();
        outbox.is_emptied.then_some(told)
    }
}

impl Backend for Postgres {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn open(&self, _session: SessionId, ttl: Ttl) -> Answer<'_, ()> {
        // Sessions are not stored: every row says whose it is.
        Box::pin(async move {
            let Inner { renewals, sql, lock_wait, .. } = &*self.0;
            let params = [(lock_wait as _, Type::TEXT), (&millis(ttl) as _, Type::INT8)];
            renewals.ask(&sql.open, &params).await.map(drop)
        })
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        Box::pin(async move {
            let Inner { work, sql, lock_wait, .. } = &*self.0;
            let params: &[Param<'_>] = &[
                (lock_wait, Type::TEXT),
                (&process(session), Type::INT8),
                (&i64::from(session.number), Type::INT8),
                (&sql.channel, Type::TEXT),
            ];
            work.ask(&sql.close, params).await.map(drop)
        })
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        Box::pin(Arc::clone(&self.0).acquire(bid))
    }

    fn withdraw(&self, _session: SessionId, _election: ElectionName) -> Answer<'_, ()> {
        // There is no queue to leave.
        Box::pin(core::future::ready(Ok(())))
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        Box::pin(self.0.renew(session, holds))
    }

    fn release(&self, hold: Hold, successor: Option<CandidateId>) -> Answer<'_, bool> {
        Box::pin(self.0.release(hold, successor))
    }

    fn bury(&self, hold: Hold) -> Answer<'_, ()> {
        Box::pin(async move { self.0.release(hold, None).await.map(drop) })
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        Box::pin(self.0.look(elections))
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        Box::pin(self.0.take(slot))
    }

    // One channel tells of all elections, and the Registrar knows which ones matter.
    fn follow(&self, _election: ElectionName) {}

    fn unfollow(&self, _election: &ElectionName) {}

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(poll_fn(|cx| locked(&self.0.hints).poll(cx)))
    }
}
