//! Watchers of ZooKeeper: a session each, with a watch on the data of one node that is set again
//! each time, as ZooKeeper's watches are.

use std::{io, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};
use zookeeper_client::{Acls, Client, CreateMode};

use super::{Heard, news, number};

const NODE: &str = "/leader";

/// What changes the leader.
pub(super) struct Changer(Client);

pub(super) async fn start(
    hosts: &str,
    count: usize,
    heard: &Arc<Heard>,
    watchers: &mut JoinSet<io::Result<()>>,
) -> io::Result<Changer> {
    let client = connect(hosts).await?;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(NODE, news(0).as_bytes(), &options).await.map_err(io::Error::other)?;
    let all: Vec<_> = hosts.split(',').map(str::to_owned).collect();
    let (ready, mut watching) = mpsc::unbounded_channel();
    for (_, host) in (0..count).zip(all.iter().cycle()) {
        watchers.spawn(watch(host.clone(), heard.clone(), ready.clone()));
    }
    for _ in 0..count {
        let gone = || io::Error::other("a watcher of ZooKeeper has ended");
        watching.recv().await.ok_or_else(gone)?;
    }
    Ok(Changer(client))
}

async fn connect(hosts: &str) -> io::Result<Client> {
    Client::connect(hosts).await.map_err(io::Error::other)
}

async fn watch(
    host: String,
    heard: Arc<Heard>,
    ready: mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    let client = connect(&host).await?;
    // The server that this session is with may not have the node yet.
    client.sync("/").await.map_err(io::Error::other)?;
    let mut last = 0;
    loop {
        let got = client.get_and_watch_data(NODE).await.map_err(io::Error::other)?;
        let (data, _, watcher) = got;
        if let Some(number) = number(&data) {
            heard.note(number, &mut last);
        }
        let _ = ready.send(());
        let _ = watcher.changed().await;
    }
}

impl Changer {
    pub(super) async fn change(&mut self, number: u64) -> io::Result<u64> {
        let set = self.0.set_data(NODE, news(number).as_bytes(), None);
        set.await.map_err(io::Error::other)?;
        Ok(number)
    }
}
