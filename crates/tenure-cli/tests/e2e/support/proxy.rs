//! Links between nodes that can be cut, each direction by itself.
//!
//! A cut link is a black hole: no byte passes, no connection ends, a new connection is taken by
//! the kernel and never answered. What was under way arrives when the link is mended, as TCP
//! has it.

use std::{collections::BTreeMap, net::SocketAddr, thread::JoinHandle};

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
type Open = watch::Receiver<bool>;

/// A proxy for each ordered pair of nodes, on one thread.
#[derive(Debug)]
pub(crate) struct Links {
    /// Whether bytes pass, by direction.
    open: BTreeMap<Pair, watch::Sender<bool>>,
    /// Where the first reaches the second.
    address: BTreeMap<Pair, String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    /// Links between all of these nodes, by name and address. All are open.
    pub(crate) fn between(nodes: &[(String, String)]) -> Self {
        let mut open = BTreeMap::new();
        for (from, _) in nodes {
            for (to, _) in nodes.iter().filter(|(to, _)| to != from) {
                open.insert((from.clone(), to.clone()), watch::Sender::new(true));
            }
        }
        let mut address = BTreeMap::new();
        let mut work = Vec::new();
        for (pair @ (from, to), forth) in &open {
            let back = open[&(to.clone(), from.clone())].subscribe();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            address.insert(pair.clone(), listener.local_addr().unwrap().to_string());
            let (_, target) = nodes.iter().find(|(name, _)| name == to).unwrap();
            work.push((listener, target.parse().unwrap(), forth.subscribe(), back));
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
        Self { open, address, stop: Some(stop), thread: Some(thread) }
    }

    /// `--dial` for one node: all others through their proxies.
    pub(crate) fn dial(&self, from: &str) -> Vec<String> {
        let mine = self.address.iter().filter(|((a, _), _)| a == from);
        mine.map(|((_, to), address)| format!("--dial={to}={address}")).collect()
    }

    fn set(&self, from: &str, to: &str, open: bool) {
        self.open[&(from.to_owned(), to.to_owned())].send_replace(open);
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

    /// Everything passes again.
    pub(crate) fn mend(&self) {
        for open in self.open.values() {
            open.send_replace(true);
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: std::net::TcpListener, target: SocketAddr, forth: Open, back: Open) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((dialler, _)) = listener.accept().await {
        tokio::spawn(connect(dialler, target, forth.clone(), back.clone()));
    }
}

async fn connect(dialler: TcpStream, target: SocketAddr, mut forth: Open, back: Open) {
    if forth.wait_for(|open| *open).await.is_err() {
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
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: Open) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await;
        if open.wait_for(|open| *open).await.is_err() {
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
