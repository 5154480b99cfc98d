//! The clients of this node: what they ask, what they are answered.

use std::collections::BTreeMap;

use tenure_core::{
    ElectionName, Incarnation, NodeId, NodeName, Revision, SessionId, Zone,
    ledger::{Command, Outcome, Role},
};
use tenure_replica::{Answer, Ask, Input, Wish};

use super::{
    super::{connections::Guest, reads, rights, subscriptions::Interest},
    Driver,
};
use crate::{
    clock,
    storage::Identity,
    transport::Broadcast,
    wire::{ClientFrame, ClusterView, NodeFrame, Push, Question, Reply},
};

/// What the answer of the replica is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expecting {
    Outcome,
    Renewed(SessionId),
    /// A member's.
    Alive(Vec<SessionId>),
    Confirmed,
    Accepted,
}

/// Connected clients and their open questions.
#[derive(Debug)]
pub(super) struct Clients {
    identity: Identity,
    name: NodeName,
    connected: BTreeMap<u64, Guest>,
    expecting: BTreeMap<(u64, u64), Expecting>,
    /// Who was told how the elections of which session stand, up to which revision of joining.
    caught_up: BTreeMap<(u64, SessionId), Revision>,
    /// Clients for whom something waits to leave, in the order in which it was said.
    unsent: Vec<u64>,
}

