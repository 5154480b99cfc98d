//! The port, on ZooKeeper.

use core::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};

use tenure_core::{
    CandidateId, ElectionName, SessionId,
    backend::{Answer, Backend, Bid, Capabilities, Change, Hold, Holding, Slot, StoreError},
    timing::Ttl,
};
use tokio::time::sleep;
use zookeeper_client::{Client, CreateMode, Error};

use crate::{
    claims::{Claims, Node},
    ensemble::{Ensemble, lock, persist, told},
    nodes::{Paths, is_of},
    watches::Watches,
};

/// Holds whose nodes are looked at with each renewal.
const CHECKED: usize = 64;

/// Elections on ZooKeeper.
#[derive(Debug)]
pub(crate) struct ZooKeeper {
    pub(crate) ensemble: Ensemble,
    pub(crate) paths: Paths,
    claims: Mutex<Claims>,
    watches: Mutex<Watches>,
    followed: Mutex<BTreeSet<ElectionName>>,
    capabilities: Capabilities,
    /// Where the next renewal begins to look at nodes.
    check_from: AtomicUsize,
}

/// Changes are never numbered below zero.
pub(crate) fn number(zxid: i64) -> u64 {
    u64::try_from(zxid).unwrap_or(0)
}

/// A node that is gone is as good as deleted.
pub(crate) fn or_gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NoNode) => Ok(()),
        result => result,
    }
}

impl ZooKeeper {
    pub(crate) fn new(ensemble: Ensemble, paths: Paths, capabilities: Capabilities) -> Self {
        Self {
            ensemble,
            paths,
            claims: Mutex::default(),
            watches: Mutex::default(),
            followed: Mutex::default(),
            capabilities,
            check_from: AtomicUsize::new(0),
        }
    }

