//! The port, on etcd.

use core::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tenure_core::{
    CandidateId, ElectionName, Revision, SessionId, Token, WallTime,
    backend::{
        Answer, Backend, Bid, Capabilities, Change, Hints, Hold, Holding, Record, Slot, StoreError,
    },
    timing::Ttl,
};
use tokio::task::JoinHandle;

use crate::{
    claims::{Claim, Claims, Joined},
    client::{Client, Failure},
    keys::{Keys, lease_of},
    sights::Sights,
    wire::{
        ASCEND, Ask, BY_CREATION, Compare, DeleteRequest, GrantRequest, GrantResponse,
        KeepAliveRequest, KeepAliveResponse, KeyValue, MODIFIED, PutRequest, RangeRequest,
        RangeResponse, RequestOp, RevokeRequest, RevokeResponse, TxnRequest, TxnResponse, path,
    },
};

/// Operations in one transaction; etcd allows 128 unless told otherwise.
const BATCH: usize = 100;
/// Of a change to a slot that somebody else changes at the same time.
const ATTEMPTS: usize = 16;
/// Holds whose keys are looked at with each renewal.
const CHECKED: usize = 64;

/// What the operations and the watch share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    hints: Mutex<Hints>,
    claims: Mutex<Claims>,
    sights: Mutex<Sights>,
}

/// Elections on etcd.
#[derive(Debug)]
pub(crate) struct Etcd {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    /// Where the next renewal begins to look at keys.
    check_from: AtomicUsize,
    watch: JoinHandle<()>,
}

/// How the first candidate of an election stands at a revision.
struct First<'a> {
    kv: Option<&'a KeyValue>,
    count: i64,
    revision: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Revisions of etcd are never negative.
fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

impl Shared {
    pub(crate) fn new(client: Client, keys: Keys) -> Self {
        Self {
            client,
            keys,
            hints: Mutex::default(),
            claims: Mutex::default(),
            sights: Mutex::default(),
        }
    }

