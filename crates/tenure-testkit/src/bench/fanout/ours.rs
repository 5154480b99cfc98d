//! Watchers of a quorum of ours, each a client of its own, and two candidates that take turns.

use std::{io, sync::Arc, time::Duration};

use tenure::{Campaign, ElectionName, Elector, Leadership};
use tenure_quorum::client::{Client, ClientOptions, Endpoint, Watched, parse_url};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Heard, LENGTH};

const ELECTION: &str = "leader";

/// A candidate that leads, and one that waits.
pub(super) struct Changer {
    electors: [Elector; 2],
    leading: usize,
    leadership: Option<Leadership>,
    campaigns: [Option<Campaign>; 2],
}

pub(super) async fn start(
    url: &str,
    count: usize,
    heard: &Arc<Heard>,
    watchers: &mut JoinSet<io::Result<()>>,
) -> io::Result<Changer> {
    let endpoints = parse_url(url).map_err(io::Error::other)?;
    let (ready, mut watching) = mpsc::unbounded_channel();
    for (_, endpoint) in (0..count).zip(endpoints.iter().cycle()) {
        watchers.spawn(watch(endpoint.clone(), heard.clone(), ready.clone()));
    }
    for _ in 0..count {
        let gone = || io::Error::other("a watcher of ours has ended");
        watching.recv().await.ok_or_else(gone)?;
    }
    let elector = || async {
        let elector = Elector::builder().ttl(Duration::from_secs(10)).connect(url).await;
        elector.map_err(io::Error::other)
    };
    let electors = [elector().await?, elector().await?];
    let mut first = contend(&electors, 0)?;
    let leadership = first.elected().await.map_err(io::Error::other)?;
    let second = contend(&electors, 1)?;
    let campaigns = [Some(first), Some(second)];
    Ok(Changer { electors, leading: 0, leadership: Some(leadership), campaigns })
}

async fn watch(
    endpoint: Endpoint,
    heard: Arc<Heard>,
    ready: mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    // Watchers of the peers are on TCP, too, and prove nothing to anybody.
    let options = ClientOptions { local_proof: false, ..ClientOptions::default() };
    let client = Client::connect(vec![endpoint], options).await.map_err(io::Error::other)?;
    let election = ElectionName::new(ELECTION).map_err(io::Error::other)?;
    let mut watch = client.watch(vec![election], None).await.map_err(io::Error::other)?;
    let mut last = 0;
    while let Some(news) = watch.next().await {
        let Watched::Push(push) = news else { continue };
        let _ = ready.send(());
        if let Some(leader) = push.sighting.view.leader() {
            heard.note(leader.token.get(), &mut last);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn contend(electors: &[Elector; 2], which: usize) -> io::Result<Campaign> {
    let value = format!("{which:0>LENGTH$}");
    let candidate = electors[which].campaign(ELECTION, &format!("c{which}")).value(value);
    candidate.start().map_err(io::Error::other)
}

impl Changer {
    /// Under which the present leader leads.
    pub(super) fn token(&self) -> u64 {
        self.leadership.as_ref().map_or(0, |leadership| leadership.token().get())
    }

    /// The leader resigns, and the one who waits leads; gives its token.
    pub(super) async fn change(&mut self) -> io::Result<u64> {
        let (old, new) = (self.leading, 1 - self.leading);
        if let Some(leadership) = self.leadership.take() {
            leadership.resign();
        }
        let next = self.campaigns[new].as_mut().ok_or_else(|| io::Error::other("nobody waits"))?;
        let leadership = next.elected().await.map_err(io::Error::other)?;
        let token = leadership.token().get();
        (self.leading, self.leadership) = (new, Some(leadership));
        // Whoever resigned stands in the queue again, behind the one who leads.
        if let Some(mut left) = self.campaigns[old].take() {
            let _ = left.elected().await;
        }
        self.campaigns[old] = Some(contend(&self.electors, old)?);
        Ok(token)
    }
}
