//! One connection: the seam between bytes and everything above them.
//!
//! **Here mutual TLS goes in.** [`Conn`] is the only type that touches a socket; all that it
//! offers is readiness and non-blocking reads and writes through `&self`. A third variant with
//! a socket and a locked TLS session (whose sessions are machines without I/O of their own)
//! fits that shape: its handshake runs in [`super::handshake`] before the first byte of
//! [`crate::wire::MAGIC`], and the name in the certificate is compared with the `Hello` there.

use std::{
    fmt, io,
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::{Shutdown, shutdown, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connected socket.
pub(crate) enum Conn {
    /// Across machines, or on one.
    Tcp(TcpStream),
    /// On one machine; the other end's pidfd can be had.
    Unix(UnixStream),
}

macro_rules! each {
    ($conn:expr, $socket:ident => $do:expr) => {
        match $conn {
            Conn::Tcp($socket) => $do,
            Conn::Unix($socket) => $do,
        }
    };
}

impl Conn {
    /// Wraps a TCP connection: small messages leave at once, and a peer that vanished is found
    /// after `silence` when something was sent, and by keepalives soon after when not.
    pub(crate) fn tcp(stream: TcpStream, silence: Duration) -> io::Result<Self> {
        let silence_ms = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
        stream.set_nodelay(true)?;
        sockopt::set_tcp_user_timeout(&stream, silence_ms)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        let idle = Duration::from_secs(silence.as_secs().clamp(1, 3600));
        sockopt::set_tcp_keepidle(&stream, idle)?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(1))?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        Ok(Self::Tcp(stream))
    }

    /// Wraps a unix connection.
    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        each!(self, socket => socket.writable().await)
    }

    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, socket => socket.try_write_vectored(slices))
    }

    /// Ends both directions: readers see the end after what has arrived already.
    pub(crate) fn close(&self) {
        // An error means that it is closed already.
        let _ = shutdown(self, Shutdown::Both);
    }

    /// The other end, for people.
    pub(crate) fn other_end(&self) -> String {
        match self {
            Self::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| String::from("tcp"), |peer| peer.to_string())
            }
            Self::Unix(stream) => match stream.peer_cred().ok().and_then(|cred| cred.pid()) {
                Some(pid) => format!("local process {pid}"),
                None => String::from("local process"),
            },
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, socket => socket.as_fd())
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({})", self.other_end())
    }
}

/// A shared connection as a byte stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream(pub(crate) Arc<Conn>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(each!(&*self.0, socket => socket.poll_read_ready(cx)))?;
            let read = each!(&*self.0, socket => socket.try_read(buffer.initialize_unfilled()));
            match read {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(&*self.0, socket => socket.poll_write_ready(cx)))?;
            match self.0.try_write(&[IoSlice::new(bytes)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}