    pub(crate) fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }

    pub(crate) fn watches(&self) -> MutexGuard<'_, Watches> {
        lock(&self.watches)
    }

    pub(crate) fn follows(&self, election: &ElectionName) -> bool {
        lock(&self.followed).contains(election)
    }

    async fn open_session(&self, session: SessionId, ttl: Ttl) -> Result<(), StoreError> {
        let client = self.ensemble.open(session, ttl.get()).await?;
        let (path, options) =
            (self.paths.session(session), self.ensemble.options(CreateMode::Ephemeral));
        persist!(self.ensemble, Some(session), async {
            match client.create(&path, &[], &options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.claims().closes(session);
        self.ensemble.close(session).await
    }

    /// Renews in the way that holds whatever happens to the servers.
    ///
    /// A read reaches the server that this process is connected to. If that is a follower, it
    /// tells the leader, whose clock counts, with its next report. After that, a write goes the
    /// same way, in order, and is confirmed by a quorum: then the report has arrived, and
    /// whoever leads the ensemble later begins to count after the read. An answer to a ping
    /// proves neither: a follower that is cut off from its leader answers pings for many ticks.
    async fn confirm(&self, session: SessionId, client: &Client) -> Result<(), StoreError> {
        let path = self.paths.session(session);
        let gone = || StoreError::NoSession { session };
        persist!(self.ensemble, Some(session), async {
            if !self.ensemble.report.is_zero() {
                client.check_stat(&path).await?;
                sleep(self.ensemble.report).await;
            }
            match client.set_data(&path, &[], None).await {
                Ok(_) => Ok(true),
                Err(Error::NoNode) => Ok(false),
                Err(error) => Err(error),
            }
        })?
        .then_some(())
        .ok_or_else(gone)
    }

    /// The holds that this renewal looks at: all of them, or each in its turn.
    fn to_check(&self, holds: &[Hold]) -> Vec<Hold> {
        let count = holds.len().min(CHECKED);
        let from = self.check_from.fetch_add(count, Ordering::Relaxed);
        let turn = holds.iter().cycle().skip(from % holds.len().max(1));
        turn.take(count).cloned().collect()
    }

    /// The path of a tenure that this session won.
    fn path_of(&self, hold: &Hold) -> Option<String> {
        let claims = self.claims();
        match &claims.get(hold.session, &hold.election)?.node {
            Node::There(own) if number(own.czxid) == hold.token.get() => {
                Some(format!("{}/{}", self.paths.election(&hold.election), own.name))
            }
            _ => None,
        }
    }

    /// Those whose nodes are gone, or somebody else's.
    async fn lapsed(
        &self,
        client: &Client,
        holds: &[Hold],
    ) -> Result<Vec<ElectionName>, StoreError> {
        let (mut lapsed, owner) = (Vec::new(), client.session_id().0);
        // All are asked before the first is answered.
        let mut asked = Vec::new();
        for hold in holds {
            match self.path_of(hold) {
                Some(path) => asked.push((hold, client.check_stat(&path))),
                None => lapsed.push(hold.election.clone()),
            }
        }
        for (hold, stat) in asked {
            let stat = stat
                .await
                .map_err(|error| self.ensemble.given_up(told(&error, Some(hold.session))))?;
            let kept = stat.is_some_and(|stat| {
                stat.ephemeral_owner == owner && number(stat.czxid) == hold.token.get()
            });
            if !kept {
                self.claims().end(hold.session, &hold.election);
                lapsed.push(hold.election.clone());
            }
        }
        Ok(lapsed)
    }

    async fn renew_session(
        &self,
        session: SessionId,
        holds: &[Hold],
    ) -> Result<Vec<ElectionName>, StoreError> {
        let client = self.ensemble.renewed(session)?;
        self.confirm(session, &client).await?;
        // Read by whoever has confirmed a later write: what was deleted before is not there.
        self.lapsed(&client, holds).await
    }

    async fn leave(&self, session: SessionId, election: &ElectionName) -> Result<(), StoreError> {
        let node = self.claims().get(session, election).map(|claim| claim.node.clone());
        let Some(node) = node else { return Ok(()) };
        let client = self.ensemble.client(session)?;
        let parent = self.paths.election(election);
        persist!(self.ensemble, Some(session), async {
            let names = match &node {
                Node::None => Vec::new(),
                Node::There(own) => vec![own.name.clone()],
                Node::Unsure => self.own_nodes(&client, session, election).await?,
            };
            for name in names {
                or_gone(client.delete(&format!("{parent}/{name}"), None).await)?;
            }
            Ok(())
        })?;
        self.claims().end(session, election);
        Ok(())
    }

    /// Deletes the node of somebody else's tenure. Its number is in its path, so a later
    /// candidacy is another node.
    async fn remove(&self, hold: &Hold) -> Result<(), StoreError> {
        let client = self.ensemble.reader().await?;
        let parent = self.paths.election(&hold.election);
        persist!(self.ensemble, None, async {
            for name in self.own_nodes(&client, hold.session, &hold.election).await? {
                let path = format!("{parent}/{name}");
                let stat = client.check_stat(&path).await?;
                if stat.is_some_and(|stat| number(stat.czxid) == hold.token.get()) {
                    or_gone(client.delete(&path, None).await)?;
                }
            }
            Ok(())
        })
    }

    /// What an earlier attempt has created. Read after everything that this session has asked
    /// for before: the leader answers `sync` in order.
    pub(crate) async fn own_nodes(
        &self,
        client: &Client,
        session: SessionId,
        election: &ElectionName,
    ) -> Result<Vec<String>, Error> {
        let parent = self.paths.election(election);
        let sync = client.sync(&parent);
        let children = client.list_children(&parent);
        sync.await?;
        match children.await {
            Ok(children) => {
                Ok(children.into_iter().filter(|child| is_of(child, session)).collect())
            }
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Backend for ZooKeeper {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, session: SessionId, ttl: Ttl) -> Answer<'_, ()> {
        Box::pin(self.open_session(session, ttl))
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        Box::pin(self.close_session(session))
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        Box::pin(async move { self.contend(&bid).await })
    }

    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()> {
        Box::pin(async move { self.leave(session, &election).await })
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        let checked = self.to_check(&holds);
        Box::pin(async move { self.renew_session(session, &checked).await })
    }

    fn release(&self, hold: Hold, _successor: Option<CandidateId>) -> Answer<'_, bool> {
        Box::pin(async move {
            let held = self.path_of(&hold).is_some();
            if held {
                self.leave(hold.session, &hold.election).await?;
            }
            Ok(held)
        })
    }

    fn bury(&self, hold: Hold) -> Answer<'_, ()> {
        Box::pin(async move { self.remove(&hold).await })
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        Box::pin(async move { self.survey(&elections).await })
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        Box::pin(self.take_slot(slot))
    }

    fn follow(&self, election: ElectionName) {
        lock(&self.followed).insert(election);
    }

    fn unfollow(&self, election: &ElectionName) {
        lock(&self.followed).remove(election);
        self.watches().forget(election);
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(poll_fn(|cx| lock(&self.ensemble.hints).poll(cx)))
    }
}
