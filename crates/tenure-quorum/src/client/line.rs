//! One connection with one node, over a socket or within the process.

use std::{sync::Arc, time::Duration};

use tenure_core::{ClusterId, Incarnation, NodeId, NodeName};
use tokio::sync::mpsc;

use super::ClientError;
use crate::{
    transport::{
        LocalClient,
        conn::Stream,
        framing::{FrameReader, Packet, Patience},
        handshake::Dialled,
        outbox::{Bound, Outbox},
    },
    wire::{ClientFrame, MAX_CLIENT_FRAME, NodeFrame, Welcome},
};

/// What may wait to be sent.
const BOUND: Bound = Bound { packets: 65_536, bytes: 8 << 20 };
/// A node's message must be complete by then.
const PATIENCE: Patience = Patience::Whole(Duration::from_secs(10));

/// The node that a client is connected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Whether it is reached over its unix socket, so that it can hold our pidfd.
    pub local: bool,
}

/// Where frames to the node go.
#[derive(Debug, Clone)]
pub(super) enum LineSender {
    Socket(Arc<Outbox>),
    Here(mpsc::Sender<ClientFrame>),
}

impl LineSender {
    /// Sends, within this call when the socket takes it.
    pub(super) fn send(&self, frame: ClientFrame) -> Result<(), ClientError> {
        match self {
            Self::Socket(outbox) => {
                let packet = Packet::new(&frame, MAX_CLIENT_FRAME)
                    .map_err(|error| ClientError::Refused { why: error.to_string() })?;
                outbox.push(packet).map_err(|_| ClientError::Busy)?;
                outbox.flush();
                Ok(())
            }
            Self::Here(questions) => questions.try_send(frame).map_err(|_| ClientError::Busy),
        }
    }
}

#[derive(Debug)]
enum Incoming {
    Socket(FrameReader<Stream>, Arc<Outbox>),
    Here(mpsc::Receiver<NodeFrame>),
}

/// A connection as the client's task holds it.
#[derive(Debug)]
pub(super) struct Line {
    incoming: Incoming,
    pub(super) to: LineSender,
    /// None within the process: the node introduces itself there by its answers.
    pub(super) about: Option<Connected>,
}

impl Line {
    pub(super) fn over_socket(dialled: Dialled) -> Self {
        let Dialled { conn, mut reader, welcome, .. } = dialled;
        let Welcome { cluster, id, name, incarnation, .. } = welcome;
        let about = Connected { cluster, id, name, incarnation, local: conn.is_unix() };
        reader.expect(MAX_CLIENT_FRAME, PATIENCE);
        let outbox = Arc::new(Outbox::connected(BOUND, conn));
        let incoming = Incoming::Socket(reader, outbox.clone());
        Self { incoming, to: LineSender::Socket(outbox), about: Some(about) }
    }

    pub(super) fn within(local: LocalClient) -> Self {
        let incoming = Incoming::Here(local.frames);
        Self { incoming, to: LineSender::Here(local.questions), about: None }
    }

    pub(super) fn is_within(&self) -> bool {
        matches!(self.incoming, Incoming::Here(_))
    }

    /// The next frame, or why there will be none. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<NodeFrame, String> {
        match &mut self.incoming {
            Incoming::Here(frames) => {
                frames.recv().await.ok_or_else(|| String::from("the node has stopped"))
            }
            Incoming::Socket(reader, outbox) => tokio::select! {
                biased;
                read = reader.next::<NodeFrame>() => match read {
                    Ok(Some((frame, _))) => Ok(frame),
                    Ok(None) => Err(String::from("the node closed the connection")),
                    Err(error) => Err(error.to_string()),
                },
                () = outbox.drive() => Err(String::from("the connection is closed")),
            },
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Incoming::Socket(_, outbox) = &self.incoming {
            outbox.close();
        }
    }
}
