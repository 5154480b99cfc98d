//! Connections with other nodes and with clients.
//!
//! Each node dials every other one and **sends on the connection that it dialled**; it receives
//! on those that it accepted. A dialled connection is read as well, so that its end is seen at
//! once. Everything that happens becomes a [`TransportEvent`] in one channel; a connection is
//! not read further while the driver holds too many of its frames.
//!
//! Processes of one machine talk over the node's socket file and hold each other's pidfd, taken
//! race-free when the connection was made: the death of one is proved to the others at once
//! ([`TransportEvent::Died`]). The end of a connection alone is a hint, not a proof.
//!
//! A stranger costs a bounded amount of memory until a deadline, then a counter and, now and
//! then, a line in the log ([`Refusals`]).
//!
//! Everything here is made for one thread: no call blocks, no helper thread is started except
//! by the runtime itself to look up host names.
//!
//! **Invariant:** nothing here decides anything about leadership; no deadline of a lease and no
//! vote is known here.

mod accept;
pub(crate) mod backoff;
mod client_conn;
pub(crate) mod conn;
mod dialler;
mod event;
pub mod framing;
mod gate;
pub(crate) mod handshake;
mod host;
mod hub;
mod listener;
mod local;
pub(crate) mod outbox;
mod peer;
mod proof;
mod refusals;
mod sender;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::Ordering},
};

use tenure_core::{Incarnation, NodeId, ledger::Members};
use tenure_replica::PeerFrame;
use tokio::{sync::mpsc::UnboundedSender, task::JoinHandle};

pub use event::{Hold, MemberEnd, TransportEvent};
pub use gate::Identity;
pub use host::{draw_incarnation, random_u64, this_host};
pub use hub::Settings;
pub use listener::{BindError, Listener};
pub use local::{LocalClient, LocalEnds, local_pair};
pub use refusals::{Reason, Refusals};
pub use sender::{Broadcast, ClientSender, Link};

use gate::Roll;
use hub::Hub;
use listener::{LocalListener, SocketFile};
use outbox::Outbox;

/// The connections of one node. Dropping it stops listening and dialling; dropping the
/// receiver of its events ends all connections.
#[derive(Debug)]
pub struct Transport {
    hub: Arc<Hub>,
    listening: Vec<JoinHandle<()>>,
    links: BTreeMap<NodeId, (String, Link)>,
    _file: Option<SocketFile>,
}

impl Transport {
    /// Begins to accept connections. Until [`Transport::set_members`] was called, every node of
    /// the cluster is let in. Needs a runtime, on which all connections are served.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets.
    pub fn start(
        listener: Listener,
        identity: Identity,
        settings: Settings,
        events: UnboundedSender<TransportEvent>,
    ) -> io::Result<Self> {
        let socket = listener.socket().and_then(|path| path.to_str()).map(str::to_owned);
        let hub = Arc::new(Hub::new(identity, socket, settings, events));
        let Listener { tcp, unix, .. } = listener;
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let mut listening = vec![tokio::spawn(listener::accept_tcp(hub.clone(), tcp))];
        let mut file = None;
        if let Some(LocalListener { listener, file: made }) = unix {
            let unix = tokio::net::UnixListener::from_std(listener)?;
            listening.push(tokio::spawn(listener::accept_unix(hub.clone(), unix)));
            file = Some(made);
        }
        Ok(Self { hub, listening, links: BTreeMap::new(), _file: file })
    }

    /// Keeps a connection to another node, from now until the link is dropped. `address` is
    /// `host:port`; a name is looked up again for each attempt. Needs a runtime.
    #[must_use]
    pub fn dial(&self, id: NodeId, address: String) -> Link {
        let outbox = Arc::new(Outbox::new(sender::PEER_BOUND));
        let task = tokio::spawn(dialler::keep(self.hub.clone(), id, address, outbox.clone()));
        Link { id, outbox, task }
    }

    /// Keeps connections to exactly these nodes: dials the new ones, lets go of the others, and
    /// dials again where the address changed.
    pub fn set_peers(&mut self, peers: BTreeMap<NodeId, String>) {
        self.links.retain(|id, (address, _)| peers.get(id) == Some(address));
        for (id, address) in peers {
            if !self.links.contains_key(&id) {
                let link = self.dial(id, address.clone());
                self.links.insert(id, (address, link));
            }
        }
    }

    /// Sends to a node of [`Transport::set_peers`]; see [`Link::send`].
    pub fn send(&self, to: NodeId, frame: &PeerFrame) {
        if let Some(link) = self.link(to) {
            link.send(frame);
        }
    }

    /// The link to a node of [`Transport::set_peers`].
    #[must_use]
    pub fn link(&self, to: NodeId) -> Option<&Link> {
        self.links.get(&to).map(|(_, link)| link)
    }

    /// The members as the ledger of this node shows them now; call it after every change.
    /// Removed nodes are refused, and their connections are closed. Ids above all that were
    /// ever used here are let in: this node may have been away while they were added.
    pub fn set_members(&self, members: &Members) {
        self.hub.set_roll(Roll::of(members));
    }

    /// Whether other nodes may connect, or only clients, as at a node that keeps no log.
    pub fn take_nodes(&self, take: bool) {
        self.hub.takes_nodes.store(take, Ordering::Relaxed);
    }

    /// Serves a client in this process.
    pub fn attach(&self, ends: LocalEnds) {
        tokio::spawn(local::serve(self.hub.clone(), ends));
    }

    /// Whether the death of the process of this node would be proved: a unix connection with it
    /// exists, and its pidfd is held.
    #[must_use]
    pub fn would_prove(&self, id: NodeId) -> bool {
        self.hub.proves(id)
    }

    /// Counters of refused connections.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.hub.refusals.clone()
    }

    /// Who this node is to others.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.hub.identity
    }

    /// This start of this node's process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.hub.identity.incarnation
    }

    /// The socket file, when there is one.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        self.hub.socket.as_deref()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.listening.iter().for_each(JoinHandle::abort);
    }
}
