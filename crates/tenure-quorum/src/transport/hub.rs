//! What all connections of a node share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, Semaphore, mpsc::UnboundedSender};

use super::{
    conn::Conn,
    event::TransportEvent,
    gate::{Identity, Room},
    refusals::{Reason, Refusals},
};

/// Bounds and deadlines of the transport.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A node that was silent for this long while it should have spoken is taken for gone: the
    /// deadline of a connection attempt, half of `TCP_USER_TIMEOUT`, and half of the silence
    /// after which a node's connection is closed. At least ten heartbeats. Default 2 s.
    pub limit: Duration,
    /// Whether processes of one machine hold each other's pidfd, over unix sockets. Default
    /// true.
    pub local_proof: bool,
    /// Most clients at once. Default 20 000, and at most half of the open files allowed.
    pub max_clients: u32,
    /// Most connections at once that have not said who they are; one more closes the oldest.
    /// Default 256, and at most an eighth of the open files allowed.
    pub max_strangers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX));
        let files = u32::try_from(files).unwrap_or(u32::MAX);
        Self {
            limit: Duration::from_secs(2),
            local_proof: true,
            max_clients: (files / 2).clamp(1, 20_000),
            max_strangers: (files / 8).clamp(1, 256) as usize,
        }
    }
}

impl Settings {
    /// Silence after which a connection is given up.
    pub(crate) fn silence(&self) -> Duration {
        self.limit * 2
    }
}

/// Most processes whose pidfd is watched after their connection ended.
const LINGERING: usize = 512;

/// What all connections of a node share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) identity: Identity,
    /// The unix socket, when there is one.
    pub(crate) socket: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) refusals: Refusals,
    /// Whether nodes may come, or only clients.
    pub(crate) takes_nodes: AtomicBool,
    pub(crate) room: Mutex<Room>,
    /// Wakes the diallers when a node has come that was not here.
    pub(crate) arrivals: Notify,
    /// Places for pidfds whose connection ended.
    pub(crate) lingering: Semaphore,
    events: UnboundedSender<TransportEvent>,
    keys: AtomicU64,
    strangers: Mutex<BTreeMap<u64, Arc<Conn>>>,
}

impl Hub {
    pub(crate) fn new(
        identity: Identity,
        socket: Option<String>,
        settings: Settings,
        events: UnboundedSender<TransportEvent>,
    ) -> Self {
        Self {
            identity,
            socket,
            settings,
            refusals: Refusals::default(),
            takes_nodes: AtomicBool::new(true),
            room: Mutex::default(),
            arrivals: Notify::new(),
            lingering: Semaphore::new(LINGERING),
            events,
            keys: AtomicU64::new(1),
            strangers: Mutex::default(),
        }
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the driver. False when it has gone; then so will this task: see [`Hub::closed`].
    pub(crate) fn tell(&self, event: TransportEvent) -> bool {
        self.events.send(event).is_ok()
    }

    /// Waits until the driver has gone. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.events.closed().await;
    }

    /// Notes a connection that has not said who it is. When there are too many, the oldest is
    /// closed: an honest one needs its place for a moment only.
    pub(crate) fn let_wait(self: &Arc<Self>, conn: &Arc<Conn>) -> Stranger {
        let key = self.next_key();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.insert(key, conn.clone());
        if strangers.len() > self.settings.max_strangers
            && let Some((_, oldest)) = strangers.pop_first()
        {
            let who = oldest.other_end();
            oldest.close();
            self.refusals.note(Reason::Crowded, &who, &"too many silent connections");
        }
        drop(strangers);
        Stranger { hub: self.clone(), key }
    }
}

/// A connection that has not said who it is, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Stranger {
    hub: Arc<Hub>,
    key: u64,
}

impl Stranger {
    /// Ends the wait. False when the connection was closed to make room.
    pub(crate) fn leave(self) -> bool {
        self.remove()
    }

    fn remove(&self) -> bool {
        let mut strangers = self.hub.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.remove(&self.key).is_some()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.remove();
    }
}