    pub(crate) fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }

    pub(crate) fn hints(&self) -> MutexGuard<'_, Hints> {
        lock(&self.hints)
    }

    pub(crate) fn sights(&self) -> MutexGuard<'_, Sights> {
        lock(&self.sights)
    }

    pub(crate) async fn txn(&self, asks: Vec<Ask>) -> Result<TxnResponse, Failure> {
        let success = asks.into_iter().map(RequestOp::from).collect();
        self.client.call(path::TXN, TxnRequest { success, compare: Vec::new() }).await
    }

    async fn delete(&self, key: Vec<u8>) -> Result<(), Failure> {
        self.txn(vec![Ask::Delete(DeleteRequest { key })]).await.map(|_| ())
    }

    /// Deletes a key of this process that nobody wants, however long that takes: as long as it
    /// is there and its session lives, the election would stay without a leader.
    pub(crate) fn delete_if_stray(self: &Arc<Self>, key: &[u8]) -> bool {
        let stray = self.claims().is_stray(&self.keys, key);
        if stray {
            let (shared, key) = (Arc::clone(self), key.to_vec());
            tokio::spawn(async move {
                while let Err(failure) = shared.delete(key.clone()).await {
                    if let Failure::Answered(status) = failure {
                        tracing::warn!(%status, "etcd refuses to delete a key of this process");
                        return;
                    }
                }
            });
        }
        stray
    }

    async fn keep_alive(&self, session: SessionId) -> Result<bool, Failure> {
        let ask = KeepAliveRequest { id: lease_of(session) };
        let answer: KeepAliveResponse = self.client.call(path::KEEP_ALIVE, ask).await?;
        Ok(answer.ttl > 0)
    }

    fn ask_first(&self, election: &ElectionName) -> Ask {
        let (key, range_end) = self.keys.election(election);
        Ask::Range(RangeRequest {
            key,
            range_end,
            limit: 1,
            sort_order: ASCEND,
            sort_target: BY_CREATION,
            keys_only: false,
        })
    }

    /// What the first of the queue means for an election. `asks` is the candidacy that asks.
    fn holding(self: &Arc<Self>, election: &ElectionName, first: &First<'_>) -> Holding {
        let at = first.kv.map(|kv| (kv.key.as_slice(), kv.create_revision));
        let (revision, passed) = self.sights().answered(election, at, first.revision);
        if passed {
            self.hints().changed(election.clone());
        }
        let holder = first.kv.and_then(|kv| {
            if self.delete_if_stray(&kv.key) {
                return None;
            }
            let Ok(record) = serde_json::from_slice::<Record>(&kv.value) else {
                let key = String::from_utf8_lossy(&kv.key);
                tracing::warn!(%key, "no candidate wrote this key, and it is first in the queue");
                return None;
            };
            Some((
                record.session(),
                record.leader(Token::new(number(kv.create_revision)), WallTime::default()),
            ))
        });
        Holding { holder, revision: Revision::new(number(revision)), position: 1, again: None }
    }

    async fn open(&self, session: SessionId, ttl: Ttl) -> Result<(), StoreError> {
        self.claims().opens(session);
        let asked = i64::try_from(ttl.get().as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let ask = GrantRequest { ttl: asked, id: lease_of(session) };
        let granted: Result<GrantResponse, _> = self.client.call(path::GRANT, ask).await;
        match granted {
            Ok(granted) if granted.ttl >= asked => Ok(()),
            Ok(granted) => Err(StoreError::Refused {
                why: format!("it grants {} s when asked for a lease of {asked} s", granted.ttl),
            }),
            // An earlier attempt, whose answer was lost.
            Err(failure) if failure.is_known_lease() => match self.keep_alive(session).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError::Unavailable {
                    why: String::from("the lease of the first attempt has run out already"),
                }),
                Err(failure) => Err(failure.told()),
            },
            Err(failure) => Err(failure.told()),
        }
    }

    async fn close(&self, session: SessionId) -> Result<(), StoreError> {
        self.claims().closes(session);
        let ask = RevokeRequest { id: lease_of(session) };
        let revoked: Result<RevokeResponse, _> = self.client.call(path::REVOKE, ask).await;
        match revoked {
            Err(failure) if !failure.is_unknown_lease() => Err(failure.told()),
            _ => Ok(()),
        }
    }

    async fn acquire(self: &Arc<Self>, bid: &Bid) -> Result<Holding, StoreError> {
        // Twice when somebody has deleted the key.
        for _ in 0..2 {
            let claim = self.claims().of(bid, &self.keys, wall());
            let answer = match self.txn(self.ask_acquire(bid, &claim)).await {
                Ok(answer) => answer,
                Err(failure) if failure.is_unknown_lease() => {
                    self.claims().closes(bid.session);
                    return Err(StoreError::NoSession { session: bid.session });
                }
                Err(failure) => return Err(failure.told()),
            };
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            let ranges: Vec<&RangeResponse> =
                answer.responses.iter().filter_map(|answer| answer.range.as_ref()).collect();
            let [own, first] = ranges[..] else { return Err(strange()) };
            let Some(own) = own.kvs.first() else {
                self.claims().end(bid.session, &bid.election, &claim.key);
                continue;
            };
            let first = First { kv: first.kvs.first(), count: first.count, revision };
            return Ok(self.joined(bid, &claim, own, &first));
        }
        let why = String::from("somebody deletes this candidate's keys; who else uses the prefix?");
        Err(StoreError::Refused { why })
    }

    /// The own key is written only when etcd may not have it: a waiter that asks again costs
    /// nobody a write. The own key and the first one are read at the same revision, so that
    /// nobody wins with a key that is gone.
    fn ask_acquire(&self, bid: &Bid, claim: &Claim) -> Vec<Ask> {
        let put = claim.joined.is_none().then(|| {
            // A record of names and numbers is always JSON.
            let value = serde_json::to_vec(&claim.record).unwrap_or_default();
            Ask::Put(PutRequest { key: claim.key.clone(), value, lease: lease_of(bid.session) })
        });
        put.into_iter().chain([ask_own(&claim.key), self.ask_first(&bid.election)]).collect()
    }

    fn joined(
        self: &Arc<Self>,
        bid: &Bid,
        claim: &Claim,
        own: &KeyValue,
        first: &First<'_>,
    ) -> Holding {
        let ahead = u32::try_from(first.count - 1).unwrap_or(u32::MAX).max(1);
        let position = claim.joined.map_or(ahead, |joined| joined.position.min(ahead));
        let joined = Joined { created: own.create_revision, position };
        self.claims().joined(bid.session, &bid.election, claim, joined);
        let mut holding = self.holding(&bid.election, first);
        holding.position = position;
        holding
    }

    async fn withdraw(
        &self,
        session: SessionId,
        election: &ElectionName,
    ) -> Result<(), StoreError> {
        let key = self.claims().get(session, election).map(|claim| claim.key.clone());
        let Some(key) = key else { return Ok(()) };
        self.delete(key.clone()).await.map_err(|failure| failure.told())?;
        self.claims().end(session, election, &key);
        Ok(())
    }

    async fn release(&self, hold: &Hold) -> Result<bool, StoreError> {
        let held = self.key_of(hold).is_some();
        if held {
            self.withdraw(hold.session, &hold.election).await?;
        }
        Ok(held)
    }

    /// The key of a tenure that this session won.
    fn key_of(&self, hold: &Hold) -> Option<Vec<u8>> {
        let claims = self.claims();
        let claim = claims.get(hold.session, &hold.election)?;
        let created = claim.joined?.created;
        (number(created) == hold.token.get()).then(|| claim.key.clone())
    }

    /// Those whose keys are gone.
    async fn lapsed(&self, holds: &[Hold]) -> Result<Vec<ElectionName>, StoreError> {
        let (mut lapsed, mut asked) = (Vec::new(), Vec::new());
        for hold in holds {
            match self.key_of(hold) {
                Some(key) => asked.push((hold, key)),
                None => lapsed.push(hold.election.clone()),
            }
        }
        if asked.is_empty() {
            return Ok(lapsed);
        }
        let asks = asked.iter().map(|(_, key)| ask_own(key)).collect();
        let answer = self.txn(asks).await.map_err(|failure| failure.told())?;
        for ((hold, key), answer) in asked.iter().zip(&answer.responses) {
            let own = answer.range.as_ref().and_then(|range| range.kvs.first());
            if own.is_none_or(|own| number(own.create_revision) != hold.token.get()) {
                self.claims().end(hold.session, &hold.election, key);
                lapsed.push(hold.election.clone());
            }
        }
        Ok(lapsed)
    }

    /// Whoever has changed the key since it was read keeps this from changing it.
    async fn take(&self, slot: &Slot) -> Result<Slot, StoreError> {
        let key = self.keys.slot(&slot.election);
        for _ in 0..ATTEMPTS {
            let ask = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            let answer = self.txn(vec![Ask::Range(ask)]).await.map_err(|failure| failure.told())?;
            let range = answer.responses.first().and_then(|answer| answer.range.as_ref());
            let there = range.ok_or_else(strange)?.kvs.first();
            let before = there.map(|kv| {
                let text = core::str::from_utf8(&kv.value).ok();
                text.and_then(|text| Slot::from_text(&slot.election, text)).ok_or_else(strange)
            });
            let before = before.transpose()?;
            let taken = slot.clone().after(before.clone());
            if before.as_ref() == Some(&taken) {
                return Ok(taken);
            }
            let mod_revision = there.map_or(0, |kv| kv.mod_revision);
            let compare = vec![Compare { target: MODIFIED, key: key.clone(), mod_revision }];
            let put =
                PutRequest { key: key.clone(), value: taken.to_text().into_bytes(), lease: 0 };
            let success = vec![RequestOp::from(Ask::Put(put))];
            let ask = TxnRequest { compare, success };
            let done: Result<TxnResponse, _> = self.client.call(path::TXN, ask).await;
            if done.map_err(|failure| failure.told())?.succeeded {
                return Ok(taken);
            }
        }
        let why = format!("somebody else keeps changing the slots of {}", slot.election);
        Err(StoreError::Refused { why })
    }

    async fn look(self: &Arc<Self>, all: &[ElectionName]) -> Result<Vec<Holding>, StoreError> {
        let mut holdings = Vec::new();
        for elections in all.chunks(BATCH) {
            let asks = elections.iter().map(|election| self.ask_first(election)).collect();
            let answer = self.txn(asks).await.map_err(|failure| failure.told())?;
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            for (election, answer) in elections.iter().zip(&answer.responses) {
                let range = answer.range.as_ref().ok_or_else(strange)?;
                let first = First { kv: range.kvs.first(), count: range.count, revision };
                holdings.push(self.holding(election, &first));
            }
        }
        if holdings.len() == all.len() { Ok(holdings) } else { Err(strange()) }
    }
}

