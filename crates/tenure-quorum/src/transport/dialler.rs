//! Keeps one connection to another node, to send on.

use std::{sync::Arc, time::Duration};

use tenure_core::NodeId;
use tokio::time::{Instant, sleep};

use super::{
    backoff::Backoff,
    event::TransportEvent,
    framing::FrameError,
    gate::Present,
    handshake::{DialError, Dialled, Dialling, Target, dial},
    hub::Hub,
    outbox::Outbox,
    peer,
    refusals::Reason,
};

/// Pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A connection that lasted this long is a success: the pauses begin again.
const LASTING: Duration = Duration::from_millis(500);

/// Dials until it is aborted.
pub(crate) async fn keep(hub: Arc<Hub>, id: NodeId, address: String, outbox: Arc<Outbox>) {
    let hello = hub.identity.hello();
    let how = Dialling {
        deadline: hub.settings.limit,
        silence: hub.settings.silence(),
        local_proof: hub.settings.local_proof,
    };
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let begun = Instant::now();
        let dialled = tokio::select! {
            dialled = dial(Target::Tcp(&address), &hello, how) => dialled,
            () = hub.closed() => return,
        };
        match dialled.map(|dialled| enter(&hub, id, &address, dialled)) {
            Ok(Some((dialled, present))) => {
                let Dialled { conn, reader, proof, .. } = dialled;
                outbox.attach(conn);
                present.announce();
                peer::send(&hub, &outbox, reader, present, proof).await;
                if begun.elapsed() >= LASTING {
                    backoff.reset();
                }
            }
            Ok(None) => {}
            Err(error) => report(&hub, id, &address, error),
        }
        if arrives(&hub, id, backoff.pause()).await {
            backoff.reset();
        }
    }
}

/// Waits before the next attempt. True when the node dialled this one meanwhile: a node that
/// was restarted must not wait until the pauses of its absence are over before it is answered.
async fn arrives(hub: &Hub, id: NodeId, pause: Duration) -> bool {
    let pause = sleep(pause);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return false,
            () = hub.arrivals.notified() => if hub.is_here(id) { return true },
        }
    }
}

/// Checks that the node is the one that was meant, and notes its presence.
fn enter(
    hub: &Arc<Hub>,
    id: NodeId,
    address: &str,
    dialled: Dialled,
) -> Option<(Dialled, Present)> {
    let welcome = &dialled.welcome;
    let misdialled = |why: String| {
        hub.refusals.note(Reason::Misdialled, address, &why);
        None
    };
    if welcome.cluster != hub.identity.cluster {
        let (ours, theirs) = (hub.identity.cluster, welcome.cluster);
        return misdialled(format!("node {id} was expected in cluster {ours}, this is {theirs}"));
    }
    if welcome.id != id {
        let (found, name) = (welcome.id, &welcome.name);
        return misdialled(format!("node {id} was expected, this is node {found} ({name})"));
    }
    match hub.enter(id, welcome.incarnation, &dialled.conn, dialled.proof.is_some()) {
        Ok(present) => Some((dialled, present)),
        // As a rule its former process has just ended and its connections are about to.
        Err(why) => {
            hub.refusals.note(Reason::Duplicate, address, &why);
            None
        }
    }
}

fn report(hub: &Hub, id: NodeId, address: &str, error: DialError) {
    match error {
        DialError::Rejected(why) => {
            tracing::debug!(peer = %id, address, "this node was refused: {why}");
            hub.tell(TransportEvent::Rejected { peer: id, why });
        }
        DialError::Frame(FrameError::Foreign(_) | FrameError::Oversized { .. })
        | DialError::Frame(FrameError::Undecodable(_))
        | DialError::Protocol(_) => hub.refusals.note(Reason::Misdialled, address, &error),
        error => tracing::debug!(peer = %id, address, "no connection: {error}"),
    }
}