impl Clients {
    pub(super) fn new(identity: Identity, name: NodeName, connected: BTreeMap<u64, Guest>) -> Self {
        Self {
            identity,
            name,
            connected,
            expecting: BTreeMap::new(),
            caught_up: BTreeMap::new(),
            unsent: Vec::new(),
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn add(&mut self, client: u64, guest: Guest) {
        self.connected.insert(client, guest);
    }

    fn member(&self, client: u64) -> Option<NodeId> {
        let member = self.connected.get(&client)?.member.as_ref()?;
        Some(member.id)
    }

    /// Forgets a client; whether it was a member.
    pub(super) fn remove(&mut self, client: u64) -> bool {
        let left = self.connected.remove(&client);
        let open: Vec<_> = self.expecting.range((client, 0)..=(client, u64::MAX)).collect();
        let open: Vec<_> = open.into_iter().map(|(key, _)| *key).collect();
        for key in open {
            self.expecting.remove(&key);
        }
        self.caught_up.retain(|(of, _), _| *of != client);
        left.is_some_and(|guest| guest.member.is_some())
    }

    /// The members that are connected, each in the zone that it says.
    pub(super) fn members(&self) -> BTreeMap<NodeId, Option<Zone>> {
        let members = self.connected.values().filter_map(|guest| guest.member.clone());
        members.map(|member| (member.id, member.zone)).collect()
    }

    /// Encoded once for all.
    pub(super) fn push_all(&mut self, clients: impl IntoIterator<Item = u64>, push: Push) {
        let frame = Broadcast::new(NodeFrame::Push(Box::new(push)));
        for client in clients {
            if let Some(connected) = self.connected.get(&client) {
                connected.to.push(&frame);
                self.note_unsent(client);
            }
        }
    }

    fn reply(&mut self, client: u64, number: u64, reply: Reply) {
        self.send(client, NodeFrame::Answer { number, reply });
    }

    fn send(&mut self, client: u64, frame: NodeFrame) {
        if let Some(connected) = self.connected.get(&client) {
            connected.to.queue(frame);
            self.note_unsent(client);
        }
    }

    fn note_unsent(&mut self, client: u64) {
        if self.unsent.last() != Some(&client) {
            self.unsent.push(client);
        }
    }

    /// Lets everything leave that was said: many frames for one client with one write.
    pub(super) fn flush(&mut self) {
        for client in self.unsent.drain(..) {
            if let Some(connected) = self.connected.get(&client) {
                connected.to.flush();
            }
        }
    }

    /// Whether a client may wish this.
    fn allows(&self, client: u64, process: Incarnation, wish: &Wish) -> Result<(), &'static str> {
        let Some(connected) = self.connected.get(&client) else { return Err("unknown client") };
        // A member has compared the names already.
        let speaks_for = connected.member.is_none().then_some(connected.process);
        rights::check(speaks_for, process, wish)
    }
}

impl Driver {
    pub(super) fn on_question(&mut self, client: u64, frame: ClientFrame) {
        let ClientFrame { number, question } = frame;
        let now = clock::moment();
        let freshness = self.freshness;
        match question {
            Question::Wish { request, wish } => {
                if let Err(why) = self.clients.allows(client, request.process, &wish) {
                    let why = why.to_owned();
                    return self.clients.reply(client, number, Reply::Denied { why });
                }
                // Followed before it can be granted: the client misses no word about it.
                if let Wish::Command(Command::Campaign { election, .. }) = &wish {
                    self.subscriptions.follow(client, election.clone(), Interest::Contends);
                }
                self.ask(client, number, Expecting::Outcome, Ask::Wish(request, wish));
            }
            Question::Renew { session } => {
                let expecting = Expecting::Renewed(session);
                self.ask(client, number, expecting, Ask::Confirm(vec![session]));
            }
            Question::KeepAlive { sessions } => {
                let expecting = Expecting::Alive(sessions.clone());
                self.ask(client, number, expecting, Ask::Confirm(sessions));
            }
            Question::Died { process, observed } => self.on_told(client, number, process, observed),
            Question::Confirm => {
                self.ask(client, number, Expecting::Confirmed, Ask::Confirm(Vec::new()));
            }
            Question::TransferQuorum { to } => self.transfer_quorum(client, number, to.as_ref()),
            Question::Subscribe { elections, prefix, contends } => {
                let interest = if contends { Interest::Contends } else { Interest::Observes };
                self.subscribe(client, elections, prefix, interest);
                self.clients.reply(client, number, Reply::Subscribed);
            }
            Question::View { election } => {
                let sighting = freshness.sighting(&self.replica, &election, now);
                self.clients.reply(client, number, Reply::View(sighting));
            }
            Question::List { prefix } => {
                let list = freshness.list(&self.replica, &prefix, now);
                self.clients.reply(client, number, Reply::List(list));
            }
            Question::Detail { election } => {
                let detail = freshness.detail(&self.replica, &election, now).map(Box::new);
                self.clients.reply(client, number, Reply::Detail(detail));
            }
            Question::Voters => {
                let members = self.replica.ledger().members().iter();
                let keeping = members.filter(|(_, member)| member.role != Role::Member);
                let addresses = keeping.map(|(_, member)| member.address.clone()).collect();
                self.clients.reply(client, number, Reply::Voters(addresses));
            }
            Question::Ping => self.clients.reply(client, number, Reply::Pong),
            Question::Cluster => {
                let view = Box::new(self.cluster_view());
                self.clients.reply(client, number, Reply::Cluster(view));
            }
        }
    }

    fn ask(&mut self, client: u64, number: u64, expecting: Expecting, ask: Ask) {
        self.clients.expecting.insert((client, number), expecting);
        self.replica.ask(client, number, ask, clock::now());
        self.asked = true;
    }

    pub(super) fn on_answer(&mut self, client: u64, number: u64, answer: Answer) {
        let Some(expecting) = self.clients.expecting.remove(&(client, number)) else { return };
        let reply = match (expecting, answer) {
            (_, Answer::Unavailable { why }) => Reply::Unavailable { why },
            (_, Answer::Outcome(outcome)) => Reply::Outcome(outcome),
            (Expecting::Renewed(session), Answer::Confirmed { gone })
                if gone.contains(&session) =>
            {
                self.clients.caught_up.remove(&(client, session));
                Reply::Gone
            }
            (Expecting::Renewed(session), Answer::Confirmed { .. }) => {
                // While this node did not know, it passed no news on that could be believed:
                // they go first.
                self.watch_freshness();
                let all = self.clients.member(client).is_some();
                self.catch_up(client, session, all);
                Reply::Renewed
            }
            (Expecting::Alive(sessions), Answer::Confirmed { gone }) => {
                self.watch_freshness();
                for session in sessions {
                    match gone.contains(&session) {
                        true => _ = self.clients.caught_up.remove(&(client, session)),
                        false => self.catch_up(client, session, false),
                    }
                }
                Reply::Alive { gone, role: self.role_of(client) }
            }
            (_, Answer::Confirmed { .. }) => Reply::Confirmed,
            (_, Answer::Accepted) => Reply::Accepted,
        };
        self.clients.reply(client, number, reply);
    }

