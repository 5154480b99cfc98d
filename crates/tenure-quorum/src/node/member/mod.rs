//! A node without a log: it serves the processes near it, its own candidates among them,
//! through one connection with a voter, and becomes a replica when it is enrolled.

mod relay;

use core::time::Duration;
use tenure_core::{Incarnation, ledger::Role};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};

use super::{
    NodeError,
    connections::{Connections, Guest},
    driver::{About, Control},
    identity::Joined,
};
use crate::{
    client::{Client, ClientEvent, ClientOptions, Endpoint},
    clock,
    transport::{Broadcast, TransportEvent},
    wire::{ClientFrame, Dialler, NodeFrame, Reply},
};
use relay::{Effect, Pace, Relay};

/// Events taken in before what follows from them is carried out.
const BURST: usize = 64;

/// How the life of a member ended.
pub(super) enum Ended {
    /// It was asked to stop, or must, with the reason.
    Stopped(Option<String>),
    /// It is to keep the log from now on.
    Enrolled(Box<Enrolled>),
}

/// What a member leaves to the replica that it becomes.
pub(super) struct Enrolled {
    pub(super) joined: Joined,
    pub(super) connections: Connections,
    /// Questions that were not answered yet.
    pub(super) open: Vec<(u64, ClientFrame)>,
}

enum Happening {
    Transport(TransportEvent),
    Upstream(Option<ClientEvent>),
    Control(Control),
    Time,
}

/// The state of the loop.
pub(super) struct Member {
    joined: Joined,
    connections: Connections,
    relay: Relay,
    upstream: Client,
    heard: Receiver<ClientEvent>,
    over: Option<Over>,
}

/// Why the loop is left.
enum Over {
    Stopped(Option<String>),
    Enrolled,
}

impl Member {
    /// Begins to serve; the voters are looked for meanwhile.
    pub(super) fn start(joined: Joined, connections: Connections) -> Result<Self, NodeError> {
        connections.transport.take_nodes(false);
        let config = &joined.config;
        let every = config.election_timeout * 2;
        let identity = &joined.identity;
        let voters = joined.voters.iter().cloned().map(Endpoint::Tcp);
        let options = ClientOptions {
            cluster: Some(identity.cluster),
            silence: every.max(Duration::from_millis(500)),
            local_proof: config.local_proof,
            process: Some(connections.transport.identity().incarnation),
            preference: Some(identity.directory),
            ..ClientOptions::default()
        };
        let dialler = Dialler::Member {
            id: identity.node,
            name: identity.name.clone(),
            directory: identity.directory,
            zone: config.zone.clone(),
        };
        let failed = |source| NodeError::Join { contacts: joined.voters.join(", "), source };
        let (upstream, _) = Client::begin(voters.collect(), dialler, &options).map_err(failed)?;
        let heard = upstream.subscribe_raw();
        let pace = Pace { every, limit: every * 3, patience: Duration::from_secs(5) };
        Ok(Self { joined, connections, relay: Relay::new(pace), upstream, heard, over: None })
    }

    pub(super) fn about(&self) -> About {
        self.connections.about(&self.joined.address)
    }

    pub(super) async fn run(mut self, control: &mut UnboundedReceiver<Control>) -> Ended {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        while self.over.is_none() {
            let now = clock::moment();
            let left = self.relay.next_deadline().map(|deadline| deadline.since(now));
            let left = left.unwrap_or(Duration::from_secs(60));
            timer.as_mut().reset(tokio::time::Instant::now() + left);
            let happening = tokio::select! {
                biased;
                event = self.heard.recv() => Happening::Upstream(event),
                Some(event) = self.connections.events.recv() => Happening::Transport(event),
                order = control.recv() => Happening::Control(order.unwrap_or(Control::Stop)),
                () = &mut timer => Happening::Time,
            };
            self.take_in(happening);
            for _ in 0..BURST {
                let next = self.heard.try_recv().map(|event| Happening::Upstream(Some(event)));
                let next =
                    next.or_else(|_| self.connections.events.try_recv().map(Happening::Transport));
                match next {
                    Ok(happening) => self.take_in(happening),
                    Err(_) => break,
                }
            }
            self.relay.pass_time(clock::moment());
            self.carry_out();
        }
        match self.over {
            Some(Over::Enrolled) => {
                let (subscriptions, open) = self.relay.hand_over();
                let connections = Connections { subscriptions, ..self.connections };
                Ended::Enrolled(Box::new(Enrolled { joined: self.joined, connections, open }))
            }
            Some(Over::Stopped(why)) => Ended::Stopped(why),
            None => Ended::Stopped(None),
        }
    }

