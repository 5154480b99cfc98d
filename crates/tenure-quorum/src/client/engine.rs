//! The client's task: keeps one connection, whatever happens to the nodes.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, error::TrySendError},
        oneshot,
    },
    time::{Instant, sleep_until},
};

use super::{
    ClientError, ClientEvent, Endpoint, Shared,
    line::Line,
    pending::{OWN_NUMBERS, Open, Pending, earlier},
    route::Route,
    watch::{Following, Interest, Watch},
};
use crate::{
    transport::handshake::DialError,
    wire::{ClientFrame, NodeFrame, Question, Reply},
};

/// Numbers whose answers concern the task itself.
const PING: u64 = u64::MAX;
const LEARN: u64 = u64::MAX - 1;
const SUBSCRIBE: u64 = u64::MAX - 2;

/// From the handles of a client to its task.
#[derive(Debug)]
pub(super) enum Order {
    Ask(Open),
    Watch(Interest, oneshot::Sender<Watch>),
    SubscribeRaw(mpsc::Sender<ClientEvent>),
}

type Attempt = Pin<Box<dyn Future<Output = (Endpoint, Result<Line, DialError>)> + Send>>;

enum Phase {
    Dialling(Attempt),
    Up(Line),
    /// The node in this process has stopped: there will be no other.
    Over,
}

enum Happened {
    Dialled(Endpoint, Result<Line, DialError>),
    Frame(NodeFrame),
    Broken(String),
}

impl Phase {
    /// What the connection does next. Cancel safe: a dropped attempt goes on later.
    async fn next(&mut self) -> Happened {
        match self {
            Self::Dialling(attempt) => {
                let (endpoint, result) = attempt.await;
                Happened::Dialled(endpoint, result)
            }
            Self::Up(line) => match line.next().await {
                Ok(frame) => Happened::Frame(frame),
                Err(why) => Happened::Broken(why),
            },
            Self::Over => std::future::pending().await,
        }
    }
}

pub(super) struct Engine {
    shared: Arc<Shared>,
    orders: UnboundedReceiver<Order>,
    phase: Phase,
    route: Option<Route>,
    pending: Pending,
    following: Vec<Following>,
    raw: Vec<mpsc::Sender<ClientEvent>>,
    /// Whoever waits for the first connection.
    first: Option<oneshot::Sender<Result<(), ClientError>>>,
    /// A node that is silent for this long is given up.
    silence: Duration,
    last_heard: Instant,
    pinged: Option<Instant>,
    /// Why the last connection ended.
    lost_why: String,
    /// Whether the watches were told that no node is heard.
    lost_told: bool,
}

impl Engine {
    pub(super) fn remote(
        shared: Arc<Shared>,
        orders: UnboundedReceiver<Order>,
        mut route: Route,
        silence: Duration,
        first: oneshot::Sender<Result<(), ClientError>>,
    ) -> Self {
        let phase = Phase::Dialling(Box::pin(route.attempt()));
        Self { route: Some(route), first: Some(first), ..Self::new(shared, orders, phase, silence) }
    }

    pub(super) fn within(
        shared: Arc<Shared>,
        orders: UnboundedReceiver<Order>,
        line: Line,
        silence: Duration,
    ) -> Self {
        Self::new(shared, orders, Phase::Up(line), silence)
    }

    fn new(
        shared: Arc<Shared>,
        orders: UnboundedReceiver<Order>,
        phase: Phase,
        silence: Duration,
    ) -> Self {
        Self {
            shared,
            orders,
            phase,
            route: None,
            pending: Pending::default(),
            following: Vec::new(),
            raw: Vec::new(),
            first: None,
            silence,
            last_heard: Instant::now(),
            pinged: None,
            lost_why: String::from("still connecting"),
            lost_told: false,
        }
    }

