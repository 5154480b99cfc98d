//! The first words on a connection, as whoever was dialled hears them.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    client_conn,
    conn::{Conn, Stream},
    framing::{FrameError, FrameReader, Packet, Patience, write_packet},
    gate::{Present, PresentClient},
    hub::Hub,
    peer,
    proof::Proof,
    refusals::Reason,
};
use crate::wire::{
    Dialler, Greeting, HELLO_DEADLINE, Hello, MAX_CLIENT_FRAME, MAX_HELLO, MAX_PEER_FRAME, Rejected,
};

/// A node that was killed and started again at once may be faster than the end of its old
/// connection: it is refused as a duplicate only after this.
const DUPLICATE_GRACE: Duration = Duration::from_millis(200);
/// A client's message must be complete by then.
const CLIENT_PATIENCE: Patience = Patience::Whole(Duration::from_secs(10));

/// Whoever was let in.
enum Guest {
    Node(Present),
    Client(PresentClient),
}

/// Why a stranger did not become a guest.
enum Failure {
    /// It was told why.
    Rejected(Rejected),
    /// It could not be understood.
    Frame(FrameError),
    /// It ended first.
    Vanished,
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// Hears a stranger out, and serves it to its end when it is let in.
pub(crate) async fn receive(hub: Arc<Hub>, conn: Arc<Conn>, proof: Option<Proof>) {
    let stranger = hub.let_wait(&conn);
    let mut reader =
        FrameReader::new(Stream(conn.clone()), MAX_HELLO, Patience::Whole(HELLO_DEADLINE));
    let heard = tokio::select! {
        heard = timeout(HELLO_DEADLINE, hear(&hub, &conn, &mut reader, proof)) => heard,
        () = hub.closed() => return,
    };
    if !stranger.leave() {
        return;
    }
    let who = conn.other_end();
    match heard {
        Ok(Ok((Guest::Node(present), _, proof))) => {
            reader.expect(MAX_PEER_FRAME, Patience::Piece(hub.settings.silence()));
            peer::serve(&hub, reader, present, proof).await;
        }
        Ok(Ok((Guest::Client(present), hello, proof))) => {
            reader.expect(MAX_CLIENT_FRAME, CLIENT_PATIENCE);
            client_conn::serve(&hub, conn, reader, present, &hello, proof).await;
        }
        Ok(Err(Failure::Rejected(why))) => hub.refusals.note(Reason::from(&why), &who, &why),
        Ok(Err(Failure::Frame(error))) => {
            let reason = Reason::of(&error).unwrap_or(Reason::Vanished);
            hub.refusals.note(reason, &who, &error);
        }
        Ok(Err(Failure::Vanished)) => {
            hub.refusals.note(Reason::Vanished, &who, &"it ended before saying who it is");
        }
        Err(_) => {
            let why = format!("it did not say who it is within {HELLO_DEADLINE:?}");
            hub.refusals.note(Reason::Silent, &who, &why);
        }
    }
}

async fn hear(
    hub: &Arc<Hub>,
    conn: &Arc<Conn>,
    reader: &mut FrameReader<Stream>,
    proof: Option<Proof>,
) -> Result<(Guest, Hello, Option<Proof>), Failure> {
    if !reader.magic().await? {
        return Err(Failure::Vanished);
    }
    let Some((hello, _)) = reader.next::<Hello>().await? else {
        return Err(Failure::Vanished);
    };
    let proof = proof
        .filter(|_| hub.settings.local_proof)
        .and_then(|proof| proof.of(&hello.host, &hub.identity.host));
    match judge(hub, conn, &hello, proof.is_some()).await {
        Ok(guest) => {
            let welcome = hub.identity.welcome(hub.socket.as_deref());
            answer(conn, &Greeting::Welcome(welcome)).await?;
            if let Guest::Node(present) = &guest {
                present.announce();
            }
            Ok((guest, hello, proof))
        }
        Err(rejected) => {
            // The reason counts; whether the stranger can read it does not.
            let _ = answer(conn, &Greeting::Rejected(rejected.clone())).await;
            Err(Failure::Rejected(rejected))
        }
    }
}

async fn answer(conn: &Arc<Conn>, greeting: &Greeting) -> Result<(), FrameError> {
    let packet = Packet::new(greeting, MAX_HELLO)?;
    Ok(write_packet(&mut Stream(conn.clone()), &packet).await?)
}

async fn judge(
    hub: &Arc<Hub>,
    conn: &Arc<Conn>,
    hello: &Hello,
    proof: bool,
) -> Result<Guest, Rejected> {
    hub.identity.check(hello)?;
    let (id, name, directory) = match &hello.dialler {
        Dialler::Node { id, name, directory } => (id, name, directory),
        Dialler::Member { id, name, directory, .. } => {
            hub.check_node(*id, name, *directory)?;
            return hub.enter_client().map(Guest::Client);
        }
        Dialler::Client => return hub.enter_client().map(Guest::Client),
    };
    hub.check_node(*id, name, *directory)?;
    if let Ok(present) = hub.enter(*id, hello.incarnation, conn, proof) {
        return Ok(Guest::Node(present));
    }
    sleep(DUPLICATE_GRACE).await;
    hub.enter(*id, hello.incarnation, conn, proof).map(Guest::Node)
}