    /// A member saw a process die that it serves.
    fn on_told(
        &mut self,
        client: u64,
        number: u64,
        process: Incarnation,
        observed: tenure_core::WallTime,
    ) {
        if self.clients.member(client).is_none() {
            let why = String::from("only a node may prove deaths");
            return self.clients.reply(client, number, Reply::Denied { why });
        }
        self.replica.handle(Input::Died { process, observed }, clock::now());
        self.clients.reply(client, number, Reply::Accepted);
    }

    fn role_of(&self, client: u64) -> Option<Role> {
        let id = self.clients.member(client)?;
        self.replica.ledger().members().get(id).map(|member| member.role)
    }

    /// A renewal must never be believed ahead of news about what the session holds: a client
    /// that came over from another node is told how its elections stand first. A member renews
    /// a session alone when one of its own clients came over to it: with `all`, it is told what
    /// it has heard already, since that client has not.
    fn catch_up(&mut self, client: u64, session: SessionId, all: bool) {
        let id = session;
        let Some(session) = self.replica.ledger().session(id) else { return };
        // A session may lead a thousand elections, and renews several times a second.
        let before = self.clients.caught_up.insert((client, id), session.joined());
        if before == Some(session.joined()) && !all {
            return;
        }
        let elections: Vec<ElectionName> = session
            .elections()
            .filter(|election| all || !self.subscriptions.follows(client, election))
            .cloned()
            .collect();
        self.subscribe(client, elections, None, Interest::Contends);
    }

    fn subscribe(
        &mut self,
        client: u64,
        elections: Vec<ElectionName>,
        prefix: Option<String>,
        interest: Interest,
    ) {
        let now = clock::moment();
        let mut shown = elections.clone();
        for election in elections {
            self.subscriptions.follow(client, election, interest);
        }
        if let Some(prefix) = prefix {
            let present = self.replica.ledger().elections(&prefix);
            shown.extend(present.map(|(name, _)| name.clone()));
            self.subscriptions.follow_prefix(client, prefix);
        }
        for election in shown {
            let push = self.freshness.push(&self.replica, &election, Vec::new(), now);
            self.tell([client], push);
        }
    }

    fn transfer_quorum(&mut self, client: u64, number: u64, to: Option<&NodeName>) {
        let members = self.replica.ledger().members();
        let target = match to {
            None => None,
            Some(name) => match members.find(name) {
                Some((id, _)) => Some(id),
                None => {
                    let refusal = tenure_core::ledger::Refusal::Member {
                        why: format!("no node is named {name}"),
                    };
                    let reply = Reply::Outcome(Outcome::Refused(refusal));
                    return self.clients.reply(client, number, reply);
                }
            },
        };
        self.ask(client, number, Expecting::Accepted, Ask::TransferQuorum(target));
    }

    fn cluster_view(&self) -> ClusterView {
        let ledger = self.replica.ledger();
        ClusterView {
            cluster: self.clients.identity.cluster,
            node: self.clients.name.clone(),
            pid: std::process::id(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            members: reads::members(ledger),
            status: self.replica.status(clock::moment()),
            revision: ledger.revision(),
            sessions: ledger.sessions().count() as u64,
            elections: ledger.all_elections().len() as u64,
            at: clock::wall(),
            refused: self.transport.refusals().counts(),
        }
    }
}