    /// Runs until the last handle is dropped.
    pub(super) async fn run(mut self) {
        if let Phase::Up(line) = &self.phase {
            self.shared.attach(line);
        }
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => break,
                },
                happened = self.phase.next() => self.on_happened(happened),
                () = sleep_until(deadline) => self.on_time(),
            }
        }
        self.shared.detach();
    }

    fn line(&self) -> Option<&Line> {
        match &self.phase {
            Phase::Up(line) => Some(line),
            Phase::Dialling(_) | Phase::Over => None,
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Ask(open) if matches!(self.phase, Phase::Over) => open.give_up(&self.lost_why),
            Order::Ask(open) => {
                let to = self.line().map(|line| line.to.clone());
                self.pending.add(open, to.as_ref());
            }
            Order::Watch(interest, answer) => {
                let (mut following, watch) = Following::new(interest);
                self.say(SUBSCRIBE, following.interest.question());
                if self.lost_told {
                    following.lose(&self.lost_why);
                }
                self.following.push(following);
                let _ = answer.send(watch);
            }
            Order::SubscribeRaw(sender) => {
                if let Some(about) = self.line().and_then(|line| line.about.clone()) {
                    // The channel is new and empty.
                    let _ = sender.try_send(ClientEvent::Connected(about));
                }
                self.raw.push(sender);
            }
        }
    }

    fn on_happened(&mut self, happened: Happened) {
        match happened {
            Happened::Frame(frame) => self.on_frame(frame),
            Happened::Broken(why) => self.on_broken(why),
            Happened::Dialled(_, Ok(line)) => self.on_connected(line),
            Happened::Dialled(endpoint, Err(error)) => self.on_failed(endpoint, error),
        }
    }

    fn on_connected(&mut self, line: Line) {
        self.last_heard = Instant::now();
        (self.pinged, self.lost_told) = (None, false);
        self.shared.attach(&line);
        if let (Some(about), Some(route)) = (&line.about, &mut self.route) {
            route.succeeded(about.cluster);
            tracing::debug!(node = %about.name, local = about.local, "connected");
            let event = ClientEvent::Connected(about.clone());
            self.tell_raw(event);
        }
        let to = line.to.clone();
        self.phase = Phase::Up(line);
        self.following.retain(Following::is_wanted);
        let subscriptions: Vec<_> =
            self.following.iter().map(|following| following.interest.question()).collect();
        for question in subscriptions {
            self.say(SUBSCRIBE, question);
        }
        self.pending.connected(&to);
        self.say(LEARN, Question::Voters);
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(()));
        }
    }

    fn on_failed(&mut self, endpoint: Endpoint, error: DialError) {
        tracing::debug!(%endpoint, "no connection: {error}");
        let Some(route) = &mut self.route else { return };
        route.failed(endpoint, error);
        self.lost_why = route.why();
        self.shared.set_why(&self.lost_why);
        self.phase = Phase::Dialling(Box::pin(route.attempt()));
        if let Some(error) = route.hopeless() {
            let why = error.to_string();
            if let Some(first) = self.first.take() {
                let _ = first.send(Err(error));
            }
            self.tell_raw(ClientEvent::Refused { why });
        }
    }

    fn on_broken(&mut self, why: String) {
        tracing::debug!("disconnected: {why}");
        self.shared.detach();
        self.shared.set_why(&why);
        self.pending.disconnected(&why);
        self.tell_raw(ClientEvent::Disconnected { why: why.clone() });
        self.lost_why = why;
        self.phase = match &mut self.route {
            Some(route) => Phase::Dialling(Box::pin(route.attempt())),
            None => {
                self.pending.give_all_up(&self.lost_why);
                Phase::Over
            }
        };
    }

    fn on_frame(&mut self, frame: NodeFrame) {
        self.last_heard = Instant::now();
        self.pinged = None;
        match frame {
            NodeFrame::Answer { number: LEARN, reply: Reply::Voters(addresses) } => {
                if let Some(route) = &mut self.route {
                    route.learn(addresses);
                }
            }
            NodeFrame::Answer { number: PING | LEARN | SUBSCRIBE, .. } => {}
            NodeFrame::Answer { number, reply } if number >= OWN_NUMBERS => {
                self.pending.answered(number, reply);
            }
            NodeFrame::Answer { .. } => self.tell_raw(ClientEvent::Frame(frame)),
            NodeFrame::Push(ref push) => {
                for following in &mut self.following {
                    following.on_push(push);
                }
                self.tell_raw(ClientEvent::Frame(frame));
            }
        }
    }

    fn say(&self, number: u64, question: Question) {
        if let Some(line) = self.line()
            && let Err(error) = line.to.send(ClientFrame { number, question })
        {
            tracing::warn!("a question could not be sent: {error}");
        }
    }

    /// A reader that keeps its channel full is let go of: its channel ends.
    fn tell_raw(&mut self, event: ClientEvent) {
        // As a rule there is one reader, and a hundred thousand frames need no copies.
        let mut copies = std::iter::repeat_n(event, self.raw.len());
        self.raw.retain(|sender| {
            let Some(event) = copies.next() else { return true };
            match sender.try_send(event) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!("a reader of raw frames is too slow: it gets no more");
                    false
                }
            }
        });
    }

    fn on_time(&mut self) {
        let to = self.line().map(|line| line.to.clone());
        self.pending.pass_time(to.as_ref(), &self.lost_why);
        let now = Instant::now();
        if self.line().is_some_and(|line| !line.is_within()) {
            self.watch_silence(now);
        }
        if self.line().is_none() && !self.lost_told && now >= self.last_heard + self.silence {
            self.lost_told = true;
            let why = format!("no node was heard for {:?}: {}", self.silence, self.lost_why);
            self.following.retain(Following::is_wanted);
            self.following.iter_mut().for_each(|following| following.lose(&why));
        }
    }

    /// A node that says nothing is asked whether it is there, and given up when it is not.
    fn watch_silence(&mut self, now: Instant) {
        match self.pinged {
            None if now >= self.last_heard + self.silence / 2 => {
                self.pinged = Some(now);
                self.say(PING, Question::Ping);
            }
            Some(pinged) if now >= pinged + self.silence / 2 => {
                let silence = self.silence;
                self.on_broken(format!("the node said nothing for {silence:?}"));
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let silence = match self.line() {
            Some(line) if line.is_within() => None,
            Some(_) => Some(self.pinged.unwrap_or(self.last_heard) + self.silence / 2),
            None => (!self.lost_told).then(|| self.last_heard + self.silence),
        };
        earlier(self.pending.next_deadline(), silence).unwrap_or(far)
    }
}
