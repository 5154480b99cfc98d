//! One task, one closed set of events, one loop: the shell around a replica.

mod clients;
mod peers;

use std::collections::BTreeSet;

use core::time::Duration;
use tenure_core::{ClusterId, ElectionName, NodeId, View, ledger::Event};
use tenure_replica::{Config, Input, Output, Replica};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    NodeError, Notice,
    calm::Calm,
    connections::Connections,
    disk::{Disk, DiskEvent},
    identity::{Joined, Memory},
    reads::Freshness,
    subscriptions::{Interest, Subscriptions},
};
use crate::{
    clock,
    transport::{LocalEnds, Transport, TransportEvent},
    wire::{ClientFrame, Push},
};
use clients::Clients;
use peers::Peers;

/// Orders from the handle of the node.
#[derive(Debug)]
pub(super) enum Control {
    /// A client in this process.
    Attach(LocalEnds),
    Stop,
}

/// What the handle of the node tells about it.
#[derive(Debug)]
pub(super) struct About {
    pub(super) id: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) address: String,
    pub(super) socket: Option<String>,
    pub(super) incarnation: tenure_core::Incarnation,
}

/// Everything that can happen to a node.
enum Happening {
    Transport(TransportEvent),
    Disk(DiskEvent),
    Control(Control),
    Time,
}

/// The state of the loop.
pub(super) struct Driver {
    replica: Replica,
    disk: Disk,
    disk_events: UnboundedReceiver<DiskEvent>,
    transport: Transport,
    transport_events: UnboundedReceiver<TransportEvent>,
    peers: Peers,
    clients: Clients,
    subscriptions: Subscriptions,
    /// Elections of which somebody heard while this node did not know.
    unbelieved: BTreeSet<ElectionName>,
    freshness: Freshness,
    calm: Calm,
    known: bool,
    /// The replica was asked and has done nothing about it yet.
    asked: bool,
    notify: UnboundedSender<Notice>,
    address: String,
    /// It was asked to end, and hands over what it leads.
    ending: bool,
    stop: Option<Option<String>>,
}

/// Events taken in before what follows from them is carried out: a burst shares one flush.
const BURST: usize = 64;

/// More changes than this at once are not told one by one.
const MANY: usize = 1024;

impl Driver {
    pub(super) fn start(
        joined: Joined,
        memory: Memory,
        connections: Connections,
        notify: UnboundedSender<Notice>,
    ) -> Result<Self, NodeError> {
        let Joined { config, identity, address, .. } = joined;
        let Memory { storage, restored, founding, acquaintances } = memory;
        let Connections { transport, events, guests, subscriptions } = connections;
        let settings = Config {
            heartbeat: config.heartbeat,
            election_timeout: config.election_timeout,
            election_timeout_least: config.election_timeout_least,
            drift: config.drift,
            voters: config.voters,
            keepers: config.voters,
            replace_after: config.replace_after,
            zone: config.zone.clone(),
            ..Config::new(identity.node, identity.directory)
        };
        let seed = getrandom::u64().unwrap_or(identity.directory);
        let replica = Replica::start(settings, restored, founding, seed, clock::now())
            .map_err(|source| NodeError::Log { directory: config.data_dir.clone(), source })?;
        let (done, disk_events) = unbounded_channel();
        let disk = Disk::start(storage, done).map_err(|source| NodeError::Thread { source })?;
        let mut driver = Self {
            replica,
            disk,
            disk_events,
            transport,
            transport_events: events,
            peers: Peers::new(identity.node, config.dial.clone(), acquaintances),
            clients: Clients::new(identity, config.name.clone(), guests),
            subscriptions,
            unbelieved: BTreeSet::new(),
            freshness: Freshness(config.election_timeout),
            calm: Calm::default(),
            known: false,
            asked: false,
            notify,
            address,
            ending: false,
            stop: None,
        };
        driver.meet_members();
        driver.carry_out();
        Ok(driver)
    }

