//! The thread that keeps a process's leases: a shell around [`Contender`].
//!
//! Everything from the store comes through one ordered stream of frames, so a renewal is never
//! believed before the news that the node sent ahead of it (an eviction, say).

mod contests;
mod line;
mod observers;
#[cfg(feature = "quorum")]
mod quorum;
mod store;
mod witness;

use std::sync::Arc;

use core::time::Duration;
use tenure_core::{
    CandidateId, ElectionName, Moment, Sighting, Token, Value,
    backend::{Backend, Capabilities, Connect, News, Slot, StoreError, Word},
    candidate::{Action, Contender, Notice, Phase},
    ledger::Standing,
    timing::{Drift, adaptive::TtlRange},
};
#[cfg(feature = "quorum")]
use tenure_quorum::{
    client::{Client, ClientOptions, Endpoint},
    transport::LocalClient,
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel},
    oneshot, watch,
};

use crate::{
    Error,
    leadership::{Hold, Leadership, Validity},
    stores, system,
};
use contests::Contests;
use line::Line;
use observers::Observers;
#[cfg(feature = "quorum")]
use quorum::QuorumLine;
use store::StoreLine;

/// What the application orders.
#[derive(Debug)]
pub(crate) enum Order {
    Campaign {
        number: u64,
        election: ElectionName,
        candidate: CandidateId,
        value: Value,
        standing: Standing,
        tell: UnboundedSender<Told>,
    },
    /// The work of this tenure has stopped.
    Stopped {
        election: ElectionName,
        token: Token,
    },
    Transfer {
        election: ElectionName,
        token: Token,
        to: CandidateId,
    },
    /// Of this campaign, not of a later one for the same election.
    Withdraw {
        number: u64,
        election: ElectionName,
    },
    /// A slot of the election's work is to be taken.
    Take {
        slot: Slot,
        reply: oneshot::Sender<Result<Slot, StoreError>>,
    },
    /// Other bounds for the lease.
    SetTtl(TtlRange),
    Observe {
        election: ElectionName,
        reply: oneshot::Sender<watch::Receiver<Option<Sighting>>>,
    },
    /// An observer has gone.
    Unobserve {
        election: ElectionName,
    },
    Close,
}

/// What the application is told.
#[derive(Debug)]
pub(crate) enum Told {
    Elected(Leadership),
    Notice(Notice),
}

/// How the keeper reaches the store.
#[derive(Debug)]
pub(crate) enum Reach {
    #[cfg(feature = "quorum")]
    Endpoints(Vec<Endpoint>, ClientOptions),
    #[cfg(feature = "quorum")]
    Node(LocalClient),
    Store {
        connect: Connect,
        /// The death of this process proves that its work has stopped.
        local_proof: bool,
    },
}

/// What a keeper is started with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) reach: Reach,
    pub(crate) ttl: TtlRange,
    pub(crate) drift: Drift,
    /// What its thread does first.
    pub(crate) first: Option<fn() -> std::io::Result<()>>,
}

/// A keeper that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) reached: Reached,
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) validity: Arc<Validity>,
}

/// What was reached, for whoever wants more of it than elections.
#[derive(Debug, Clone)]
pub(crate) enum Reached {
    #[cfg(feature = "quorum")]
    Quorum(Client),
    Store(Arc<dyn Backend>, Option<stores::Locks>),
}

impl Reached {
    pub(crate) fn capabilities(&self) -> Capabilities {
        match self {
            #[cfg(feature = "quorum")]
            Self::Quorum(_) => stores::quorum_capabilities(),
            Self::Store(backend, _) => backend.capabilities().clone(),
        }
    }
}

struct Keeper {
    line: Line,
    contender: Contender,
    validity: Arc<Validity>,
    contests: Contests,
    observers: Observers,
    closed: bool,
}

/// News taken in before what follows from them is carried out.
const BURST: usize = 64;