fn ask_own(key: &[u8]) -> Ask {
    Ask::Range(RangeRequest { key: key.to_vec(), keys_only: true, ..RangeRequest::default() })
}

fn strange() -> StoreError {
    let why =
        String::from("its answer has not the form that was asked for; is it etcd 3.4 or later?");
    StoreError::Refused { why }
}

impl Etcd {
    pub(crate) fn new(
        shared: Arc<Shared>,
        capabilities: Capabilities,
        watch: JoinHandle<()>,
    ) -> Self {
        Self { shared, capabilities, check_from: AtomicUsize::new(0), watch }
    }

    /// The holds whose keys this renewal looks at: all of them, or each in its turn. The watch
    /// tells of every key that is deleted; this finds it also when the watch is broken.
    fn to_check(&self, holds: &[Hold]) -> Vec<Hold> {
        let count = holds.len().min(CHECKED);
        let from = self.check_from.fetch_add(count, Ordering::Relaxed);
        let turn = holds.iter().cycle().skip(from % holds.len().max(1));
        turn.take(count).cloned().collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Backend for Etcd {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, session: SessionId, ttl: Ttl) -> Answer<'_, ()> {
        Box::pin(self.shared.open(session, ttl))
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        Box::pin(self.shared.close(session))
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        Box::pin(async move { self.shared.acquire(&bid).await })
    }

    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()> {
        Box::pin(async move { self.shared.withdraw(session, &election).await })
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        let checked = self.to_check(&holds);
        Box::pin(async move {
            let (kept, lapsed) =
                tokio::join!(self.shared.keep_alive(session), self.shared.lapsed(&checked));
            match kept {
                Ok(true) => lapsed,
                Ok(false) => Err(StoreError::NoSession { session }),
                Err(failure) => Err(failure.told()),
            }
        })
    }

    fn release(&self, hold: Hold, _successor: Option<CandidateId>) -> Answer<'_, bool> {
        Box::pin(async move { self.shared.release(&hold).await })
    }

    fn bury(&self, hold: Hold) -> Answer<'_, ()> {
        Box::pin(self.shared.close(hold.session))
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        Box::pin(async move { self.shared.look(&elections).await })
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        Box::pin(async move { self.shared.take(&slot).await })
    }

    fn follow(&self, election: ElectionName) {
        self.shared.sights().follow(election);
    }

    fn unfollow(&self, election: &ElectionName) {
        self.shared.sights().unfollow(election);
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(poll_fn(|cx| self.shared.hints().poll(cx)))
    }
}