    pub(super) fn about(&self) -> About {
        let identity = self.clients.identity();
        About {
            id: identity.node,
            cluster: identity.cluster,
            address: self.address.clone(),
            socket: self.transport.socket().map(str::to_owned),
            incarnation: self.transport.identity().incarnation,
        }
    }

    /// Takes over what this node was asked before it kept the log.
    pub(super) fn take_over(&mut self, open: Vec<(u64, ClientFrame)>) {
        for (client, frame) in open {
            self.on_question(client, frame);
        }
        self.carry_out();
    }

    pub(super) async fn run(mut self, control: &mut UnboundedReceiver<Control>) {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        while self.stop.is_none() {
            timer.as_mut().reset(tokio::time::Instant::now() + self.time_left());
            let happening = tokio::select! {
                biased;
                Some(event) = self.disk_events.recv() => Happening::Disk(event),
                Some(event) = self.transport_events.recv() => Happening::Transport(event),
                order = control.recv(), if !self.ending => Happening::Control(order.unwrap_or(Control::Stop)),
                () = &mut timer => Happening::Time,
            };
            self.take_in(happening);
            for _ in 0..BURST {
                let next = self.disk_events.try_recv().map(Happening::Disk);
                let next =
                    next.or_else(|_| self.transport_events.try_recv().map(Happening::Transport));
                match next {
                    Ok(happening) => self.take_in(happening),
                    Err(_) => break,
                }
            }
            self.report_deaths();
            self.carry_out();
            self.push_what_waited();
            self.watch_freshness();
            self.clients.flush();
        }
        let why = self.stop.flatten();
        if let Some(why) = &why {
            tracing::error!(%why, "the node stops");
        }
        let _ = self.notify.send(Notice::Stopped { why });
    }

    /// Until the replica, or the age of what is shown, needs attention.
    fn time_left(&self) -> Duration {
        let now = clock::moment();
        let tick = self.replica.next_deadline();
        let others = [self.next_report(), self.calm.next_deadline()].into_iter().flatten();
        let tick = others.fold(tick, tenure_core::Moment::min).since(now);
        match self.replica.contact_age(now) {
            Some(age) if self.known => tick.min(self.freshness.0.saturating_sub(age)),
            _ => tick,
        }
    }

    fn take_in(&mut self, happening: Happening) {
        match happening {
            Happening::Time => self.replica.handle(Input::Tick, clock::now()),
            Happening::Disk(DiskEvent::Persisted(number)) => {
                tracing::debug!(number, "durable");
                self.replica.handle(Input::Persisted(number), clock::now());
            }
            Happening::Disk(DiskEvent::Failed(error)) => {
                self.stop = Some(Some(error.to_string()));
            }
            Happening::Control(Control::Attach(ends)) => self.transport.attach(ends),
            Happening::Control(Control::Stop) => {
                self.ending = true;
                self.replica.handle(Input::HandOver, clock::now());
            }
            Happening::Transport(event) => self.on_transport(event),
        }
    }

