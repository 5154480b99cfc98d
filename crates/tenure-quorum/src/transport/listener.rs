//! Where others reach this node: a TCP port, and a socket file for processes of this machine.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
        sockopt::set_socket_reuseaddr,
    },
};
use tokio::time::{Instant, sleep};

use super::{accept, backoff::Backoff, conn::Conn, hub::Hub, proof::Proof};

/// Connections that the kernel keeps until they are accepted; it may keep fewer.
const BACKLOG: i32 = 4096;
/// Longest path of a socket file, in bytes; the kernel allows no more.
const MAX_SOCKET_PATH: usize = 107;
/// At most one line about failing accepts in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a node cannot listen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: String,
        /// What the kernel or the resolver says.
        source: io::Error,
    },
    /// The socket file cannot be made.
    #[error("cannot listen on the socket file {path}: {source}")]
    Unix {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another process answers on the socket file.
    #[error("another process answers on the socket file {path}: is this node running already?")]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// Bound and listening; connections wait in the kernel until the transport starts. Dropping it
/// removes the socket file.
#[derive(Debug)]
pub struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) unix: Option<LocalListener>,
    address: SocketAddr,
}

impl Listener {
    /// Listens on a TCP address (`host:port`, port 0 takes a free one) and, unless its path is
    /// too long, on a socket file that only this user may use. A socket file on which nobody
    /// answers is replaced. Needs no runtime, so it may be used on another thread later.
    ///
    /// # Errors
    /// [`BindError`] with the address or the path.
    pub fn bind(address: &str, socket: Option<&Path>) -> Result<Self, BindError> {
        let failed = |source| BindError::Tcp { address: address.to_owned(), source };
        let tcp = bind_tcp(address).map_err(failed)?;
        let bound = tcp.local_addr().map_err(failed)?;
        let unix = socket.map(LocalListener::bind).transpose()?.flatten();
        Ok(Self { tcp, unix, address: bound })
    }

    /// The TCP address, with the port that the kernel chose when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket file, when there is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|unix| unix.file.0.as_path())
    }
}

fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(errno) => last = errno.into(),
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A node that was restarted gets its port back although old connections linger.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[derive(Debug)]
pub(crate) struct LocalListener {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

impl LocalListener {
    fn bind(path: &Path) -> Result<Option<Self>, BindError> {
        let failed = |source| BindError::Unix { path: path.to_owned(), source };
        // The name under which it is made is longer than the one under which it is found.
        let mut fresh = path.to_owned().into_os_string();
        fresh.push("~");
        if fresh.len() > MAX_SOCKET_PATH {
            tracing::warn!(
                path = %path.display(), length = fresh.len(), max = MAX_SOCKET_PATH,
                "the path of the socket file is too long: local processes connect over TCP, \
                 and their death is found by lease only"
            );
            return Ok(None);
        }
        if is_answered(path).map_err(|errno| failed(errno.into()))? {
            return Err(BindError::InUse { path: path.to_owned() });
        }
        Self::replace(path, Path::new(&fresh)).map(Some).map_err(failed)
    }

    /// Makes the socket under another name, closes it to other users, and only then gives it
    /// its name: nobody else can connect in between.
    fn replace(path: &Path, fresh: &Path) -> io::Result<Self> {
        match fs::remove_file(fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(fresh)?)?;
        fs::set_permissions(fresh, fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        fs::rename(fresh, path)?;
        Ok(Self { listener: UnixListener::from(socket), file: SocketFile(path.to_owned()) })
    }
}

/// Whether a process listens on a socket file. Never waits for it.
fn is_answered(path: &Path) -> Result<bool, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        // Its queue is full: somebody listens, if slowly.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes the socket file when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been removed with its directory.
        let _ = fs::remove_file(&self.0);
    }
}

/// Accepts on the TCP port until the driver has gone.
pub(crate) async fn accept_tcp(hub: Arc<Hub>, listener: tokio::net::TcpListener) {
    let mut trouble = Trouble::new("tcp");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.closed() => return,
        };
        match accepted.and_then(|(stream, _)| Conn::tcp(stream, hub.settings.silence())) {
            Ok(conn) => serve(&hub, conn, &mut trouble),
            Err(error) => trouble.wait(&error).await,
        }
    }
}

/// Accepts on the socket file until the driver has gone.
pub(crate) async fn accept_unix(hub: Arc<Hub>, listener: tokio::net::UnixListener) {
    let mut trouble = Trouble::new("unix");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => serve(&hub, Conn::unix(stream), &mut trouble),
            Err(error) => trouble.wait(&error).await,
        }
    }
}

/// The pidfd is taken here, right after accept: the task that serves may run much later.
fn serve(hub: &Arc<Hub>, conn: Conn, trouble: &mut Trouble) {
    trouble.backoff.reset();
    let proof = if hub.settings.local_proof { Proof::take(&conn) } else { None };
    tokio::spawn(accept::receive(hub.clone(), Arc::new(conn), proof));
}

/// Failing accepts: out of descriptors or memory. Existing connections go on; new ones wait in
/// the kernel's queue.
struct Trouble {
    listener: &'static str,
    backoff: Backoff,
    logged: Option<Instant>,
}

impl Trouble {
    fn new(listener: &'static str) -> Self {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        Self { listener, backoff, logged: None }
    }

    async fn wait(&mut self, error: &io::Error) {
        // These concern one connection only.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::InvalidInput
        ) {
            return;
        }
        if self.logged.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::error!(listener = self.listener, "cannot accept connections now: {error}");
        }
        sleep(self.backoff.pause()).await;
    }
}
