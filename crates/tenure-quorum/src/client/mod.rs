//! The client of a quorum: asks, wishes and watches, whichever node is alive.
//!
//! A [`Client`] keeps one connection. When it breaks, or when the node falls silent, the next
//! endpoint is tried at once, and with growing pauses after all have failed. On the machine of
//! a node it goes over to the node's unix socket, so that the node holds its pidfd and can
//! prove its death.
//!
//! - [`Client::ask`] and [`Client::wish`] repeat the *same* request over reconnects until it is
//!   answered or its time is up. A wish without an answer is [`ClientError::Unknown`], never
//!   "failed".
//! - [`Client::watch`] follows elections: a view never goes back, and silence is reported.
//! - [`Client::post`] and [`Client::subscribe_raw`] give a contending driver the bare frames.
//!
//! **Invariant:** nothing here judges whether a lease is still valid; that is the candidate
//! machine's business, with the moments at which its caller sent.

mod endpoint;
mod engine;
mod error;
mod line;
mod pending;
mod route;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tenure_core::{ClusterId, ElectionName, Incarnation, RequestId, SessionId, ledger::Outcome};
use tenure_replica::Wish;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use endpoint::{Endpoint, parse_url};
pub use error::{ClientError, Fate};
pub use line::Connected;
pub use watch::{Watch, Watched};

use crate::{
    transport::{LocalClient, draw_incarnation, handshake::Dialling, this_host},
    wire::{ClientFrame, Dialler, Hello, Host, NodeFrame, PROTOCOL, Question, Reply},
};
use engine::{Engine, Order};
use line::{Line, LineSender};
use pending::{OWN_NUMBERS, Open};
use route::Route;
use watch::Interest;

/// Raw events that may wait for their reader.
const RAW: usize = 65_536;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Only nodes of this cluster will do. None: the cluster of the node that answers first,
    /// and none other from then on.
    pub cluster: Option<ClusterId>,
    /// Time for each question, and for the first connection. Default 5 s.
    pub timeout: Duration,
    /// A node that says nothing for this long, although it was asked, is given up; after this
    /// long without a node, watches are told. At least a few round trips. Default 1 s.
    pub silence: Duration,
    /// Time for one attempt to connect. Default 1 s.
    pub attempt: Duration,
    /// Whether a node on this machine may hold this process's pidfd and take its death for
    /// proof; goes over to the unix socket of such a node. Default true.
    pub local_proof: bool,
    /// Speaks for this start of a process. Default: one number for the whole process. Another
    /// one is for tests, and for a process that stands for several.
    pub process: Option<Incarnation>,
    /// In which order endpoints are tried: another one for each number. Default: as given.
    pub preference: Option<u64>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            cluster: None,
            timeout: Duration::from_secs(5),
            silence: Duration::from_secs(1),
            attempt: Duration::from_secs(1),
            local_proof: true,
            process: None,
            preference: None,
        }
    }
}

/// A host that no node shares: nobody can prove the death of a process there.
fn elsewhere() -> Host {
    Host { boot: String::new(), pid_namespace: 0, pid: std::process::id() }
}

/// What happens on the connection, for whoever posts frames.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// A node answers. Nothing that was posted before will be answered.
    Connected(Connected),
    /// The connection is gone; another one is being made.
    Disconnected {
        /// Why, in words.
        why: String,
    },
    /// Every node refuses this client for good.
    Refused {
        /// Why, in words.
        why: String,
    },
    /// An answer to a posted question, or a push (also of elections that only somebody else in
    /// this client follows).
    Frame(NodeFrame),
}

/// Whether a session is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// A quorum counts it as alive from some moment after the question was sent.
    Renewed,
    /// It is not open: whatever it held is lost.
    Gone,
}

/// What the handles and the task share.
#[derive(Debug)]
struct Shared {
    process: Incarnation,
    /// The way to the present node.
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    to: Option<LineSender>,
    about: Option<Connected>,
    why: String,
}

impl Shared {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, line: &Line) {
        let mut present = self.present();
        (present.to, present.about) = (Some(line.to.clone()), line.about.clone());
    }

    fn detach(&self) {
        let mut present = self.present();
        (present.to, present.about) = (None, None);
    }

    fn set_why(&self, why: &str) {
        why.clone_into(&mut self.present().why);
    }
}

