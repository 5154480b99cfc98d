//! Links between nodes that can be cut, each direction by itself.
//!
//! A cut link is a black hole: no byte passes, no connection ends, a new connection is taken by
//! the kernel and never answered. What was under way arrives when the link is mended, as TCP
//! has it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{oneshot, watch},
};

/// From whom to whom.
type Pair = (String, String);

/// One direction of one link, as those who pass bytes see it.
#[derive(Debug, Clone)]
struct Way {
    open: watch::Receiver<bool>,
    /// How often bytes were held up.
    held: Arc<AtomicU64>,
}

impl Way {
    /// Waits until bytes may pass. False when the test is over.
    async fn wait(&mut self) -> bool {
        if !*self.open.borrow() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        self.open.wait_for(|open| *open).await.is_ok()
    }
}

/// One direction of one link, as the test sees it.
#[derive(Debug)]
struct Switch {
    open: watch::Sender<bool>,
    held: Arc<AtomicU64>,
}

impl Switch {
    fn new() -> Self {
        Self { open: watch::Sender::new(true), held: Arc::default() }
    }

    fn way(&self) -> Way {
        Way { open: self.open.subscribe(), held: self.held.clone() }
    }
}

/// A proxy for each ordered pair of nodes, on one thread.
#[derive(Debug)]
pub(crate) struct Links {
    /// Whether bytes pass, by direction.
    switches: BTreeMap<Pair, Switch>,
    /// Where the first reaches the second.
    address: BTreeMap<Pair, String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    /// Links between all of these nodes, by name and address. All are open.
    pub(crate) fn between(nodes: &[(String, String)]) -> Self {
        let mut switches = BTreeMap::new();
        for (from, _) in nodes {
            for (to, _) in nodes.iter().filter(|(to, _)| to != from) {
                switches.insert((from.clone(), to.clone()), Switch::new());
            }
        }
        let mut address = BTreeMap::new();
        let mut work = Vec::new();
        for (pair @ (from, to), forth) in &switches {
            let back = switches[&(to.clone(), from.clone())].way();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            address.insert(pair.clone(), listener.local_addr().unwrap().to_string());
            let (_, target) = nodes.iter().find(|(name, _)| name == to).unwrap();
            work.push((listener, target.parse().unwrap(), forth.way(), back));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                for (listener, target, forth, back) in work {
                    tokio::spawn(serve(listener, target, forth, back));
                }
                let _ = stopped.await;
            });
        });
        Self { switches, address, stop: Some(stop), thread: Some(thread) }
    }

    /// `--dial` for one node: all others through their proxies.
    pub(crate) fn dial(&self, from: &str) -> Vec<String> {
        let mine = self.address.iter().filter(|((a, _), _)| a == from);
        mine.map(|((_, to), address)| format!("--dial={to}={address}")).collect()
    }

    fn set(&self, from: &str, to: &str, open: bool) {
        self.switches[&(from.to_owned(), to.to_owned())].open.send_replace(open);
    }

    /// Nothing passes from the one to the other.
    pub(crate) fn cut_one_way(&self, from: &str, to: &str) {
        self.set(from, to, false);
    }

    /// Nothing passes between these two.
    pub(crate) fn cut(&self, a: &str, b: &str) {
        self.set(a, b, false);
        self.set(b, a, false);
    }

    /// Everything passes again. A cut that held nothing up was none, and proves nothing.
    #[track_caller]
    pub(crate) fn mend(&self) {
        for ((from, to), switch) in &self.switches {
            let was_open = switch.open.send_replace(true);
            let held = switch.held.swap(0, Ordering::Relaxed);
            assert!(was_open || held > 0, "the cut from {from} to {to} held nothing up");
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: std::net::TcpListener, target: SocketAddr, forth: Way, back: Way) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((dialler, _)) = listener.accept().await {
        tokio::spawn(connect(dialler, target, forth.clone(), back.clone()));
    }
}

async fn connect(dialler: TcpStream, target: SocketAddr, mut forth: Way, back: Way) {
    if !forth.wait().await {
        return;
    }
    // The dialler sees a connection that ends at once when nobody is there.
    let Ok(target) = TcpStream::connect(target).await else { return };
    let _ = (dialler.set_nodelay(true), target.set_nodelay(true));
    let (from_dialler, to_dialler) = dialler.into_split();
    let (from_target, to_target) = target.into_split();
    tokio::spawn(pump(from_dialler, to_target, forth));
    pump(from_target, to_dialler, back).await;
}

/// Passes bytes, and the end of the stream, while the direction is open.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: Way) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await;
        if !way.wait().await {
            return;
        }
        match read {
            Ok(count) if count > 0 => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
