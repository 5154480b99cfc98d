//! Who the primary is, by the word of a majority of the sentinels.
//!
//! A grant or a renewal is believed only if a majority of the sentinels still named the server
//! that gave it *after* it was given; a connection is made only to the server that a majority
//! names. Two majorities share a sentinel, and no sentinel ever goes back to an older
//! configuration. So every renewal that the old primary gave, and that was believed, was given
//! before anybody connected to the new one; and there nobody is granted anything for a whole
//! ttl from then on. That holds whatever became of the old primary: dead, paused, or cut off
//! together with the holder.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use core::time::Duration;
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisError, aio::MultiplexedConnection};

use crate::{
    dial::config,
    location::Address,
    trouble::{Trouble, understood},
};

/// What a sentinel announces a new primary on.
pub(crate) const SWITCH: &str = "+switch-master";

/// One sentinel.
#[derive(Debug)]
struct Node {
    address: Address,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

/// Sentinels by their ids, and where they are.
type Peers = BTreeMap<String, Address>;

#[derive(Debug)]
pub(crate) struct Sentinels {
    configured: Vec<Address>,
    name: String,
    patience: Duration,
    /// All that are known, by their own ids: a majority is one of these.
    known: Mutex<BTreeMap<String, Arc<Node>>>,
}

impl Sentinels {
    pub(crate) fn new(configured: Vec<Address>, name: &str, patience: Duration) -> Self {
        Self { configured, name: name.to_owned(), patience, known: Mutex::default() }
    }

