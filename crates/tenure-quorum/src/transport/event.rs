//! What the transport tells the driver, and how the driver holds it back.

use std::sync::Arc;

use tenure_core::{Incarnation, NodeId, WallTime, Zone};
use tenure_replica::PeerFrame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sender::ClientSender;
use crate::wire::{ClientFrame, Rejected};

/// A node without a log at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEnd {
    /// The node.
    pub id: NodeId,
    /// Where it says that it is.
    pub zone: Option<Zone>,
}

/// Something happened on a connection. All events come through one channel, in the order in
/// which they happened on each connection.
#[derive(Debug)]
pub enum TransportEvent {
    /// The first connection with this node exists, dialled or accepted.
    PeerUp {
        /// The node.
        id: NodeId,
        /// This start of its process.
        incarnation: Incarnation,
    },
    /// A frame arrived.
    PeerFrame {
        /// The node at the other end of the connection.
        link: NodeId,
        /// What it sent, perhaps for somebody else.
        frame: PeerFrame,
        /// Drop it when the frame was dealt with: the connection reads on then.
        hold: Hold,
    },
    /// The last connection with this process of the node is gone. Comes after all its frames.
    PeerDown {
        /// The node.
        id: NodeId,
        /// The start of its process that was connected.
        incarnation: Incarnation,
        /// Whether the process is proved dead; [`TransportEvent::Died`] came before then, and
        /// otherwise may still follow.
        proven: bool,
    },
    /// This process is dead, by a pidfd that was taken race-free. May come more than once for
    /// one process, and before or after the end of its connections.
    Died {
        /// The process, of a node or of a client.
        process: Incarnation,
        /// When that was seen.
        observed: WallTime,
    },
    /// A client is connected.
    ClientUp {
        /// The transport's key of the connection, never used twice.
        client: u64,
        /// This start of its process.
        process: Incarnation,
        /// The node that it is, when it is a member that speaks for others, too.
        member: Option<MemberEnd>,
        /// Where its answers go.
        to: ClientSender,
        /// Whether its death would be proved.
        local_proof: bool,
    },
    /// A client says something.
    ClientFrame {
        /// The key of the connection.
        client: u64,
        /// What it says.
        frame: ClientFrame,
        /// Drop it when the frame was dealt with: the connection reads on then.
        hold: Hold,
    },
    /// A client's connection is gone. Comes after all its frames.
    ClientDown {
        /// The key of the connection.
        client: u64,
    },
    /// A node that this one dialled refused it. Comes once per attempt, so twice a second.
    Rejected {
        /// The node that was dialled.
        peer: NodeId,
        /// Why it refused.
        why: Rejected,
    },
}

/// Room that an event takes up in the budget of its connection. While too much of it is held,
/// the connection is not read.
#[derive(Debug)]
pub struct Hold {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The budget of one connection, in KiB of frames that the driver has not dealt with.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    semaphore: Arc<Semaphore>,
    total: u32,
}

impl Flow {
    pub(crate) fn new(total_kib: u32) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(total_kib as usize)), total: total_kib }
    }

    /// Waits until there is room for so many bytes; a frame above the whole budget waits until
    /// it is alone. Cancel safe.
    pub(crate) async fn room_for(&self, bytes: usize) -> Hold {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.total);
        let permit = self.semaphore.clone().acquire_many_owned(kib).await;
        // The semaphore is never closed.
        Hold { _permit: permit.ok() }
    }
}
