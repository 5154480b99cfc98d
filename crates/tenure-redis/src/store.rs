//! The operations of the port, one script each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use core::{future::Future, pin::Pin, time::Duration};
use futures_util::future::try_join_all;
use tenure_core::{
    CandidateId, ElectionName, SessionId,
    backend::{Answer, Backend, Bid, Capabilities, Change, Hold, Holding, Slot, StoreError},
    timing::Ttl,
};

use crate::{
    dial::Live,
    hints::Hints,
    keys::Keys,
    link::Link,
    record::{self, Standing, Verdict},
    scripts::Scripts,
};

/// Holds that one script call renews: it keeps Redis from everybody else for about 1 ms.
const BATCH: usize = 500;

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) link: Arc<Link>,
    pub(crate) hints: Hints,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) capabilities: Capabilities,
    pub(crate) memory: Mutex<Memory>,
}

/// What this process remembers between two calls.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What a session may hold: also if the answer to its bid was lost.
    contended: BTreeMap<SessionId, BTreeSet<ElectionName>>,
    /// The highest revision seen of what is followed: a server that has lost its data goes on
    /// above it.
    floors: BTreeMap<ElectionName, u64>,
}

impl Store {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn floor(&self, election: &ElectionName) -> u64 {
        self.memory().floors.get(election).copied().unwrap_or(0)
    }

    /// In the words of the port, and never behind what was seen before.
    fn holding(&self, election: &ElectionName, standing: Standing) -> Holding {
        let mut memory = self.memory();
        let Some(floor) = memory.floors.get_mut(election) else { return standing.holding(0) };
        let holding = standing.holding(*floor);
        *floor = holding.revision.get();
        holding
    }

    async fn acquire(&self, bid: Bid) -> Result<Holding, StoreError> {
        let live = self.link.live().await?;
        // Before anything is sent: the answer may be lost.
        self.remember(&bid);
        let election = &bid.election;
        let mut script = self.scripts.acquire.prepare_invoke();
        script.key(self.keys.witness()).key(self.keys.lease(election));
        script.key(self.keys.record(election)).key(self.keys.next(election));
        script.arg(&live.server).arg(bid.session.process.get()).arg(bid.session.number);
        script.arg(bid.candidate.as_str()).arg(bid.value.as_str()).arg(millis(bid.ttl.get()));
        script.arg(self.floor(election)).arg(self.keys.channel(election));
        let said = self.link.call(&live, &script).await?;
        let standing = match record::acquired(said).map_err(|why| self.link.failed(&live, &why))? {
            Verdict::Done(standing) => standing,
            Verdict::Moved => return Err(self.link.moved(&live)),
            Verdict::Quiet(wait) => return Err(quiet(&live, wait)),
        };
        let holding = self.holding(election, standing);
        if holding.token_of(bid.session).is_some() {
            self.link.confirm(&live).await?;
        }
        Ok(holding)
    }

    /// One call for each [`BATCH`] of holds, all at once. The connection must be there when the
    /// renewal is asked for: one that waited for a new connection could find there a lease that
    /// was ended and granted to somebody else in the meantime, and brought back by a server that
    /// lost the latest of its data.
    async fn renew(
        &self,
        session: SessionId,
        holds: Vec<Hold>,
        live: Arc<Live>,
    ) -> Result<Vec<ElectionName>, StoreError> {
        let batches = holds.chunks(BATCH).chain(holds.is_empty().then_some([].as_slice()));
        let batches = batches.map(|holds| self.renew_batch(session, holds, &live));
        let lapsed = try_join_all(batches).await?.concat();
        self.link.confirm(&live).await?;
        Ok(lapsed)
    }

    async fn renew_batch(
        &self,
        session: SessionId,
        holds: &[Hold],
        live: &Live,
    ) -> Result<Vec<ElectionName>, StoreError> {
        let ttl = holds.first().map_or(Duration::ZERO, |hold| hold.ttl.get());
        let mut script = self.scripts.renew.prepare_invoke();
        script.key(self.keys.witness());
        script.arg(&live.server).arg(session.process.get()).arg(session.number).arg(millis(ttl));
        for hold in holds {
            script.key(self.keys.lease(&hold.election)).arg(hold.token.get());
        }
        let said = self.link.call(live, &script).await?;
        match record::renewed(said).map_err(|why| self.link.failed(live, &why))? {
            Verdict::Done(lapsed) => {
                let lapsed = lapsed.into_iter().filter_map(|at| holds.get(at));
                Ok(lapsed.map(|hold| hold.election.clone()).collect())
            }
            Verdict::Moved => Err(self.link.moved(live)),
            Verdict::Quiet(wait) => Err(quiet(live, wait)),
        }
    }