    pub(crate) fn configured(&self) -> &[Address] {
        &self.configured
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Node>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The primary that a majority names.
    pub(crate) async fn primary(&self) -> Result<Address, Trouble> {
        self.discover().await?;
        self.asked(None).await
    }

    /// Whether a majority still names this primary.
    pub(crate) async fn confirm(&self, address: &Address) -> Result<(), Trouble> {
        self.asked(Some(address)).await.map(|_| ())
    }

    /// Learns of all sentinels from those that were named and those known before.
    async fn discover(&self) -> Result<(), Trouble> {
        let mut places = self.configured.clone();
        places.extend(self.known().values().map(|node| node.address.clone()));
        places.sort();
        places.dedup();
        let mut asked: FuturesUnordered<_> =
            places.into_iter().map(|place| self.peers(place)).collect();
        let (mut found, mut own, mut troubles) = (Peers::new(), Peers::new(), Vec::new());
        while let Some(answer) = asked.next().await {
            match answer {
                Ok((id, place, others)) => {
                    own.insert(id, place);
                    found.extend(others);
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        // Where one was reached is better than where others say that it is.
        found.extend(own);
        if found.is_empty() {
            return Err(troubles.pop().unwrap_or_else(|| Trouble::silent("no sentinel answers")));
        }
        let mut known = self.known();
        known.retain(|id, node| found.get(id) == Some(&node.address));
        for (id, address) in found {
            let connection = tokio::sync::Mutex::default();
            known.entry(id).or_insert_with(|| Arc::new(Node { address, connection }));
        }
        Ok(())
    }

    /// Who this one is, and what it says about the others.
    async fn peers(&self, place: Address) -> Result<(String, Address, Peers), Trouble> {
        let asked = async {
            let node = Node { address: place.clone(), connection: tokio::sync::Mutex::default() };
            let mut connection = node.connect(self.patience).await?;
            let id: String =
                redis::cmd("SENTINEL").arg("MYID").query_async(&mut connection).await?;
            let others: Vec<BTreeMap<String, String>> = redis::cmd("SENTINEL")
                .arg("SENTINELS")
                .arg(&self.name)
                .query_async(&mut connection)
                .await?;
            Ok((id, others))
        };
        let asked = tokio::time::timeout(self.patience, asked).await;
        let (id, others) = match asked {
            Err(_) => return Err(Trouble::silent(format!("sentinel {place}: no answer in time"))),
            Ok(Err(error)) => return Err(self.explained(&place, &error)),
            Ok(Ok(answer)) => answer,
        };
        let others = others.into_iter().filter_map(|other| {
            let address =
                Address { host: other.get("ip")?.clone(), port: other.get("port")?.parse().ok()? };
            Some((other.get("runid")?.clone(), address))
        });
        let others = others.collect();
        Ok((id, place, others))
    }

    fn explained(&self, place: &Address, error: &RedisError) -> Trouble {
        let text = error.to_string();
        if text.contains("No such master") {
            return Trouble::unusable(format!(
                "the sentinel at {place} knows no primary of the name {:?}: see `sentinel \
                 monitor` in its configuration",
                self.name
            ));
        }
        if text.contains("unknown command") {
            return Trouble::unusable(format!(
                "{place} is no Sentinel. Name the sentinels (usually port 26379), or use \
                 redis://{place} for a Redis without them"
            ));
        }
        let (trouble, _) = understood(error);
        Trouble { why: format!("sentinel {place}: {}", trouble.why), ..trouble }
    }

    /// Asks all until a majority has said the same.
    async fn asked(&self, wanted: Option<&Address>) -> Result<Address, Trouble> {
        let nodes: Vec<_> = self.known().values().cloned().collect();
        let mut count = Count::of(nodes.len());
        let mut asked: FuturesUnordered<_> =
            nodes.iter().map(|node| node.primary(&self.name, self.patience)).collect();
        while let Some(answer) = asked.next().await {
            let Some(address) = count.add(answer) else { continue };
            return match wanted {
                Some(wanted) if *wanted != address => Err(Trouble::silent(format!(
                    "the sentinels have named {address} as the new primary"
                ))),
                _ => Ok(address),
            };
        }
        Err(Trouble::silent(count.why()))
    }
}

impl Node {
    async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, RedisError> {
        let address = ConnectionAddr::Tcp(self.address.host.clone(), self.address.port);
        let client = Client::open(address.into_connection_info()?)?;
        client.get_multiplexed_async_connection_with_config(&config(patience)).await
    }

    /// The connection of before, or a new one. It is shared, not lent: whoever asks is dropped
    /// as soon as the others have made a majority.
    async fn connected(&self, patience: Duration) -> Result<MultiplexedConnection, RedisError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let connection = self.connect(patience).await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    /// Whom this sentinel names.
    async fn primary(&self, name: &str, patience: Duration) -> Option<Address> {
        // The connection has the same limit for its answer; this one covers making it too.
        let asked = tokio::time::timeout(patience * 2, async {
            let mut connection = self.connected(patience).await?;
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            let named = ask.query_async::<Option<(String, u16)>>(&mut connection).await;
            if named.is_err() {
                *self.connection.lock().await = None;
            }
            named
        });
        let (host, port) = asked.await.ok()?.ok()??;
        Some(Address { host, port })
    }
}

/// Counts who is named, until one has a majority.
#[derive(Debug)]
struct Count {
    all: usize,
    silent: usize,
    named: BTreeMap<Address, usize>,
}

impl Count {
    fn of(all: usize) -> Self {
        Self { all, silent: 0, named: BTreeMap::new() }
    }

    /// The winner, when this answer has made one.
    fn add(&mut self, answer: Option<Address>) -> Option<Address> {
        let Some(address) = answer else {
            self.silent += 1;
            return None;
        };
        let votes = self.named.entry(address.clone()).or_default();
        *votes += 1;
        (*votes > self.all / 2).then_some(address)
    }

    fn why(&self) -> String {
        let named = self.named.iter().map(|(address, votes)| format!("{votes} name {address}"));
        let named: Vec<_> = named.chain([format!("{} are silent", self.silent)]).collect();
        format!(
            "no majority of the {} sentinels names one primary ({}). It is asked again",
            self.all,
            named.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Option<Address> {
        Some(Address { host: String::from("h"), port })
    }

    #[test]
    fn only_a_majority_of_all_decides() {
        let mut count = Count::of(3);
        assert_eq!(count.add(at(1)), None);
        assert_eq!(count.add(None), None);
        assert_eq!(count.add(at(1)), at(1));
        let mut split = Count::of(4);
        for answer in [at(1), at(1), at(2), at(2)] {
            assert_eq!(split.add(answer), None, "two of four are no majority");
        }
        assert!(split.why().contains("2 name h:1, 2 name h:2, 0 are silent"), "{}", split.why());
        assert_eq!(Count::of(1).add(at(1)), at(1));
    }
}