/// Longest wait for the store to hear that everything is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts the thread; ready when the store is reached. The connection lives on that thread too:
/// an application that blocks its own runtime cannot hold up a renewal.
pub(crate) async fn start(setting: Setting) -> Result<Running, Error> {
    let (orders, ordered) = unbounded_channel();
    let (ready, started) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Thread)?;
    let thread = std::thread::Builder::new().name(String::from("tenure-keeper"));
    let weak = orders.downgrade();
    let validity = Arc::new(Validity::new(setting.ttl.longest()));
    let kept = Arc::clone(&validity);
    let thread = thread.spawn(move || match setting.first.map_or(Ok(()), |first| first()) {
        Ok(()) => runtime.block_on(live(setting, kept, ready, weak, ordered)),
        // When the caller has gone it cannot be told.
        Err(error) => _ = ready.send(Err(Error::Thread(error))),
    });
    thread.map_err(Error::Thread)?;
    let reached = started.await.unwrap_or(Err(Error::Closed))?;
    Ok(Running { reached, orders, validity })
}

async fn live(
    setting: Setting,
    validity: Arc<Validity>,
    ready: oneshot::Sender<Result<Reached, Error>>,
    orders: WeakUnboundedSender<Order>,
    ordered: UnboundedReceiver<Order>,
) {
    let Setting { reach, ttl, drift, first: _ } = setting;
    let (reached, line, contender) = match reached(reach, ttl, drift).await {
        Ok(reached) => reached,
        Err(error) => {
            // When the caller has gone it cannot be told; there is nothing to keep either way.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let keeper = Keeper {
        contender,
        line,
        contests: Contests::new(Arc::clone(&validity), orders),
        observers: Observers::default(),
        validity,
        closed: false,
    };
    if ready.send(Ok(reached)).is_ok() {
        keeper.run(ordered).await;
    }
}

async fn reached(
    reach: Reach,
    ttl: TtlRange,
    drift: Drift,
) -> Result<(Reached, Line, Contender), Error> {
    match reach {
        #[cfg(feature = "quorum")]
        Reach::Endpoints(endpoints, options) => {
            Ok(through(Client::connect(endpoints, options).await?, ttl, drift))
        }
        #[cfg(feature = "quorum")]
        Reach::Node(end) => Ok(through(Client::local(end), ttl, drift)),
        Reach::Store { connect, local_proof } => {
            let (backend, locks) = stores::connect(&connect).await?;
            let capabilities = backend.capabilities();
            if !ttl.is_fixed() {
                return Err(Error::FixedTtl { store: capabilities.store.clone() });
            }
            let ttl = ttl.longest();
            let ttl = capabilities.lease(ttl).map_err(|shortest| Error::TtlTooShort {
                store: capabilities.store.clone(),
                given: ttl.get(),
                shortest,
            })?;
            let drift = match capabilities.pads_leases {
                true => drift,
                false => drift.of_both_sides(),
            };
            let shared = Arc::clone(&backend);
            let line = StoreLine::new(shared, ttl, connect.timeout, connect.process);
            if local_proof {
                line.show_oneself();
            }
            let contender = Contender::new(connect.process, ttl, drift);
            Ok((Reached::Store(backend, locks), Line::Store(line.into()), contender))
        }
    }
}

#[cfg(feature = "quorum")]
fn through(client: Client, ttl: TtlRange, drift: Drift) -> (Reached, Line, Contender) {
    let contender = Contender::new(client.process(), ttl, drift);
    let line = QuorumLine::new(client.clone());
    (Reached::Quorum(client), Line::Quorum(line.into()), contender)
}

impl Keeper {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        while !self.closed {
            let now = system::moment();
            let deadline =
                self.contender.next_deadline().into_iter().chain(self.line.next_deadline());
            let wait = deadline.min().map(|deadline| deadline.since(now));
            tokio::select! {
                biased;
                news = self.line.next() => {
                    self.on_news(news);
                    self.take_in_what_came_with_it();
                }
                // When every handle is gone, nobody can be leading any more.
                order = orders.recv() => self.on_order(order.unwrap_or(Order::Close)),
                () = sleep(wait) => {}
            }
            self.act();
        }
        self.validity.set(None, self.contender.ttl());
        // What was said last must leave before the connection goes; nobody waits for this.
        let patience = tokio::time::Instant::now() + FAREWELL;
        while self.line.has_open_requests() {
            match tokio::time::timeout_at(patience, self.line.next()).await {
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    /// A thousand grants come together: what follows from them is carried out together. Only words
    /// about elections: a renewal that is acknowledged lengthens the belief in every tenure, and
    /// before that whoever has just lost one must have been told.
    fn take_in_what_came_with_it(&mut self) {
        for _ in 0..BURST {
            match self.line.next_now() {
                None => return,
                Some(news @ (None | Some(News::Seen(_)))) => self.on_news(news),
                Some(news) => {
                    self.act();
                    return self.on_news(news);
                }
            }
        }
    }

    fn act(&mut self) {
        let now = system::moment();
        self.contender.tick(now);
        while let Some(action) = self.contender.poll() {
            match action {
                Action::Ask { request, command } => self.line.ask(request, command, now),
                Action::Renew { session, renewal } => self.line.renew(session, renewal),
                Action::Tell(notice) => self.tell(notice),
            }
        }
        self.line.tick(now);
        self.publish_validity();
    }

    fn publish_validity(&self) {
        let deadline = self.contender.validity().map(|(_, deadline)| deadline);
        self.validity.set(deadline, self.contender.ttl());
    }

    fn on_order(&mut self, order: Order) {
        let now = system::moment();
        match order {
            Order::Campaign { number, election, candidate, value, standing, tell } => {
                self.line.follow(&election, false, now);
                self.contests.add(election.clone(), number, tell);
                self.contender.campaign(election, candidate, value, standing, now);
            }
            Order::Stopped { election, token } => self.on_stopped(&election, token, None),
            Order::Transfer { election, token, to } => {
                self.on_stopped(&election, token, Some(to));
            }
            Order::Withdraw { number, election } => {
                // A leader's `Leadership` must be dropped first; until then it leads on.
                // One that is being handed over is left when that is done.
                let phase = self.contender.phase(&election);
                if self.contests.is(&election, number)
                    && matches!(phase, Phase::Waiting | Phase::Stopping)
                {
                    self.contender.resign(&election, None);
                }
            }
            Order::Observe { election, reply } => {
                self.line.follow(&election, true, now);
                // Whoever asked may have gone already; then the next to go tidies up.
                let _ = reply.send(self.observers.add(election));
            }
            Order::Unobserve { election } => self.unfollow(&election),
            Order::SetTtl(ttl) => self.contender.set_ttl(ttl),
            Order::Take { slot, reply } => self.line.take(slot, reply),
            Order::Close => {
                self.contender.close();
                self.closed = true;
            }
        }
    }

    fn on_stopped(&mut self, election: &ElectionName, token: Token, to: Option<CandidateId>) {
        // Whoever acts may see by its own clock that the lease is over before this thread has
        // looked: that is a loss, after which it contends on, not a resignation.
        self.act();
        match self.contests.stopped(election, token) {
            Some(Hold::Leading) => self.contender.resign(election, to),
            Some(Hold::Asked | Hold::Lost(_)) => {
                self.contender.stopped(election, system::moment());
            }
            None => {}
        }
    }

    fn on_news(&mut self, news: Option<News>) {
        let now = system::moment();
        match news {
            Some(News::Outcome(request, outcome)) => {
                self.contender.answered(request, &outcome, now);
            }
            Some(News::Renewed(session, renewal)) => self.contender.renewed(session, renewal, now),
            Some(News::Gone(session)) => self.contender.session_gone(session, now),
            Some(News::Seen(word)) => self.on_word(&word, now),
            None => {}
        }
    }

    fn on_word(&mut self, word: &Word, now: Moment) {
        if let Some(seen) = &word.seen {
            self.contender.seen(&word.election, seen, now);
        }
        self.observers.tell(&word.election, &word.sighting);
    }

    /// Stops following unless a contest or an observer still wants to know.
    fn unfollow(&mut self, election: &ElectionName) {
        if !self.observers.keep(election) && !self.contests.has(election) {
            self.line.unfollow(election);
        }
    }

    fn tell(&mut self, notice: Notice) {
        if let Notice::Elected { .. } = notice {
            // Published before the leadership exists, so that its first check succeeds.
            self.publish_validity();
        }
        let over = match &notice {
            Notice::Left { election } | Notice::Refused { election, .. } => Some(election.clone()),
            _ => None,
        };
        self.contests.tell(notice);
        if let Some(election) = over {
            self.unfollow(&election);
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => core::future::pending().await,
    }
}
