//! Changes that Redis tells about: one channel for each election that is followed.
//!
//! Hints only save time. The end of a lease is never told (`expired` events of Redis came up to
//! 51 s late in our measurements): whoever waits has a timer of its own.

use std::{collections::BTreeSet, sync::Arc};

use core::time::Duration;
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tenure_core::{ElectionName, backend::Change};
use tokio::{
    sync::{
        Mutex, broadcast,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    task::JoinSet,
};

use crate::{
    dial::Live,
    keys::Keys,
    link::{Link, State},
    trouble::Trouble,
};

/// Hints that may be left unread before everything counts as changed.
const UNREAD: usize = 256;
/// Channels that are named in one command.
const BATCH: usize = 500;

#[derive(Debug)]
enum Wish {
    Follow(ElectionName),
    Unfollow(ElectionName),
}

#[derive(Debug)]
pub(crate) struct Hints {
    wishes: UnboundedSender<Wish>,
    changes: Mutex<broadcast::Receiver<Change>>,
    _task: JoinSet<()>,
}

impl Hints {
    pub(crate) fn new(link: Arc<Link>, keys: Keys) -> Self {
        let (wishes, wished) = unbounded_channel();
        let (tell, changes) = broadcast::channel(UNREAD);
        let mut task = JoinSet::new();
        let state = link.state();
        let listener = Listener { link, keys, wished, tell, followed: BTreeSet::new() };
        task.spawn(listener.run(state));
        Self { wishes, changes: Mutex::new(changes), _task: task }
    }

    pub(crate) fn follow(&self, election: ElectionName) {
        // The task lives as long as this does.
        let _ = self.wishes.send(Wish::Follow(election));
    }

    pub(crate) fn unfollow(&self, election: ElectionName) {
        let _ = self.wishes.send(Wish::Unfollow(election));
    }

    /// The next hint. Cancel safe.
    pub(crate) async fn next(&self) -> Change {
        match self.changes.lock().await.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Everything,
            // The runtime ends.
            Err(broadcast::error::RecvError::Closed) => core::future::pending().await,
        }
    }
}

struct Listener {
    link: Arc<Link>,
    keys: Keys,
    wished: UnboundedReceiver<Wish>,
    tell: broadcast::Sender<Change>,
    followed: BTreeSet<ElectionName>,
}

impl Listener {
    async fn run(mut self, mut state: watch::Receiver<State>) {
        loop {
            let live = match &*state.borrow_and_update() {
                State::Live(live) => Some(Arc::clone(live)),
                State::Away(_) => None,
            };
            let listening = match &live {
                Some(live) => self.listen(live).await,
                None => None,
            };
            let Some((sink, stream)) = listening else {
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { return },
                    wish = self.wished.recv() => match wish {
                        Some(wish) => _ = self.note(wish),
                        None => return,
                    },
                }
                continue;
            };
            // Between the last connection and this one anything may have happened.
            self.say(Change::Everything);
            let live = live.as_deref();
            let patience = self.link.patience();
            tokio::select! {
                () = self.pass_on(sink, stream, patience) => {}
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            if let Some(live) = live {
                self.link.doubt(live, Trouble::silent(format!("{} hung up", live.address)));
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// Subscribes to everything that is followed; ready when Redis has said so.
    async fn listen(&self, live: &Live) -> Option<(PubSubSink, PubSubStream)> {
        let channels: Vec<_> = self.followed.iter().map(|name| self.keys.channel(name)).collect();
        let subscribed = tokio::time::timeout(self.link.patience(), async {
            let (mut sink, stream) = live.client.get_async_pubsub().await?.split();
            for channels in channels.chunks(BATCH) {
                sink.subscribe(channels).await?;
            }
            Ok((sink, stream))
        });
        match subscribed.await {
            Ok(Ok(listening)) => Some(listening),
            Ok(Err(error)) => {
                // Without hints everything is found by polling, only later.
                let why = self.link.failed(live, &error);
                tracing::warn!(%why, "Redis tells of no changes");
                None
            }
            Err(_) => {
                self.link.doubt(live, Trouble::silent("no answer to a subscription"));
                None
            }
        }
    }

    /// Passes hints on until the connection breaks.
    async fn pass_on(
        &mut self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        patience: Duration,
    ) {
        // A connection that is only half open says nothing for ever.
        let mut pulse = tokio::time::interval(patience);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return };
                    let election = self.keys.election(message.get_channel_name());
                    if let Some(election) = election {
                        self.say(Change::Elections(vec![election]));
                    }
                }
                wish = self.wished.recv() => {
                    let Some(wish) = wish else { return };
                    let Some((channel, follow)) = self.note(wish) else { continue };
                    let done = match follow {
                        true => tokio::time::timeout(patience, sink.subscribe(channel)).await,
                        false => tokio::time::timeout(patience, sink.unsubscribe(channel)).await,
                    };
                    if !matches!(done, Ok(Ok(()))) {
                        return;
                    }
                }
                _ = pulse.tick() => {
                    let pong = tokio::time::timeout(patience, sink.ping::<redis::Value>()).await;
                    if !matches!(pong, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }

    /// Remembers it; gives the channel when something is to be done about it.
    fn note(&mut self, wish: Wish) -> Option<(String, bool)> {
        let (election, follow) = match wish {
            Wish::Follow(election) => (election, true),
            Wish::Unfollow(election) => (election, false),
        };
        let channel = self.keys.channel(&election);
        let news = match follow {
            true => self.followed.insert(election),
            false => self.followed.remove(&election),
        };
        news.then_some((channel, follow))
    }

    fn say(&self, change: Change) {
        // Whoever reads this may be gone.
        let _ = self.tell.send(change);
    }
}
