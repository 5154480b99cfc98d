//! The transport over real sockets on loopback.

mod child;
mod framing;
mod handshake;
mod links;
mod pressure;
mod proof;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;
use tenure_core::{ClusterId, Incarnation, NodeId, NodeName, ledger::Members};
use tenure_replica::{PeerBody, PeerFrame};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

use super::{Identity, Listener, Settings, Transport, TransportEvent, this_host};
use crate::wire::{Dialler, Greeting, Hello, MAGIC, PROTOCOL};

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CLUSTER: ClusterId = ClusterId::new(0xc1);

pub(crate) fn node_id(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

/// A transport with its events, in a directory of its own.
pub(crate) struct Rig {
    pub(crate) transport: Transport,
    pub(crate) events: UnboundedReceiver<TransportEvent>,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

pub(crate) fn identity(id: u64, incarnation: u64) -> Identity {
    Identity {
        cluster: CLUSTER,
        id: node_id(id),
        name: NodeName::new(format!("n{id}")).unwrap(),
        directory: id * 100,
        incarnation: Incarnation::from_random(incarnation),
        host: this_host(),
    }
}

impl Rig {
    pub(crate) fn start(id: u64) -> Self {
        // Tests let links rest for longer than nodes do.
        let settings = Settings { limit: PATIENCE, ..Settings::default() };
        Self::with(identity(id, id * 1000), settings, "127.0.0.1:0")
    }

    pub(crate) fn with(identity: Identity, settings: Settings, address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("node.sock");
        let listener = Listener::bind(address, Some(&socket)).unwrap();
        let address = listener.address();
        let (sender, events) = unbounded_channel();
        let transport = Transport::start(listener, identity, settings, sender).unwrap();
        Self { transport, events, address, _directory: directory }
    }

    pub(crate) fn dial(&mut self, other: &Self) {
        let peers = BTreeMap::from([(other.transport.identity().id, other.address.to_string())]);
        self.transport.set_peers(peers);
    }

    pub(crate) async fn next(&mut self) -> TransportEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("events")
    }

    /// Skips events until one fits.
    pub(crate) async fn until<T>(
        &mut self,
        mut fits: impl FnMut(&TransportEvent) -> Option<T>,
    ) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = fits(&event) {
                return found;
            }
        }
    }

    pub(crate) async fn up(&mut self, id: u64) {
        let id = node_id(id);
        self.until(|event| {
            matches!(event, TransportEvent::PeerUp { id: up, .. } if *up == id).then_some(())
        })
        .await;
    }

    /// Waits until the link to a node can be used.
    pub(crate) async fn linked(&self, id: u64) {
        eventually("a link", || self.transport.link(node_id(id)).unwrap().is_up()).await;
    }

    pub(crate) async fn frame_number(&mut self) -> u64 {
        self.until(|event| match event {
            TransportEvent::PeerFrame { frame, .. } => Some(number_of(frame)),
            _ => None,
        })
        .await
    }

    /// Two nodes, each linked with the other.
    pub(crate) async fn pair() -> (Self, Self) {
        let (mut one, mut two) = (Self::start(1), Self::start(2));
        one.dial(&two);
        two.dial(&one);
        one.up(2).await;
        two.up(1).await;
        one.linked(2).await;
        two.linked(1).await;
        (one, two)
    }

    /// A frame gets through from here to there, at last when it is repeated.
    pub(crate) async fn assert_reaches(&self, other: &mut Self) {
        let (from, to) = (self.transport.identity().id, other.transport.identity().id);
        let sending = async {
            loop {
                self.transport.send(to, &numbered(from.get(), to.get(), 4711));
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = sending => {}
            () = async { while other.frame_number().await != 4711 {} } => {}
        }
    }
}

/// A frame that carries a number.
pub(crate) fn numbered(from: u64, to: u64, number: u64) -> PeerFrame {
    PeerFrame {
        from: node_id(from),
        to: node_id(to),
        relayed: false,
        contact_ms: None,
        committed: None,
        body: PeerBody::Hello { directory: number },
    }
}

pub(crate) fn number_of(frame: &PeerFrame) -> u64 {
    match frame.body {
        PeerBody::Hello { directory } => directory,
        _ => panic!("not a numbered frame: {frame:?}"),
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not come about"));
}

/// Members 1 to `count` with the directories that [`identity`] gives them; `removed` is gone.
pub(crate) fn members(count: u64, removed: Option<u64>) -> Members {
    use tenure_core::{
        WallTime,
        ledger::{Command, Ledger, MemberChange},
    };
    let names =
        (1..=count).map(|id| (NodeName::new(format!("n{id}")).unwrap(), String::from("a:1")));
    let mut ledger = Ledger::new(Members::founding(names));
    let mut apply = |change| ledger.apply(None, WallTime::from_micros(1), Command::Member(change));
    for id in 1..=count {
        apply(MemberChange::Seen { id: node_id(id), directory: id * 100 });
    }
    if let Some(removed) = removed {
        apply(MemberChange::Remove { id: node_id(removed) });
    }
    ledger.members().clone()
}

pub(crate) fn client_hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        software: String::from("test"),
        cluster: Some(CLUSTER),
        dialler: Dialler::Client,
        incarnation: Incarnation::from_random(77),
        host: this_host(),
    }
}

pub(crate) fn framed<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let body = tenure_replica::encode(message);
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// A stranger with a plain blocking socket, used from helper threads of the test.
pub(crate) struct Stranger(pub(crate) TcpStream);

impl Stranger {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn hello(&mut self, hello: &Hello) {
        self.say(&MAGIC);
        self.say(&framed(hello));
    }

    pub(crate) fn greeting(&mut self) -> Greeting {
        tenure_replica::decode(&self.message()).unwrap()
    }

    pub(crate) fn message(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    /// Waits until the other end has closed the connection.
    pub(crate) fn wait_for_the_end(&mut self) {
        let mut rest = [0; 1024];
        while !matches!(self.0.read(&mut rest), Ok(0) | Err(_)) {}
    }
}

/// Runs blocking test code on a thread of its own while the transport goes on.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    timeout(PATIENCE, result).await.expect("in time").expect("no panic aside")
}
