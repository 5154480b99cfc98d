//! A line between a client and a real server that can go bad in the ways that lines do, and
//! that counts what passes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// What went over the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from clients to the server.
    pub up: u64,
    /// Bytes from the server to clients.
    pub down: u64,
}

impl Traffic {
    /// What came since an earlier count.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { up: self.up - earlier.up, down: self.down - earlier.down }
    }
}

#[derive(Debug, Default)]
struct Line {
    up: AtomicU64,
    down: AtomicU64,
    delay_us: AtomicU64,
    /// Requests that are still to be cut in the middle.
    cuts: AtomicU32,
    /// Requests whose answers are still to be lost.
    losses: AtomicU32,
    /// Faults that have happened.
    happened: AtomicU32,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, of: &AtomicU32) -> bool {
        let took = of.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if took {
            self.happened.fetch_add(1, SeqCst);
        }
        took
    }

    fn pause(&self) {
        let delay = self.delay_us.load(SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
    }
}

/// A proxy for a server, on a port of its own, and for the other servers of the same store
/// ([`Proxy::also_before`]): what goes wrong goes wrong on the way to all of them. Its threads end
/// with their connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
}

impl Proxy {
    /// A proxy before the server on that port of this machine.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn before(server: u16) -> io::Result<Self> {
        let line = Arc::new(Line::default());
        Ok(Self { port: listen(&line, server)?, line })
    }

    /// One more port, before another server. Faults that are counted hit whichever request comes
    /// first.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn also_before(&self, server: u16) -> io::Result<u16> {
        listen(&self.line, server)
    }

    /// Where it listens, on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL with this proxy's port in the place of the server's.
    #[must_use]
    pub fn url(&self, url: &str, server: u16) -> String {
        url.replace(&format!(":{server}"), &format!(":{}", self.port))
    }

    /// Ends all connections now.
    pub fn cut(&self) {
        for stream in self.line.open().drain(..) {
            // One that has ended needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Of each of the next `count` requests only a half reaches the server; then the connection
    /// ends.
    pub fn cut_in_the_middle(&self, count: u32) {
        self.line.cuts.store(count, SeqCst);
    }

    /// Each of the next `count` requests reaches the server, its answer reaches nobody, and the
    /// connection ends.
    pub fn lose_answers(&self, count: u32) {
        self.line.losses.store(count, SeqCst);
    }

    /// From now on every piece takes so long, in both directions.
    pub fn slow(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.line.delay_us.store(delay, SeqCst);
    }

    /// How many requests were cut, or lost their answers.
    #[must_use]
    pub fn happened(&self) -> u32 {
        self.line.happened.load(SeqCst)
    }

    /// What has passed so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic { up: self.line.up.load(SeqCst), down: self.line.down.load(SeqCst) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Carries what comes to a port of its own over the line to a server; gives the port.
fn listen(line: &Arc<Line>, server: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let line = Arc::clone(line);
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A server that is away is, for the client, a connection that ends at once.
            let Ok(server) = TcpStream::connect(server) else { continue };
            if connect(&line, &client, &server).is_err() {
                end(&client, &server);
            }
        }
    });
    Ok(port)
}

fn end(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        // One that has ended needs no end.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn connect(line: &Arc<Line>, client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut ends = vec![client.try_clone()?, server.try_clone()?];
    line.open().append(&mut ends);
    // The answer to a request that is to lose it.
    let deaf = Arc::new(AtomicBool::new(false));
    let (up, down) = (Arc::clone(line), Arc::clone(line));
    let (client_up, server_up) = (client.try_clone()?, server.try_clone()?);
    let (client_down, server_down) = (client.try_clone()?, server.try_clone()?);
    let deaf_up = Arc::clone(&deaf);
    std::thread::spawn(move || {
        let carried = carry(&client_up, |piece| {
            up.pause();
            up.up.fetch_add(piece.len() as u64, SeqCst);
            if up.take(&up.cuts) {
                (&server_up).write_all(&piece[..piece.len() / 2])?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if up.take(&up.losses) {
                deaf_up.store(true, SeqCst);
            }
            (&server_up).write_all(piece)
        });
        drop(carried);
        end(&client_up, &server_up);
    });
    std::thread::spawn(move || {
        let carried = carry(&server_down, |piece| {
            down.pause();
            down.down.fetch_add(piece.len() as u64, SeqCst);
            if deaf.load(SeqCst) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            (&client_down).write_all(piece)
        });
        drop(carried);
        end(&client_down, &server_down);
    });
    Ok(())
}

fn carry(mut from: &TcpStream, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            length => to(&piece[..length])?,
        }
    }
}
