//! A connection of a client: questions in, answers and pushes out.

use std::sync::Arc;

use super::{
    conn::{Conn, Stream},
    event::{Flow, MemberEnd, TransportEvent},
    framing::FrameReader,
    gate::PresentClient,
    hub::Hub,
    outbox::Outbox,
    peer::{death, linger},
    proof::Proof,
    refusals::Reason,
    sender::{CLIENT_BOUND, ClientSender, Way},
};
use crate::{
    clock,
    wire::{ClientFrame, Dialler, Hello},
};

/// Questions of one client that the driver may have before it, in KiB.
const CLIENT_FLOW_KIB: u32 = 256;

/// Serves a client until its connection ends or its process dies.
pub(crate) async fn serve(
    hub: &Arc<Hub>,
    conn: Arc<Conn>,
    mut reader: FrameReader<Stream>,
    present: PresentClient,
    hello: &Hello,
    proof: Option<Proof>,
) {
    let (client, process) = (present.key, hello.incarnation);
    let member = match &hello.dialler {
        Dialler::Member { id, zone, .. } => Some(MemberEnd { id: *id, zone: zone.clone() }),
        Dialler::Node { .. } | Dialler::Client => None,
    };
    let outbox = Arc::new(Outbox::connected(CLIENT_BOUND, conn));
    let to = ClientSender { way: Way::Socket(outbox.clone()), refusals: hub.refusals.clone() };
    let local_proof = proof.is_some();
    hub.tell(TransportEvent::ClientUp { client, process, member, to, local_proof });
    let dead = tokio::select! {
        biased;
        () = receive(hub, client, &mut reader) => None,
        observed = death(proof.as_ref()) => Some(observed),
        () = outbox.drive() => None,
        () = hub.closed() => None,
    };
    outbox.close();
    let dead = dead.or_else(|| proof.as_ref().filter(|it| it.is_dead()).map(|_| clock::wall()));
    if let Some(observed) = dead {
        // What it may have asked with its last breath does not matter any more.
        hub.tell(TransportEvent::Died { process, observed });
    }
    hub.tell(TransportEvent::ClientDown { client });
    drop((present, reader));
    if dead.is_none() {
        linger(hub.clone(), process, proof).await;
    }
}

async fn receive(hub: &Arc<Hub>, client: u64, reader: &mut FrameReader<Stream>) {
    let flow = Flow::new(CLIENT_FLOW_KIB);
    loop {
        match reader.next::<ClientFrame>().await {
            Ok(Some((frame, bytes))) => {
                let hold = flow.room_for(bytes).await;
                hub.tell(TransportEvent::ClientFrame { client, frame, hold });
            }
            Ok(None) => return,
            Err(error) => {
                if let Some(reason) = Reason::of(&error) {
                    hub.refusals.note(reason, &format!("client {client}"), &error);
                }
                return;
            }
        }
    }
}
