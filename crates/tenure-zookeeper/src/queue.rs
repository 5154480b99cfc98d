//! Who is first, and whose departure each of the others waits for.
//!
//! **No herd.** A candidate watches only the node before its own. Who only observes watches the
//! leader's node, or the list of candidates while there is none.

use tenure_core::{
    ElectionName, Revision, SessionId, Token, WallTime,
    backend::{Bid, Holding, Record, StoreError},
};
use zookeeper_client::{Client, CreateMode, Error, Stat};

use crate::{
    claims::{Node, Own},
    ensemble::persist,
    nodes::queue,
    store::{ZooKeeper, number},
};

/// How often a queue that changes while it is read is read again.
const ATTEMPTS: usize = 16;

fn wall(millis: i64) -> WallTime {
    WallTime::from_micros(number(millis).saturating_mul(1000))
}

impl ZooKeeper {
    /// [`tenure_core::backend::Backend::acquire`].
    pub(crate) async fn contend(&self, bid: &Bid) -> Result<Holding, StoreError> {
        let client = self.ensemble.client(bid.session)?;
        persist!(self.ensemble, Some(bid.session), async {
            for _ in 0..ATTEMPTS {
                let own = self.join(&client, bid).await?;
                if let Some(holding) = self.stand(&client, bid, &own).await? {
                    return Ok(holding);
                }
            }
            // The caller comes again, and so does whoever changes the queue.
            Err(Error::ConnectionLoss)
        })
    }

    /// The own node: the one that is there, or a new one.
    async fn join(&self, client: &Client, bid: &Bid) -> Result<Own, Error> {
        let claim = self.claims().of(bid);
        let own = match claim.node {
            Node::There(own) => Some(own),
            Node::Unsure => self.find(client, bid).await?,
            Node::None => None,
        };
        let own = match own {
            Some(own) => own,
            None => self.create(client, bid).await?,
        };
        self.claims().set(bid.session, &bid.election, Node::There(own.clone()));
        if !claim.record.is_of(bid) {
            let path = format!("{}/{}", self.paths.election(&bid.election), own.name);
            client.set_data(&path, &json(bid), None).await?;
            self.claims().says(bid);
        }
        Ok(own)
    }

    /// The node of an attempt whose answer was lost; it counts only if it is this session's.
    async fn find(&self, client: &Client, bid: &Bid) -> Result<Option<Own>, Error> {
        let parent = self.paths.election(&bid.election);
        for name in queue(self.own_nodes(client, bid.session, &bid.election).await?) {
            let path = format!("{parent}/{name}");
            if let Some(stat) = client.check_stat(&path).await?
                && stat.ephemeral_owner == client.session_id().0
            {
                return Ok(Some(own(name, &stat)));
            }
        }
        Ok(None)
    }

