//! The first words on a connection, as whoever dials says them.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};

use super::{
    conn::{Conn, Stream},
    framing::{FrameError, FrameReader, Packet, Patience, write_packet},
    host::share_machine,
    proof::Proof,
};
use crate::wire::{Greeting, HELLO_DEADLINE, Hello, MAGIC, MAX_HELLO, PROTOCOL, Rejected, Welcome};

/// Where to dial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// `host:port`.
    Tcp(&'a str),
    /// A socket file.
    Unix(&'a Path),
}

/// How to dial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialling {
    /// Until the connection exists, and again until the handshake is over.
    pub(crate) deadline: Duration,
    /// Silence after which the kernel gives the connection up.
    pub(crate) silence: Duration,
    /// Whether to go over to the unix socket of a node on this machine.
    pub(crate) local_proof: bool,
}

/// Why dialling failed. Nothing was asked and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("connected, but it said nothing within {0:?}")]
    Silent(Duration),
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    #[error("the address {0:?} cannot be resolved")]
    Unresolved(String),
    #[error("refused: {0}")]
    Rejected(Rejected),
    #[error("connected, but no answer can be read: {0}")]
    Frame(#[from] FrameError),
    #[error("connected, but the connection was closed without a word")]
    Closed,
    #[error("it speaks protocol version {0}, this is version {PROTOCOL}")]
    Protocol(u16),
}

/// A connection with somebody who said welcome.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) conn: Arc<Conn>,
    pub(crate) reader: FrameReader<Stream>,
    pub(crate) welcome: Welcome,
    pub(crate) proof: Option<Proof>,
}

/// Dials, says hello, and goes over to the unix socket of a node on the same machine when
/// there is one; if that fails, the first connection is kept. Cancel safe: a dropped attempt
/// leaves a closed connection behind.
pub(crate) async fn dial(
    target: Target<'_>,
    hello: &Hello,
    how: Dialling,
) -> Result<Dialled, DialError> {
    let first = dial_once(target, hello, how).await?;
    if first.conn.is_unix() || !how.local_proof {
        return Ok(first);
    }
    let Some(socket) = first.welcome.socket.as_deref() else { return Ok(first) };
    if !share_machine(&first.welcome.host, &hello.host) {
        return Ok(first);
    }
    match dial_once(Target::Unix(Path::new(socket)), hello, how).await {
        Ok(local)
            if local.welcome.id == first.welcome.id
                && local.welcome.incarnation == first.welcome.incarnation =>
        {
            Ok(local)
        }
        Ok(_) => {
            tracing::warn!(socket, "the unix socket is answered by another process: not used");
            Ok(first)
        }
        Err(error) => {
            tracing::debug!(socket, "the unix socket cannot be used: {error}");
            Ok(first)
        }
    }
}

async fn dial_once(target: Target<'_>, hello: &Hello, how: Dialling) -> Result<Dialled, DialError> {
    let connecting = timeout(how.deadline, connect(target, how.silence));
    let conn = connecting.await.map_err(|_| DialError::TimedOut(how.deadline))??;
    let conn = Arc::new(conn);
    let proof = Proof::take(&conn);
    let deadline = how.deadline.max(HELLO_DEADLINE);
    let greeting = timeout(deadline, greet(&conn, hello));
    let (welcome, reader) = greeting.await.map_err(|_| DialError::Silent(deadline))??;
    let proof = proof.and_then(|proof| proof.of(&welcome.host, &hello.host));
    Ok(Dialled { conn, reader, welcome, proof: proof.filter(|_| how.local_proof) })
}

async fn connect(target: Target<'_>, silence: Duration) -> Result<Conn, DialError> {
    match target {
        Target::Tcp(address) => {
            let addresses = resolve(address).await?;
            Ok(Conn::tcp(TcpStream::connect(addresses.as_slice()).await?, silence)?)
        }
        Target::Unix(path) => loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return Ok(Conn::unix(stream)),
                // The listener's queue is full; unlike with TCP the kernel does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(Duration::from_millis(2)).await;
                }
                Err(error) => return Err(error.into()),
            }
        },
    }
}

/// A name is looked up by the runtime's helper thread, off this one; an address is not.
async fn resolve(address: &str) -> Result<Vec<std::net::SocketAddr>, DialError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let found: Vec<_> = tokio::net::lookup_host(address)
        .await
        .map_err(|_| DialError::Unresolved(address.to_owned()))?
        .collect();
    if found.is_empty() { Err(DialError::Unresolved(address.to_owned())) } else { Ok(found) }
}

async fn greet(
    conn: &Arc<Conn>,
    hello: &Hello,
) -> Result<(Welcome, FrameReader<Stream>), DialError> {
    let mut stream = Stream(conn.clone());
    let packet = Packet::new(hello, MAX_HELLO)?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &MAGIC).await?;
    write_packet(&mut stream, &packet).await?;
    let mut reader = FrameReader::new(stream, MAX_HELLO, Patience::Whole(HELLO_DEADLINE));
    match reader.next::<Greeting>().await? {
        Some((Greeting::Welcome(welcome), _)) if welcome.protocol == PROTOCOL => {
            Ok((welcome, reader))
        }
        Some((Greeting::Welcome(welcome), _)) => Err(DialError::Protocol(welcome.protocol)),
        Some((Greeting::Rejected(rejected), _)) => Err(DialError::Rejected(rejected)),
        None => Err(DialError::Closed),
    }
}
