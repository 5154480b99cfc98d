//! Where the driver puts what is to be sent.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tenure_core::NodeId;
use tenure_replica::PeerFrame;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    framing::Packet,
    outbox::{Bound, Outbox},
    refusals::{Reason, Refusals},
};
use crate::wire::{MAX_CLIENT_FRAME, MAX_PEER_FRAME, NodeFrame};

/// What may wait for a node; beyond it the oldest frames are dropped.
pub(crate) const PEER_BOUND: Bound = Bound { packets: 4096, bytes: 32 << 20 };
/// What may wait for a client; beyond it the client is dropped. One process may lead so many
/// elections that the end of another is thousands of frames for it.
pub(crate) const CLIENT_BOUND: Bound = Bound { packets: 65_536, bytes: 8 << 20 };

/// The way to another node. Dropping it ends the connection and its task.
#[derive(Debug)]
pub struct Link {
    pub(crate) id: NodeId,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) task: JoinHandle<()>,
}

impl Link {
    /// The node at the other end.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Whether there is a connection to send on.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.outbox.is_attached()
    }

    /// Sends a frame, within this call when the socket takes it. Never blocks and never fails:
    /// without a connection, or with too much waiting, frames are lost, which Raft allows.
    pub fn send(&self, frame: &PeerFrame) {
        self.push(frame);
        self.flush();
    }

    /// Lets a frame wait for [`Link::flush`], so that several leave with one write.
    pub fn push(&self, frame: &PeerFrame) {
        if !self.is_up() {
            return;
        }
        match Packet::new(frame, MAX_PEER_FRAME) {
            Ok(packet) => {
                let dropped = self.outbox.push_dropping(packet);
                if dropped > 0 {
                    tracing::debug!(peer = %self.id, dropped, "the link is full: frames dropped");
                }
            }
            Err(error) => tracing::error!(peer = %self.id, "a frame cannot be sent: {error}"),
        }
    }

    /// Writes what waits, as far as the socket takes it now; the rest follows by itself.
    pub fn flush(&self) {
        self.outbox.flush();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.outbox.close();
    }
}

/// A frame for many clients, encoded once, when the first of them needs it.
#[derive(Debug, Clone)]
pub struct Broadcast {
    shared: Arc<(NodeFrame, OnceLock<Option<Packet>>)>,
}

impl Broadcast {
    /// Prepares a frame for many clients.
    #[must_use]
    pub fn new(frame: NodeFrame) -> Self {
        Self { shared: Arc::new((frame, OnceLock::new())) }
    }

    fn packet(&self) -> Option<Packet> {
        self.shared.1.get_or_init(|| packet(&self.shared.0)).clone()
    }
}

/// Nothing longer than the bound is sent: the client hears nothing, and asks again in vain, so
/// this is an error of whoever built the frame.
fn packet(frame: &NodeFrame) -> Option<Packet> {
    Packet::new(frame, MAX_CLIENT_FRAME)
        .inspect_err(|error| tracing::error!("a frame to a client cannot be sent: {error}"))
        .ok()
}

/// The way to one client, cheap to clone. A client that does not read is dropped.
#[derive(Debug, Clone)]
pub struct ClientSender {
    pub(crate) way: Way,
    pub(crate) refusals: Refusals,
}

#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Over a socket.
    Socket(Arc<Outbox>),
    /// In this process; none once it was closed.
    Here(Arc<Mutex<Option<mpsc::Sender<NodeFrame>>>>),
}

impl ClientSender {
    /// Sends a frame, within this call when the socket takes it. Never blocks. A client with
    /// more than 65536 frames or 8 MiB waiting is disconnected.
    pub fn send(&self, frame: NodeFrame) {
        self.queue(frame);
        self.flush();
    }

    /// Lets a frame wait for [`ClientSender::flush`].
    pub fn queue(&self, frame: NodeFrame) {
        match &self.way {
            Way::Socket(outbox) => {
                if let Some(packet) = packet(&frame) {
                    self.put(outbox, packet);
                }
            }
            Way::Here(channel) => self.hand_over(channel, frame),
        }
    }

    /// Lets a shared frame wait for [`ClientSender::flush`].
    pub fn push(&self, frame: &Broadcast) {
        match &self.way {
            Way::Socket(outbox) => {
                if let Some(packet) = frame.packet() {
                    self.put(outbox, packet);
                }
            }
            Way::Here(channel) => self.hand_over(channel, frame.shared.0.clone()),
        }
    }

    /// Writes what waits, as far as the socket takes it now; the rest follows by itself.
    pub fn flush(&self) {
        if let Way::Socket(outbox) = &self.way {
            outbox.flush();
        }
    }

    /// Ends the connection; [`super::TransportEvent::ClientDown`] follows.
    pub fn close(&self) {
        match &self.way {
            Way::Socket(outbox) => outbox.close(),
            Way::Here(channel) => *channel.lock().unwrap_or_else(PoisonError::into_inner) = None,
        }
    }

    fn put(&self, outbox: &Outbox, packet: Packet) {
        if outbox.push(packet).is_err() {
            outbox.close();
            self.too_slow();
        }
    }

    fn hand_over(&self, channel: &Mutex<Option<mpsc::Sender<NodeFrame>>>, frame: NodeFrame) {
        let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = channel.as_ref() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(frame) {
            *channel = None;
            self.too_slow();
        }
    }

    fn too_slow(&self) {
        self.refusals.note(Reason::SlowClient, "a client", &"it does not read what it is sent");
    }
}
