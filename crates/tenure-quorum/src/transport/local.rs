//! A client in the process of its node: the same frames, through channels.

use std::sync::{Arc, Mutex};

use tenure_core::Incarnation;
use tokio::sync::mpsc;

use super::{
    event::{Flow, TransportEvent},
    hub::Hub,
    sender::{CLIENT_BOUND, ClientSender, Way},
};
use crate::wire::{ClientFrame, NodeFrame};

/// Questions that wait between a client and its node.
const QUESTIONS: usize = 1024;

/// The client's end of a connection without a socket. Dropping it ends the connection.
#[derive(Debug)]
pub struct LocalClient {
    /// The process that both share.
    pub process: Incarnation,
    /// Questions to the node.
    pub questions: mpsc::Sender<ClientFrame>,
    /// Frames from the node; ends when the node has stopped or has dropped this client for not
    /// reading.
    pub frames: mpsc::Receiver<NodeFrame>,
}

/// The node's end of a connection without a socket, for [`super::Transport::attach`].
#[derive(Debug)]
pub struct LocalEnds {
    process: Incarnation,
    questions: mpsc::Receiver<ClientFrame>,
    frames: mpsc::Sender<NodeFrame>,
}

/// A connection between a client and a node in one process. `process` is the node's
/// incarnation: when it dies, the other nodes see the client die.
#[must_use]
pub fn local_pair(process: Incarnation) -> (LocalClient, LocalEnds) {
    let (questions, questions_read) = mpsc::channel(QUESTIONS);
    let (frames, frames_read) = mpsc::channel(CLIENT_BOUND.packets);
    let client = LocalClient { process, questions, frames: frames_read };
    (client, LocalEnds { process, questions: questions_read, frames })
}

/// Passes the questions of a client on until it goes or is dropped.
pub(crate) async fn serve(hub: Arc<Hub>, ends: LocalEnds) {
    let LocalEnds { process, mut questions, frames } = ends;
    let client = hub.next_key();
    let way = Way::Here(Arc::new(Mutex::new(Some(frames))));
    let to = ClientSender { way, refusals: hub.refusals.clone() };
    hub.tell(TransportEvent::ClientUp { client, process, member: None, to, local_proof: false });
    let flow = Flow::new(u32::try_from(QUESTIONS).unwrap_or(u32::MAX));
    loop {
        let frame = tokio::select! {
            frame = questions.recv() => frame,
            () = hub.closed() => None,
        };
        let Some(frame) = frame else { break };
        let hold = flow.room_for(0).await;
        hub.tell(TransportEvent::ClientFrame { client, frame, hold });
    }
    hub.tell(TransportEvent::ClientDown { client });
}