    async fn create(&self, client: &Client, bid: &Bid) -> Result<Own, Error> {
        let prefix = self.paths.candidacy(&bid.election, bid.session);
        let options = self.ensemble.options(CreateMode::EphemeralSequential);
        // Whatever happens from here on, there may be a node.
        self.claims().set(bid.session, &bid.election, Node::Unsure);
        loop {
            match client.create(&prefix, &json(bid), &options).await {
                Ok((stat, sequence)) => {
                    let tag = prefix.rsplit('/').next().unwrap_or_default();
                    self.claims().says(bid);
                    return Ok(own(format!("{tag}{sequence}"), &stat));
                }
                // ZooKeeper removes a container that has been empty for a while.
                Err(Error::NoNode) => {
                    let parent = self.paths.election(&bid.election);
                    let container = self.ensemble.options(CreateMode::Container);
                    match client.create(&parent, &[], &container).await {
                        Ok(_) | Err(Error::NodeExists) => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the own node stands in the queue. None when that changed meanwhile.
    ///
    /// The list is read after the own node was created, by the same session: nobody who came
    /// before can be missing from it, however far behind the server is. So whoever is first in
    /// it is first, and stays so until its own node is deleted.
    async fn stand(&self, client: &Client, bid: &Bid, own: &Own) -> Result<Option<Holding>, Error> {
        let (election, parent) = (&bid.election, self.paths.election(&bid.election));
        let names = match client.list_children(&parent).await {
            Ok(children) => queue(children),
            Err(Error::NoNode) => Vec::new(),
            Err(error) => return Err(error),
        };
        let Some(place) = names.iter().position(|name| *name == own.name) else {
            // Somebody has deleted it.
            self.claims().set(bid.session, election, Node::None);
            return Ok(None);
        };
        if place == 0 {
            let leader =
                Record::of(bid, None).leader(Token::new(number(own.czxid)), wall(own.ctime));
            return Ok(Some(self.led(election, bid.session, leader, 1)));
        }
        let before = format!("{parent}/{}", names[place - 1]);
        if !self.watches().has(election, &before) {
            let (stat, watcher) = client.check_and_watch_stat(&before).await?;
            if stat.is_none() {
                return Ok(None);
            }
            self.watches().set(election, before, watcher, &self.ensemble.hints);
        }
        let first = format!("{parent}/{}", names[0]);
        match client.get_data(&first).await {
            Ok((data, stat)) => {
                let position = u32::try_from(place).unwrap_or(u32::MAX);
                Ok(Some(self.first(election, &first, &data, &stat, position)))
            }
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`tenure_core::backend::Backend::look`].
    pub(crate) async fn survey(
        &self,
        elections: &[ElectionName],
    ) -> Result<Vec<Holding>, StoreError> {
        let client = self.ensemble.reader().await?;
        persist!(self.ensemble, None, async {
            // The server catches up with the leader first.
            let sync = client.sync(&self.paths.elections());
            let parents: Vec<_> =
                elections.iter().map(|election| self.paths.election(election)).collect();
            // All are asked before the first is answered.
            let asked: Vec<_> = parents.iter().map(|parent| client.get_children(parent)).collect();
            sync.await?;
            let mut holdings = Vec::new();
            for (election, children) in elections.iter().zip(asked) {
                holdings.push(self.read(&client, election, children.await).await?);
            }
            Ok(holdings)
        })
    }

    async fn read(
        &self,
        client: &Client,
        election: &ElectionName,
        children: Result<(Vec<String>, Stat), Error>,
    ) -> Result<Holding, Error> {
        let parent = self.paths.election(election);
        let mut children = children;
        for _ in 0..ATTEMPTS {
            // A candidate watches the node before its own.
            let watches = self.follows(election) && !self.claims().has(election);
            let first = match &children {
                Ok((names, _)) => queue(names.clone()).into_iter().next(),
                Err(_) => None,
            };
            let done = match (&children, first) {
                (_, Some(first)) => {
                    self.read_first(client, election, &format!("{parent}/{first}"), watches).await?
                }
                (Ok((_, stat)), None) => {
                    self.watch_vacant(client, election, &parent, stat, watches).await?
                }
                (Err(Error::NoNode), None) => {
                    self.watch_missing(client, election, &parent, watches).await?
                }
                (Err(error), None) => return Err(error.clone()),
            };
            match done {
                Some(holding) => return Ok(holding),
                None => children = client.get_children(&parent).await,
            }
        }
        Err(Error::ConnectionLoss)
    }

    async fn read_first(
        &self,
        client: &Client,
        election: &ElectionName,
        path: &str,
        watches: bool,
    ) -> Result<Option<Holding>, Error> {
        let read = match watches && !self.watches().has(election, path) {
            true => client.get_and_watch_data(path).await.map(|(data, stat, watcher)| {
                let hints = &self.ensemble.hints;
                self.watches().set(election, path.to_owned(), watcher, hints);
                (data, stat)
            }),
            false => client.get_data(path).await,
        };
        match read {
            Ok((data, stat)) => Ok(Some(self.first(election, path, &data, &stat, 1))),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Nobody contends: whoever comes changes the list.
    async fn watch_vacant(
        &self,
        client: &Client,
        election: &ElectionName,
        parent: &str,
        stat: &Stat,
        watches: bool,
    ) -> Result<Option<Holding>, Error> {
        let list = format!("{parent}/");
        if watches && !self.watches().has(election, &list) {
            match client.get_and_watch_children(parent).await {
                Ok((children, _, watcher)) if queue(children.clone()).is_empty() => {
                    self.watches().set(election, list, watcher, &self.ensemble.hints);
                }
                Ok(_) | Err(Error::NoNode) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(self.vacant(election, stat.pzxid)))
    }

    /// Nobody has contended for a while, or ever.
    async fn watch_missing(
        &self,
        client: &Client,
        election: &ElectionName,
        parent: &str,
        watches: bool,
    ) -> Result<Option<Holding>, Error> {
        if watches && !self.watches().has(election, parent) {
            let (stat, watcher) = client.check_and_watch_stat(parent).await?;
            if stat.is_some() {
                return Ok(None);
            }
            self.watches().set(election, parent.to_owned(), watcher, &self.ensemble.hints);
        }
        Ok(Some(self.vacant(election, 0)))
    }

    /// The last change of the list ended the last tenure.
    fn vacant(&self, election: &ElectionName, zxid: i64) -> Holding {
        let newest = self.watches().newest(election, zxid);
        // Without a list, the newest change that is known has to do: it ended that tenure.
        let zxid = if zxid == 0 { newest } else { zxid };
        let revision = Revision::new(number(zxid));
        Holding { holder: None, revision, position: 1, again: None }
    }

    fn first(
        &self,
        election: &ElectionName,
        path: &str,
        data: &[u8],
        stat: &Stat,
        position: u32,
    ) -> Holding {
        let Ok(record) = serde_json::from_slice::<Record>(data) else {
            tracing::warn!(path, "no candidate wrote this node, and it is first in the queue");
            let revision = Revision::new(number(stat.czxid));
            return Holding { holder: None, revision, position, again: None };
        };
        let session = record.session();
        let leader = record.leader(Token::new(number(stat.czxid)), wall(stat.ctime));
        self.led(election, session, leader, position)
    }

    fn led(
        &self,
        election: &ElectionName,
        session: SessionId,
        leader: tenure_core::Leader,
        position: u32,
    ) -> Holding {
        let token = leader.token.get();
        self.watches().newest(election, i64::try_from(token).unwrap_or(i64::MAX));
        let revision = Revision::new(token);
        Holding { holder: Some((session, leader)), revision, position, again: None }
    }
}

fn own(name: String, stat: &Stat) -> Own {
    Own { name, czxid: stat.czxid, ctime: stat.ctime }
}

fn json(bid: &Bid) -> Vec<u8> {
    // A record of names and numbers is always JSON.
    serde_json::to_vec(&Record::of(bid, None)).unwrap_or_default()
}