/// A connection with whichever node of a quorum is alive. Clones share it; it ends with the
/// last of them.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    timeout: Duration,
}

impl Client {
    /// Connects with the first of these endpoints that answers. Needs a runtime. Cancel safe:
    /// a dropped attempt leaves nothing behind.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoint`]; [`ClientError::Rejected`] when every endpoint refuses for
    /// good; [`ClientError::Unreachable`] when none has answered within the timeout.
    pub async fn connect(
        endpoints: Vec<Endpoint>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let within = options.timeout;
        let (client, connected) = Self::begin(endpoints, Dialler::Client, &options)?;
        match timeout(within, connected).await {
            Ok(Ok(Ok(()))) => Ok(client),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(ClientError::Stopped),
            Err(_) => Err(ClientError::Unreachable { within, why: client.why_lost() }),
        }
    }

    /// Begins to connect, and goes on until it succeeds. The receiver hears of the first
    /// connection, or that every endpoint refuses for good.
    pub(crate) fn begin(
        endpoints: Vec<Endpoint>,
        dialler: Dialler,
        options: &ClientOptions,
    ) -> Result<(Self, oneshot::Receiver<Result<(), ClientError>>), ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        let ClientOptions { cluster, timeout, silence, attempt, local_proof, .. } = *options;
        let process = options.process;
        let process = match process {
            Some(process) => process,
            None => this_process()?,
        };
        let hello = Hello {
            protocol: PROTOCOL,
            software: crate::SOFTWARE.to_owned(),
            cluster,
            dialler,
            incarnation: process,
            host: if local_proof { this_host() } else { elsewhere() },
        };
        let how = Dialling { deadline: attempt, silence: silence * 4, local_proof };
        let (client, orders) = Self::new(process, timeout);
        let (first, connected) = oneshot::channel();
        let route = Route::new(endpoints, options.preference, hello, how);
        let engine = Engine::remote(client.shared.clone(), orders, route, silence, first);
        tokio::spawn(engine.run());
        Ok((client, connected))
    }

    /// A client of a node in the same process, without a socket: one end of
    /// [`crate::transport::local_pair`], whose other end goes to
    /// [`crate::transport::Transport::attach`]. Needs a runtime, which may be another than the
    /// node's.
    #[must_use]
    pub fn local(end: LocalClient) -> Self {
        let options = ClientOptions::default();
        let (client, orders) = Self::new(end.process, options.timeout);
        let line = Line::within(end);
        client.shared.attach(&line);
        let engine = Engine::within(client.shared.clone(), orders, line, options.silence);
        tokio::spawn(engine.run());
        client
    }

    fn new(process: Incarnation, timeout: Duration) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let shared = Arc::new(Shared { process, present: Mutex::default() });
        let (orders, ordered) = mpsc::unbounded_channel();
        (Self { shared, orders, timeout }, ordered)
    }

    /// The same connection with another time for each question.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The process that this client speaks for: its sessions and requests must name it.
    #[must_use]
    pub fn process(&self) -> Incarnation {
        self.shared.process
    }

    /// The node that it is connected with now. None without a connection, and in the node's
    /// own process.
    #[must_use]
    pub fn connected(&self) -> Option<Connected> {
        self.shared.present().about.clone()
    }

    /// Why there was no connection when there was none last, in words.
    #[must_use]
    pub fn why_lost(&self) -> String {
        let why = self.shared.present().why.clone();
        if why.is_empty() { String::from("still connecting") } else { why }
    }

    /// Asks one question, again after each reconnect, except [`Question::TransferQuorum`],
    /// which is sent once. Dropping the future withdraws the question; what was sent stays
    /// sent.
    ///
    /// # Errors
    /// [`ClientError`]; see [`ClientError::fate`]. A reply is never `Unavailable` or `Denied`.
    pub async fn ask(&self, question: Question) -> Result<Reply, ClientError> {
        let (answer, answered) = oneshot::channel();
        let open = Open::new(question, self.timeout, answer);
        self.orders.send(Order::Ask(open)).map_err(|_| ClientError::Stopped)?;
        answered.await.map_err(|_| ClientError::Stopped)?
    }

    /// Has a wish carried out, under a fresh request id, which is repeated until it is answered
    /// or the time is up. Dropping the future leaves it open whether it is carried out.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Unknown`] when it was sent and never answered. A refusal
    /// by the ledger is not an error but [`Outcome::Refused`].
    pub async fn wish(&self, wish: Wish) -> Result<Outcome, ClientError> {
        self.wish_as(self.fresh_request(), wish).await
    }

    /// Like [`Client::wish`], under a request id that the caller chose, so that it can be sent
    /// again after [`ClientError::Unknown`]. Numbers from 2^63 on are the client's own.
    ///
    /// # Errors
    /// As [`Client::wish`].
    pub async fn wish_as(&self, request: RequestId, wish: Wish) -> Result<Outcome, ClientError> {
        match self.ask(Question::Wish { request, wish }).await? {
            Reply::Outcome(outcome) => Ok(outcome),
            reply => Err(ClientError::unexpected(&reply)),
        }
    }

    /// A request id that no other request of this process has.
    #[must_use]
    pub fn fresh_request(&self) -> RequestId {
        static NUMBERS: AtomicU64 = AtomicU64::new(OWN_NUMBERS);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        RequestId { process: self.shared.process, number }
    }

    /// Renews a session. The moment before the call is when the renewal was sent, whatever
    /// reconnects it took. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError`]; the session may have been renewed all the same.
    pub async fn renew(&self, session: SessionId) -> Result<Renewal, ClientError> {
        match self.ask(Question::Renew { session }).await? {
            Reply::Renewed => Ok(Renewal::Renewed),
            Reply::Gone => Ok(Renewal::Gone),
            reply => Err(ClientError::unexpected(&reply)),
        }
    }

    /// Follows elections by name, and all whose name begins with a prefix, over all
    /// reconnects.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] when the client's runtime is gone.
    pub async fn watch(
        &self,
        elections: Vec<ElectionName>,
        prefix: Option<String>,
    ) -> Result<Watch, ClientError> {
        let (answer, watch) = oneshot::channel();
        let order = Order::Watch(Interest { elections, prefix }, answer);
        self.orders.send(order).map_err(|_| ClientError::Stopped)?;
        watch.await.map_err(|_| ClientError::Stopped)
    }

    /// Sends a frame to the node that is connected now, within this call when the socket takes
    /// it; never waits and never repeats. Its answer comes to [`Client::subscribe_raw`]. The
    /// number must be below 2^63.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] without a connection, [`ClientError::Busy`] when too much
    /// waits, [`ClientError::Refused`] for a number or a length that is not allowed. Nothing
    /// was sent then.
    pub fn post(&self, frame: ClientFrame) -> Result<(), ClientError> {
        if frame.number >= OWN_NUMBERS {
            let why = String::from("numbers of posted frames must be below 2^63");
            return Err(ClientError::Refused { why });
        }
        let to = self.shared.present().to.clone();
        match to {
            Some(to) => to.send(frame),
            None => Err(ClientError::Unreachable { within: Duration::ZERO, why: self.why_lost() }),
        }
    }

    /// Everything that happens on the connection from now on, beginning with
    /// [`ClientEvent::Connected`] when there is one over a socket. A reader that lets more than
    /// 65536 events wait is let go of: its channel ends, and it must subscribe again.
    #[must_use]
    pub fn subscribe_raw(&self) -> mpsc::Receiver<ClientEvent> {
        let (sender, events) = mpsc::channel(RAW);
        // When the task has ended, so does the channel.
        let _ = self.orders.send(Order::SubscribeRaw(sender));
        events
    }
}

/// One number for the whole process, drawn when it is first needed, and again in a process
/// that was forked from it: the death of a child must not be taken for its parent's.
fn this_process() -> Result<Incarnation, ClientError> {
    static PROCESS: Mutex<Option<(u32, Incarnation)>> = Mutex::new(None);
    let mut known = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some((owner, process)) = *known
        && owner == pid
    {
        return Ok(process);
    }
    let process = draw_incarnation().map_err(|error| ClientError::Unreachable {
        within: Duration::ZERO,
        why: error.to_string(),
    })?;
    *known = Some((pid, process));
    Ok(process)
}