    /// Carries out what the replica wants, in its order.
    fn carry_out(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.replica.handle(Input::Tick, clock::now());
        }
        let mut waiting = BTreeSet::new();
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Persist(persist) => {
                    tracing::debug!(number = persist.number, "to disk");
                    self.disk.write(persist);
                }
                Output::Send { to, frame } => {
                    if let Some(link) = self.transport.link(to) {
                        link.push(&frame);
                        waiting.insert(to);
                    }
                }
                Output::Reply { client, number, answer } => self.on_answer(client, number, answer),
                Output::Publish(events) => self.publish(&events),
                Output::Role { role, term, leader } => {
                    tracing::info!(?role, term, ?leader, "role");
                    let _ = self.notify.send(Notice::Role { role, term, leader });
                }
                Output::HandedOver => self.stop = Some(None),
                Output::Stop { why } => self.stop = Some(Some(why)),
            }
        }
        // Nodes first: there are few of them, and each tells its own clients.
        for link in waiting.iter().filter_map(|id| self.transport.link(*id)) {
            link.flush();
        }
        self.clients.flush();
    }

    fn publish(&mut self, events: &[Event]) {
        for event in events {
            tracing::debug!(revision = event.revision.get(), ?event.kind, "applied");
        }
        if events.is_empty() || events.iter().any(|event| event.kind.is_about_members()) {
            self.meet_members();
        }
        if events.is_empty() {
            // A snapshot took the place of many changes: whoever follows an election may have
            // missed an eviction, and must hear of it before a renewal is acknowledged.
            return self.push_all_followed();
        }
        // What was not known a moment ago is told to everybody by `watch_freshness`.
        // Whoever followed a thousand elections that changed together is told how they stand.
        let many = events.len() > MANY;
        let now = clock::moment();
        for events in events.chunk_by(|one, next| one.kind.election() == next.kind.election()) {
            let Some(election) = events[0].kind.election() else { continue };
            let followers = self.subscriptions.followers(election, Interest::Contends);
            if followers.is_empty() {
                continue;
            }
            let told = match many && events.iter().any(|event| !event.kind.can_wait()) {
                true => Some(Vec::new()),
                false => self.calm.pass(election, events.to_vec(), followers.len(), now),
            };
            if let Some(events) = told {
                let push = self.freshness.push(&self.replica, election, events, now);
                self.tell(followers, push);
            }
        }
    }

    fn push_what_waited(&mut self) {
        let now = clock::moment();
        for (election, events) in self.calm.due(now) {
            let followers = self.subscriptions.followers(&election, Interest::Contends);
            let push = self.freshness.push(&self.replica, &election, events, now);
            self.tell(followers, push);
        }
    }

    /// Pushes to clients. While this node does not know, contenders believe nothing that it says:
    /// what was said meanwhile is said again as soon as it knows.
    fn tell(&mut self, clients: impl IntoIterator<Item = u64>, push: Push) {
        if push.sighting.view == View::Unknown {
            self.unbelieved.insert(push.election.clone());
        }
        self.clients.push_all(clients, push);
    }

    /// Tells observers when this node begins or ceases to know, and contenders what they could not
    /// believe until now. Not everybody about everything: that is a hundred thousand words, by a
    /// node that just had too much to do.
    fn watch_freshness(&mut self) {
        let known = self.freshness.is_known(&self.replica, clock::moment());
        if known == self.known {
            return;
        }
        self.known = known;
        let unbelieved = if known { std::mem::take(&mut self.unbelieved) } else { BTreeSet::new() };
        for election in self.followed(Interest::Observes) {
            if !unbelieved.contains(&election) {
                self.tell_how_it_stands(&election, Interest::Observes);
            }
        }
        for election in unbelieved {
            self.tell_how_it_stands(&election, Interest::Contends);
        }
    }

    /// Tells everybody how what they follow stands.
    fn push_all_followed(&mut self) {
        for election in self.followed(Interest::Contends) {
            self.tell_how_it_stands(&election, Interest::Contends);
        }
    }

    fn tell_how_it_stands(&mut self, election: &ElectionName, least: Interest) {
        let push = self.freshness.push(&self.replica, election, Vec::new(), clock::moment());
        self.tell(self.subscriptions.followers(election, least), push);
    }

    fn followed(&self, least: Interest) -> BTreeSet<ElectionName> {
        let by_name = self.subscriptions.elections().filter(|(_, interest)| *interest >= least);
        let mut elections: BTreeSet<_> = by_name.map(|(election, _)| election.clone()).collect();
        if self.subscriptions.has_prefixes() {
            let all = self.replica.ledger().elections("");
            elections.extend(all.map(|(name, _)| name.clone()));
        }
        elections
    }

    fn meet_members(&mut self) {
        let members = self.replica.ledger().members();
        if let Some(addresses) = self.peers.update(members) {
            self.transport.set_peers(addresses);
            if members.iter().len() > 0 {
                self.transport.set_members(members);
            }
        }
    }
}
