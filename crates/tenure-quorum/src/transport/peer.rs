//! A connection with another node: frames in on those accepted, frames out on those dialled.

use std::{sync::Arc, time::Duration};

use tenure_core::{Incarnation, WallTime};
use tenure_replica::PeerFrame;
use tokio::time::timeout;

use super::{
    conn::Stream,
    event::{Flow, TransportEvent},
    framing::{FrameError, FrameReader},
    gate::Present,
    hub::Hub,
    outbox::Outbox,
    proof::Proof,
    refusals::Reason,
};
use crate::clock;

/// Frames of one node that the driver may have before it, in KiB.
const PEER_FLOW_KIB: u32 = 4 << 10;
/// For how long a pidfd is watched after the end of its connection. A process that dumps core
/// closes its sockets long before it is gone.
const LINGER: Duration = Duration::from_secs(5);
/// For how long the last frames of a dead process are read.
const DRAIN: Duration = Duration::from_secs(1);

/// Reads the frames of a node until its connection ends.
pub(crate) async fn serve(
    hub: &Arc<Hub>,
    mut reader: FrameReader<Stream>,
    present: Present,
    proof: Option<Proof>,
) {
    let flow = Flow::new(PEER_FLOW_KIB);
    let dead = tokio::select! {
        biased;
        () = receive(hub, &present, &mut reader, &flow) => None,
        observed = death(proof.as_ref()) => Some(observed),
        () = hub.closed() => return,
    };
    if let Some(observed) = dead {
        present.died(observed);
        // The connection is shut now; what had arrived is still there.
        let _ = timeout(DRAIN, receive(hub, &present, &mut reader, &flow)).await;
        return;
    }
    end(hub, present, proof);
}

/// Sends on a connection that this node dialled until it ends. Nothing may arrive on it.
pub(crate) async fn send(
    hub: &Arc<Hub>,
    outbox: &Outbox,
    mut reader: FrameReader<Stream>,
    present: Present,
    proof: Option<Proof>,
) {
    let dead = tokio::select! {
        biased;
        ended = reader.next::<PeerFrame>() => {
            if let Ok(Some(_)) = ended {
                note(hub, &present, Reason::Garbage, &"it answers where it should only listen");
            }
            None
        }
        observed = death(proof.as_ref()) => Some(observed),
        () = outbox.drive() => None,
        () = hub.closed() => return,
    };
    outbox.detach();
    match dead {
        Some(observed) => present.died(observed),
        None => end(hub, present, proof),
    }
}

async fn receive(hub: &Arc<Hub>, present: &Present, reader: &mut FrameReader<Stream>, flow: &Flow) {
    loop {
        let (frame, bytes) = match reader.next::<PeerFrame>().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return complain(hub, present, &error),
        };
        let hold = flow.room_for(bytes).await;
        hub.tell(TransportEvent::PeerFrame { link: present.id, frame, hold });
    }
}

fn complain(hub: &Arc<Hub>, present: &Present, error: &FrameError) {
    match Reason::of(error) {
        Some(reason) => note(hub, present, reason, error),
        None => tracing::debug!(peer = %present.id, "the connection ended: {error}"),
    }
}

fn note(hub: &Arc<Hub>, present: &Present, reason: Reason, why: &dyn std::fmt::Display) {
    hub.refusals.note(reason, &format!("node {}", present.id), why);
}

/// When the process was seen dead; never, without a proof. Cancel safe.
pub(crate) async fn death(proof: Option<&Proof>) -> WallTime {
    match proof {
        Some(proof) => proof.death().await,
        None => std::future::pending().await,
    }
    clock::wall()
}

/// The connection ended. The end itself is only a hint and is reported at once, unless the
/// proof is there already; the proof follows when it comes (some 20 us later as a rule).
fn end(hub: &Arc<Hub>, present: Present, proof: Option<Proof>) {
    if proof.as_ref().is_some_and(Proof::is_dead) {
        return present.died(clock::wall());
    }
    let process = present.incarnation;
    drop(present);
    tokio::spawn(linger(hub.clone(), process, proof));
}

/// Watches a pidfd for a while after its connection ended.
pub(crate) async fn linger(hub: Arc<Hub>, process: Incarnation, proof: Option<Proof>) {
    let Some(proof) = proof else { return };
    // With too many of them, the lease has to run out.
    let Ok(_place) = hub.lingering.try_acquire() else { return };
    tokio::select! {
        observed = death(Some(&proof)) => {
            hub.tell(TransportEvent::Died { process, observed });
        }
        () = tokio::time::sleep(LINGER) => {}
        () = hub.closed() => {}
    }
}