    fn take_in(&mut self, happening: Happening) {
        match happening {
            Happening::Time => {}
            Happening::Upstream(Some(event)) => self.on_upstream(event),
            Happening::Upstream(None) => self.heard = self.upstream.subscribe_raw(),
            Happening::Control(Control::Attach(ends)) => self.connections.transport.attach(ends),
            Happening::Control(Control::Stop) => self.over = Some(Over::Stopped(None)),
            Happening::Transport(event) => self.on_transport(event),
        }
    }

    fn on_upstream(&mut self, event: ClientEvent) {
        let now = clock::moment();
        match event {
            ClientEvent::Connected(voter) => {
                tracing::info!(voter = %voter.name, "asks this voter from now on");
                self.relay.connected(now);
            }
            ClientEvent::Disconnected { why } => self.relay.disconnected(&why),
            ClientEvent::Refused { why } => {
                tracing::error!(%why, "no voter takes this node");
                self.over = Some(Over::Stopped(Some(why)));
            }
            ClientEvent::Frame(frame) => self.relay.heard(frame, now),
        }
    }

    fn on_transport(&mut self, event: TransportEvent) {
        let now = clock::moment();
        match event {
            TransportEvent::ClientUp { client, process, member, to, .. } => {
                self.relay.client_up(client, process);
                self.connections.guests.insert(client, Guest { process, member, to });
            }
            TransportEvent::ClientFrame { client, frame, hold: _hold } => {
                self.relay.asked(client, frame, now);
            }
            TransportEvent::ClientDown { client } => {
                self.relay.client_down(client);
                self.connections.guests.remove(&client);
            }
            TransportEvent::Died { process, observed } => self.on_death(process, observed),
            // Voters speak to a node once they know that it keeps the log; they try again.
            TransportEvent::PeerUp { .. }
            | TransportEvent::PeerFrame { .. }
            | TransportEvent::PeerDown { .. }
            | TransportEvent::Rejected { .. } => {}
        }
    }

    fn on_death(&mut self, process: Incarnation, observed: tenure_core::WallTime) {
        if process != self.connections.transport.identity().incarnation {
            self.relay.died(process, observed, clock::moment());
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.relay.poll() {
            match effect {
                Effect::Answer { client, number, reply } => {
                    let reply = self.in_own_name(reply);
                    if let Some(guest) = self.connections.guests.get(&client) {
                        guest.to.send(NodeFrame::Answer { number, reply });
                    }
                }
                Effect::Push { clients, mut push } => {
                    // Also of what a voter said, which may be on another machine: when this node
                    // learned of it. That it does not know (any more), it learns now.
                    push.mono_ns = clock::monotonic_nanos();
                    let frame = Broadcast::new(NodeFrame::Push(Box::new(push)));
                    for guest in clients.iter().filter_map(|it| self.connections.guests.get(it)) {
                        guest.to.push(&frame);
                        guest.to.flush();
                    }
                }
                // What is lost with the connection is asked again on the next one.
                Effect::Post(frame) => _ = self.upstream.post(frame),
                Effect::Voters(addresses) => self.remember(addresses),
                Effect::Role(Some(Role::Member)) => {}
                Effect::Role(Some(Role::Learner | Role::Voter)) => {
                    self.over = Some(Over::Enrolled);
                    return;
                }
                Effect::Role(None) => {
                    let name = &self.joined.identity.name;
                    let why = format!(
                        "{name} was removed from the cluster; its data directory is of no more \
                         use. To bring this host back: `tenure node --join` with an empty one"
                    );
                    self.over = Some(Over::Stopped(Some(why)));
                }
            }
        }
    }

    /// Where to look after a restart.
    fn remember(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() || addresses == self.joined.voters {
            return;
        }
        if let Err(error) = self.joined.directory.remember_voters(&addresses) {
            tracing::warn!(%error, "cannot write down where the voters are");
        }
        self.joined.voters = addresses;
    }

    /// What a voter said of itself becomes what this node says of itself.
    fn in_own_name(&self, reply: Reply) -> Reply {
        let Reply::Cluster(mut view) = reply else { return reply };
        view.node = self.joined.identity.name.clone();
        view.pid = std::process::id();
        crate::SOFTWARE.clone_into(&mut view.software);
        view.status.id = self.joined.identity.node;
        view.status.role = tenure_replica::RaftRole::Member;
        view.refused = self.connections.transport.refusals().counts();
        Reply::Cluster(view)
    }
}
