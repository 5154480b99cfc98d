//! The thread that keeps a process's leases: a shell around [`Contender`].
//!
//! Everything from the store comes through one ordered stream of frames, so a renewal is never
//! believed before the news that the node sent ahead of it (an eviction, say).

mod contests;
mod line;

use std::sync::Arc;

use core::time::Duration;
use tenure_core::{
    CandidateId, ElectionName, RequestId, SessionId, Token, Value, View,
    candidate::{Action, Contender, Notice, Phase, Seen},
    ledger::{Outcome, Standing},
    timing::{Drift, Ttl},
};
use tenure_quorum::{
    client::{Client, ClientError, ClientOptions, Endpoint},
    clock,
    transport::LocalClient,
    wire::Push,
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot, watch,
};

use crate::leadership::{Hold, Validity};
use contests::Contests;
use line::{Heard, Line};

/// What the application orders.
#[derive(Debug)]
pub(crate) enum Order {
    Campaign {
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
    Withdraw {
        election: ElectionName,
    },
    Close,
}

/// What the application is told.
#[derive(Debug)]
pub(crate) enum Told {
    Elected { token: Token, hold: watch::Receiver<Hold> },
    Notice(Notice),
}

/// How the keeper reaches the store.
#[derive(Debug)]
pub(crate) enum Reach {
    Endpoints(Vec<Endpoint>, ClientOptions),
    Node(LocalClient),
}

/// What a keeper is started with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) reach: Reach,
    pub(crate) ttl: Ttl,
    pub(crate) drift: Drift,
    pub(crate) validity: Arc<Validity>,
}

/// A keeper that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) orders: UnboundedSender<Order>,
}

struct Keeper {
    line: Line,
    contender: Contender,
    validity: Arc<Validity>,
    contests: Contests,
    closed: bool,
}

/// Longest wait for the store to hear that everything is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts the thread; ready when the store is reached. The connection lives on that thread too:
/// an application that blocks its own runtime cannot hold up a renewal.
pub(crate) async fn start(
    setting: Setting,
) -> Result<Result<Running, ClientError>, std::io::Error> {
    let (orders, ordered) = unbounded_channel();
    let (ready, started) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(String::from("tenure-keeper")).spawn(move || {
        runtime.block_on(live(setting, ready, ordered));
    })?;
    let started = started.await.unwrap_or(Err(ClientError::Stopped));
    Ok(started.map(|client| Running { client, orders }))
}

async fn live(
    setting: Setting,
    ready: oneshot::Sender<Result<Client, ClientError>>,
    ordered: UnboundedReceiver<Order>,
) {
    let Setting { reach, ttl, drift, validity } = setting;
    let connected = match reach {
        Reach::Endpoints(endpoints, options) => Client::connect(endpoints, options).await,
        Reach::Node(end) => Ok(Client::local(end)),
    };
    let client = match connected {
        Ok(client) => client,
        Err(error) => {
            // When the caller has gone it cannot be told; there is nothing to keep either way.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let keeper = Keeper {
        contender: Contender::new(client.process(), ttl, drift),
        line: Line::new(client.clone()),
        contests: Contests::default(),
        validity,
        closed: false,
    };
    if ready.send(Ok(client)).is_ok() {
        keeper.run(ordered).await;
    }
}

impl Keeper {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        while !self.closed {
            let now = clock::moment();
            let deadline =
                self.contender.next_deadline().into_iter().chain(self.line.next_deadline());
            let wait = deadline.min().map(|deadline| deadline.since(now));
            tokio::select! {
                biased;
                heard = self.line.next() => self.on_heard(heard),
                // When every handle is gone, nobody can be leading any more.
                order = orders.recv() => self.on_order(order.unwrap_or(Order::Close)),
                () = sleep(wait) => {}
            }
            self.act();
        }
        self.validity.set(None);
        // What was said last must leave before the connection goes; nobody waits for this.
        let patience = tokio::time::Instant::now() + FAREWELL;
        while self.line.has_open_requests() {
            match tokio::time::timeout_at(patience, self.line.next()).await {
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn act(&mut self) {
        let now = clock::moment();
        self.contender.tick(now);
        self.line.repeat(now);
        while let Some(action) = self.contender.poll() {
            match action {
                Action::Ask { request, command } => self.line.ask(request, command, now),
                Action::Renew { session, renewal } => self.line.renew(session, renewal),
                Action::Tell(notice) => self.tell(notice),
            }
        }
        self.publish_validity();
    }

    fn publish_validity(&self) {
        self.validity.set(self.contender.validity().map(|(_, deadline)| deadline));
    }

    fn on_order(&mut self, order: Order) {
        let now = clock::moment();
        match order {
            Order::Campaign { election, candidate, value, standing, tell } => {
                self.line.follow(election.clone());
                self.contests.add(election.clone(), tell);
                self.contender.campaign(election, candidate, value, standing, now);
            }
            Order::Stopped { election, token } => self.on_stopped(&election, token, None),
            Order::Transfer { election, token, to } => {
                self.on_stopped(&election, token, Some(to));
            }
            Order::Withdraw { election } => {
                // A leader's `Leadership` must be dropped first; until then it leads on.
                if self.contender.phase(&election) == Phase::Waiting {
                    self.contender.resign(&election, None);
                }
            }
            Order::Close => {
                self.contender.close();
                self.closed = true;
            }
        }
    }

    fn on_stopped(&mut self, election: &ElectionName, token: Token, to: Option<CandidateId>) {
        match self.contests.stopped(election, token) {
            Some(Hold::Leading) => self.contender.resign(election, to),
            Some(Hold::Asked | Hold::Lost(_)) => {
                self.contender.stopped(election, clock::moment());
            }
            None => {}
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        let now = clock::moment();
        match heard {
            Heard::Outcome(request, outcome) => self.on_outcome(request, &outcome),
            Heard::Renewed(session, renewal) => self.contender.renewed(session, renewal, now),
            Heard::Gone(session) => self.on_gone(session),
            Heard::Pushed(push) => self.on_push(&push),
            Heard::Nothing => {}
        }
    }

    fn on_outcome(&mut self, request: RequestId, outcome: &Outcome) {
        self.contender.answered(request, outcome, clock::moment());
    }

    fn on_gone(&mut self, session: SessionId) {
        self.contender.session_gone(session, clock::moment());
    }

    fn on_push(&mut self, push: &Push) {
        // A node that knows nothing says nothing about who holds it.
        if push.sighting.view == View::Unknown {
            return;
        }
        let token = push.sighting.view.leader().map(|leader| leader.token);
        let seen = Seen {
            revision: push.sighting.revision,
            holder: push.holder.zip(token),
            handover: push.handover,
            revoked: push.revoked,
        };
        self.contender.seen(&push.election, &seen, clock::moment());
    }

    fn tell(&mut self, notice: Notice) {
        if let Notice::Elected { .. } = notice {
            // Published before the leadership exists, so that its first check succeeds.
            self.publish_validity();
        }
        if let Notice::Left { election } | Notice::Refused { election, .. } = &notice {
            self.line.unfollow(election);
        }
        if let Some(unwanted) = self.contests.tell(notice) {
            // The campaign was dropped in the very moment of the grant.
            self.contender.resign(&unwanted, None);
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => core::future::pending().await,
    }
}