    async fn release(&self, hold: Hold, to: Option<CandidateId>) -> Result<bool, StoreError> {
        let live = self.link.live().await?;
        let election = &hold.election;
        let mut script = self.scripts.release.prepare_invoke();
        script.key(self.keys.lease(election)).key(self.keys.next(election));
        script.arg(hold.token.get()).arg(hold.session.process.get()).arg(hold.session.number);
        script.arg(to.as_ref().map_or("", CandidateId::as_str));
        script.arg(millis(hold.ttl.get() / 4)).arg(self.keys.channel(election));
        let said = self.link.call(&live, &script).await?;
        self.forget(hold.session, &BTreeSet::from([hold.election]));
        Ok(said == redis::Value::Int(1))
    }

    async fn take(&self, slot: Slot) -> Result<Slot, StoreError> {
        let live = self.link.live().await?;
        let mut script = self.scripts.take.prepare_invoke();
        script.key(self.keys.slot(&slot.election));
        script.arg(slot.token.get()).arg(slot.name.as_str());
        let said = self.link.call(&live, &script).await?;
        self.link.confirm(&live).await?;
        let text = redis::from_redis_value::<String>(said).ok();
        text.and_then(|text| Slot::from_text(&slot.election, &text)).ok_or_else(|| {
            let why = format!("{} is no slot of ours", self.keys.slot(&slot.election));
            StoreError::Refused { why }
        })
    }

    /// Ends whatever the session may hold of these.
    async fn leave(
        &self,
        session: SessionId,
        elections: BTreeSet<ElectionName>,
    ) -> Result<(), StoreError> {
        if elections.is_empty() {
            return Ok(());
        }
        let live = self.link.live().await?;
        let mut script = self.scripts.leave.prepare_invoke();
        script.arg(session.process.get()).arg(session.number);
        for election in &elections {
            script.key(self.keys.lease(election)).arg(self.keys.channel(election));
        }
        self.link.call(&live, &script).await?;
        self.forget(session, &elections);
        Ok(())
    }

    fn remember(&self, bid: &Bid) {
        let mut memory = self.memory();
        memory.contended.entry(bid.session).or_default().insert(bid.election.clone());
    }

    fn forget(&self, session: SessionId, elections: &BTreeSet<ElectionName>) {
        let mut memory = self.memory();
        if let Some(contended) = memory.contended.get_mut(&session) {
            contended.retain(|election| !elections.contains(election));
            if contended.is_empty() {
                memory.contended.remove(&session);
            }
        }
    }

    async fn look(&self, elections: Vec<ElectionName>) -> Result<Vec<Holding>, StoreError> {
        let live = self.link.live().await?;
        let mut script = self.scripts.look.prepare_invoke();
        for election in &elections {
            script.key(self.keys.lease(election)).key(self.keys.record(election));
        }
        let said = self.link.call(&live, &script).await?;
        let stood = record::looked(said).map_err(|why| self.link.failed(&live, &why))?;
        let stood = elections.iter().zip(stood);
        Ok(stood.map(|(election, standing)| self.holding(election, standing)).collect())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn quiet(live: &Live, wait: Duration) -> StoreError {
    let why = format!(
        "Redis at {} was started, promoted or flushed lately: nobody is elected there for another \
         {wait:?}, because a lease whose record was lost may still be believed in",
        live.address
    );
    StoreError::Refused { why }
}

impl Backend for Store {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, session: SessionId, _ttl: Ttl) -> Answer<'_, ()> {
        // Redis keeps leases, not sessions; that it answers is worth knowing all the same.
        Box::pin(async move {
            let live = self.link.live().await?;
            self.renew(session, Vec::new(), live).await.map(|_| ())
        })
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        let elections = self.memory().contended.get(&session).cloned().unwrap_or_default();
        Box::pin(self.leave(session, elections))
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        Box::pin(self.acquire(bid))
    }

    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()> {
        // There is no queue to leave, but the answer to a bid may have been lost.
        Box::pin(self.leave(session, BTreeSet::from([election])))
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        match self.link.present() {
            Ok(live) => Box::pin(self.renew(session, holds, live)),
            Err(error) => Box::pin(core::future::ready(Err(error))),
        }
    }

    fn release(&self, hold: Hold, successor: Option<CandidateId>) -> Answer<'_, bool> {
        Box::pin(self.release(hold, successor))
    }

    fn bury(&self, hold: Hold) -> Answer<'_, ()> {
        Box::pin(async move { self.release(hold, None).await.map(drop) })
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        Box::pin(self.look(elections))
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        Box::pin(self.take(slot))
    }

    fn follow(&self, election: ElectionName) {
        self.memory().floors.entry(election.clone()).or_default();
        self.hints.follow(election);
    }

    fn unfollow(&self, election: &ElectionName) {
        self.memory().floors.remove(election);
        self.hints.unfollow(election.clone());
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(self.hints.next())
    }
}
