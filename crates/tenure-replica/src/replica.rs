//! The machine: inputs in, outputs out.

mod apply;
mod config;
mod hand_over;
mod leader;
mod pacing;
mod peers;
mod shown;
#[cfg(test)]
mod tests;
mod voters;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use core::time::Duration;
use tenure_core::{
    Incarnation, Moment, NodeId, RequestId, SessionId, WallTime, Zone,
    ledger::{Event, Ledger, Outcome, Refusal},
};

use crate::{
    Entry, PeerBody, PeerFrame, Persist, RaftRole, Restored, Wish,
    codec::{self, DecodeError},
    contact::Contact,
    dead::Dead,
    mesh::Mesh,
    pulse::Pulse,
    raft::{Consensus, ConsensusConfig, ConsensusError, Founding, Standing},
    requests::Requests,
    rounds::{Questions, Waiter},
    takeover::Takeover,
};
pub use config::Config;
use hand_over::HandOver;
use leader::Leading;

/// The time, as the shell read it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub moment: Moment,
    /// For history.
    pub wall: WallTime,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Nothing but time.
    Tick,
    /// A frame arrived over the connection with `link`.
    Peer {
        /// The node at the other end of the connection.
        link: NodeId,
        /// What it sent, perhaps for somebody else.
        frame: PeerFrame,
    },
    /// A connection with this node exists.
    PeerUp(NodeId),
    /// The last connection with this node broke. Deliver it after the frames that came before.
    PeerLost {
        /// The node.
        peer: NodeId,
        /// Whether the death of its process is proved.
        proven: bool,
    },
    /// A client of this node asks.
    Asked {
        /// The shell's key of the client.
        client: u64,
        /// The client's own number for the question.
        number: u64,
        /// The question.
        ask: Ask,
    },
    /// The disk has everything up to this [`Persist::number`].
    Persisted(u64),
    /// These members, nodes without a log, are connected with this node, each in the zone that
    /// it says. To be given on every change.
    Members(BTreeMap<NodeId, Option<Zone>>),
    /// This process was seen dead, by a pidfd that was taken race-free.
    Died {
        /// The process.
        process: Incarnation,
        /// When that was seen.
        observed: WallTime,
    },
    /// This node is to end. One that leads the quorum hands it over first, while it still
    /// answers; [`Output::HandedOver`] comes when there is nothing to wait for.
    HandOver,
}

/// What a client may ask of a replica. Reads that need not be current are answered by the
/// shell from [`Replica::ledger`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Carry out a wish.
    Wish(RequestId, Wish),
    /// Renew these sessions; with none, only confirm that what this node shows is current.
    Confirm(Vec<SessionId>),
    /// Hand the Raft leadership to this node, or to the best one.
    TransferQuorum(Option<NodeId>),
}

/// What a client is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The wish has this outcome, and this node shows it.
    Outcome(Outcome),
    /// A quorum stood behind the Raft leader after the question came; these sessions are gone.
    Confirmed {
        /// Sessions that are not open.
        gone: Vec<SessionId>,
    },
    /// Sent on; whether it happens shows in the status.
    Accepted,
    /// No quorum answered in time: a wish may still be carried out, its outcome is unknown.
    Unavailable {
        /// Why, in words.
        why: String,
    },
}

/// The shell must do this, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make it durable, then give [`Input::Persisted`]. What depends on it comes out after.
    Persist(Persist),
    /// Send to this neighbour, if there is a connection; frames may be lost.
    Send {
        /// The next hop.
        to: NodeId,
        /// What to send.
        frame: PeerFrame,
    },
    /// Answer a client.
    Reply {
        /// The shell's key of the client.
        client: u64,
        /// The client's own number for the question.
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// These changes are committed, and [`Replica::ledger`] shows them.
    Publish(Vec<Event>),
    /// The role, the term or the Raft leader changed.
    Role {
        /// This node's part.
        role: RaftRole,
        /// The term.
        term: u64,
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// This node leads nothing (any more), or nobody took it over in time: it may end.
    HandedOver,
    /// The node must stop: its log holds what it cannot read, or it was removed.
    Stop {
        /// Why, and what to do next.
        why: String,
    },
}

/// Why a replica could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Raft library refused what the disk gave back. Nothing was changed.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The snapshot cannot be read. Nothing was changed.
    #[error("the snapshot at index {index} cannot be read: {source}")]
    Snapshot {
        /// Index of the snapshot.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// One replica of the ledger.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    consensus: Consensus,
    ledger: Ledger,
    /// Committed, and not applied yet.
    to_apply: VecDeque<Entry>,
    /// Of the last applied membership: asked for with every frame.
    voters: Vec<NodeId>,
    mesh: Mesh,
    contact: Contact,
    pulse: Pulse,
    takeover: Takeover,
    requests: Requests,
    questions: Questions,
    /// What only the Raft leader has.
    leading: Option<Leading>,
    /// Processes proved dead whose sessions may still be open.
    dead: Dead,
    standing: Standing,
    next_tick: Moment,
    applied_since_snapshot: u64,
    /// Size of the last snapshot.
    snapshot_bytes: usize,
    said_hello: Option<NodeId>,
    /// Members connected here and their zones, and when the Raft leader is told again.
    members_here: (BTreeMap<NodeId, Option<Zone>>, Moment),
    /// This node is to end.
    hand_over: Option<HandOver>,
    outputs: VecDeque<Output>,
}

/// Wishes that travel together, and enter the log together.
const WISHES_IN_ONE_FRAME: usize = 64;
/// The Raft leader is told this often which members are there.
const TELL_MEMBERS: Duration = Duration::from_secs(1);
/// Zones that are told at once; the others follow.
const TOLD_AT_ONCE: usize = 64;

impl Replica {
    /// Starts from what the disk gave back, or, on a new disk, from `founding`: the ledger of a
    /// new cluster, the same on every founding node. A node that joins a running cluster has
    /// neither.
    ///
    /// # Errors
    /// [`StartError`] when what the disk gave back cannot be used; nothing was changed.
    pub fn start(
        config: Config,
        restored: Restored,
        founding: Option<Ledger>,
        seed: u64,
        now: Now,
    ) -> Result<Self, StartError> {
        let founded = founding.as_ref().and_then(|ledger| {
            let membership = apply::membership_of(ledger)?;
            Some(Founding { membership, data: codec::encode(ledger) })
        });
        let ledger = match &restored.snapshot {
            Some(snapshot) => codec::decode(&snapshot.data)
                .map_err(|source| StartError::Snapshot { index: snapshot.index, source })?,
            None => founding.unwrap_or_default(),
        };
        let ticks = |duration: Duration| {
            usize::try_from(duration.as_nanos() / config.tick().as_nanos()).unwrap_or(usize::MAX)
        };
        let settings = ConsensusConfig {
            id: config.id,
            heartbeat_ticks: ticks(config.heartbeat),
            election_ticks: ticks(config.election_timeout),
            log_tail: config.log_tail,
        };
        let snapshot_bytes = restored.snapshot.as_ref().map_or(0, |it| it.data.len());
        let consensus = Consensus::new(settings, restored, founded, seed)?;
        let mut replica = Self {
            mesh: Mesh::new(config.id, config.dark_after(), config.heartbeat),
            ledger,
            to_apply: VecDeque::new(),
            voters: Vec::new(),
            contact: Contact::default(),
            pulse: Pulse::new(
                config.election_timeout,
                config.heartbeat,
                config.election_timeout_least,
            ),
            takeover: Takeover::default(),
            requests: Requests::default(),
            questions: Questions::default(),
            leading: None,
            dead: Dead::new(now.moment),
            standing: consensus.standing(),
            consensus,
            next_tick: now.moment + config.tick(),
            applied_since_snapshot: 0,
            snapshot_bytes,
            said_hello: None,
            members_here: (BTreeMap::new(), now.moment),
            hand_over: None,
            outputs: VecDeque::new(),
            config,
        };
        replica.members_changed();
        if replica.voters == [replica.config.id] {
            // Nobody else to wait for.
            replica.consensus.campaign();
        }
        replica.settle(now);
        Ok(replica)
    }

    /// Takes a question of a client in and does nothing about it yet: whoever takes in many
    /// together gives [`Input::Tick`] after the last, and all of them share what follows.
    pub fn ask(&mut self, client: u64, number: u64, ask: Ask, now: Now) {
        self.on_ask(Waiter { client, number }, ask, now);
    }

    /// Takes one input in. Moments never go back.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.pass_time(now);
        match input {
            Input::Tick => {}
            Input::Peer { link, frame } => self.on_frame(link, frame, now),
            Input::PeerUp(peer) => self.mesh.arrived(peer, now.moment),
            Input::PeerLost { peer, proven } => self.on_peer_lost(peer, proven, now),
            Input::Asked { client, number, ask } => {
                self.on_ask(Waiter { client, number }, ask, now);
            }
            Input::Persisted(number) => self.consensus.persisted(number),
            Input::Members(members) => self.members_here.0 = members,
            Input::Died { process, observed } => self.on_death(process, observed, now),
            Input::HandOver => self.on_hand_over(now),
        }
        self.settle(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] must be given at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        if !self.to_apply.is_empty() {
            return Moment::default();
        }
        let ticks = u32::try_from(self.consensus.ticks_until_action()).unwrap_or(u32::MAX);
        let tick = self.next_tick + self.tick() * ticks.saturating_sub(1);
        // What is for the Raft leader waits, without a deadline, until there is one.
        let for_leader = self.leader().map(|_| {
            let report = self.dead.next_deadline();
            let questions = self.questions.next_deadline(2 * self.config.heartbeat);
            [self.requests.next_deadline(), questions, report].into_iter().flatten().min()
        });
        [
            self.mesh.next_deadline(),
            self.takeover.next_deadline(),
            self.leading.as_ref().and_then(Leading::next_deadline),
            for_leader.flatten(),
            self.hand_over.as_ref().map(HandOver::deadline),
        ]
        .into_iter()
        .flatten()
        .fold(tick, Moment::min)
    }

    /// The state that the committed log has led to, as far as this node has applied it.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn leader(&self) -> Option<NodeId> {
        self.standing.leader
    }

    // Clients

    fn on_ask(&mut self, waiter: Waiter, ask: Ask, now: Now) {
        match ask {
            Ask::Wish(request, wish) => {
                if !self.requests.add(request, waiter, now.wall, wish, now.moment) {
                    let why = String::from("this node has too many requests under way");
                    self.reply(waiter, Answer::Unavailable { why });
                }
            }
            Ask::Confirm(sessions) => self.questions.ask(waiter, sessions, now.moment),
            Ask::TransferQuorum(to) => {
                let answer = match self.leader() {
                    Some(_) => Answer::Accepted,
                    None => Answer::Unavailable { why: self.why_unknown(now.moment) },
                };
                self.tell_leader(PeerBody::TransferQuorum { to }, now);
                self.reply(waiter, answer);
            }
        }
    }

    fn reply(&mut self, waiter: Waiter, answer: Answer) {
        let Waiter { client, number } = waiter;
        self.outputs.push_back(Output::Reply { client, number, answer });
    }

    fn refuse(&mut self, request: RequestId, refusal: &Refusal) {
        for waiter in self.requests.take(request) {
            self.reply(waiter, Answer::Outcome(Outcome::Refused(refusal.clone())));
        }
    }

    fn on_death(&mut self, process: Incarnation, observed: WallTime, now: Now) {
        self.dead.learned(process, observed, now.moment);
    }

    // Time and effects

    fn pass_time(&mut self, now: Now) {
        if self.has_slept(now.moment) {
            self.pulse.woke_late(now.moment.since(self.next_tick.max(self.next_deadline())));
            // What others sent meanwhile is still unread, so the silence proves nothing: let one
            // tick pass and read first.
            self.next_tick = now.moment;
            self.pulse.begin_again();
        }
        while self.next_tick <= now.moment {
            let acts = self.consensus.ticks_until_action() == 1;
            let planned = self.next_tick;
            self.next_tick = planned + self.tick();
            if acts {
                self.begin_round(now, true);
                if self.leading.is_some() {
                    self.pulse.woke_late(now.moment.since(planned));
                }
            }
            self.consensus.tick();
            if acts {
                self.note_silence(now.moment);
            }
        }
        self.follow_pulse(now);
        for (to, rows) in self.mesh.pings_due(now.moment) {
            let frame = self.frame(to, PeerBody::Ping(rows), now);
            self.outputs.push_back(Output::Send { to, frame });
        }
        let patience = self.config.patience;
        let lost = self.requests.give_up(now.moment, patience);
        let unanswered = self.questions.give_up(now.moment, patience);
        if !lost.is_empty() || !unanswered.is_empty() {
            let why = self.why_unknown(now.moment);
            for waiter in lost.into_iter().chain(unanswered) {
                self.reply(waiter, Answer::Unavailable { why: why.clone() });
            }
        }
    }

    /// Whether this process was away. A lone voter has nobody to ping, and nothing wakes it
    /// before its time-out, which is longer than the shortest one: what counts is how late it
    /// wakes.
    fn has_slept(&self, now: Moment) -> bool {
        let limit = self.pulse.timeout();
        let late = |wakes_at: Moment| now.since(wakes_at) > limit;
        late(self.next_tick) && late(self.next_tick.max(self.next_deadline()))
    }

    /// Carries out everything that follows from the input, until nothing does, or until so much
    /// was applied that the rest must wait.
    fn settle(&mut self, now: Now) {
        // A node that has just been elected proposes what waits (the end of a dead leader's
        // session, say) before its first entry leaves: both then take one round and one flush.
        self.note_role(now);
        self.attempt_takeover(now);
        self.note_role(now);
        self.pursue_hand_over(now.moment);
        self.lead(now);
        self.send_wishes(now);
        let mut room = self.config.changes_at_once;
        self.apply_some(&mut room, now);
        loop {
            while let Some(ready) = self.consensus.ready() {
                self.carry_out(ready, now);
                self.apply_some(&mut room, now);
                self.lead(now);
                self.send_wishes(now);
            }
            // A snapshot is itself something to write, and to send to whoever waits for it.
            if !self.snapshot_if_due() {
                break;
            }
        }
        self.note_contact(now.moment);
        for confirmation in self.questions.ready(self.consensus.applied()) {
            let answer = Answer::Confirmed { gone: confirmation.gone };
            self.reply(confirmation.waiter, answer);
        }
    }

    fn send_wishes(&mut self, now: Now) {
        let Some(_) = self.leader() else { return };
        loop {
            let due = std::iter::from_fn(|| self.requests.next_due(now.moment));
            let wishes: Vec<_> = due.take(WISHES_IN_ONE_FRAME).collect();
            if wishes.is_empty() {
                break;
            }
            self.tell_leader(PeerBody::Wishes(wishes), now);
        }
        self.propose_wishes();
        // The Raft leader may let it wait for a heartbeat.
        let patience = 2 * self.config.heartbeat;
        while let Some((number, sessions)) = self.questions.next(now.moment, patience) {
            self.tell_leader(PeerBody::Confirm { number, sessions }, now);
        }
        let has_session = |process| self.ledger.sessions_of(process).next().is_some();
        for (process, observed) in self.dead.due(now.moment, has_session) {
            self.tell_leader(PeerBody::Dead { process, observed }, now);
        }
        self.say_hello(now);
        if self.members_here.1 <= now.moment {
            self.members_here.1 = now.moment + TELL_MEMBERS;
            self.tell_members(now);
        }
    }

    /// Tells which members are here, and who says to be elsewhere than the log has it.
    fn tell_members(&mut self, now: Now) {
        let (here, known) = (&self.members_here.0, self.ledger.members());
        let members: BTreeSet<NodeId> = here.keys().copied().collect();
        let own = (&self.config.id, &self.config.zone);
        let elsewhere = |(id, zone): &(&NodeId, &Option<Zone>)| {
            known.get(**id).is_some_and(|member| member.zone != **zone)
        };
        let moved = here.iter().chain([own]).filter(elsewhere).take(TOLD_AT_ONCE);
        let moved: BTreeMap<_, _> = moved.map(|(id, zone)| (*id, zone.clone())).collect();
        if self.config.replace_after.is_some() && !members.is_empty() {
            self.tell_leader(PeerBody::Members(members), now);
        }
        if !moved.is_empty() {
            self.tell_leader(PeerBody::Located(moved), now);
        }
    }

    /// Tells the Raft leader, itself included.
    fn tell_leader(&mut self, body: PeerBody, now: Now) {
        match self.leader() {
            Some(leader) if leader == self.config.id => {
                self.on_body(self.config.id, body, now);
            }
            Some(leader) => self.send(leader, body, now),
            None => {}
        }
    }

    /// A first node tells which data directory it carries, so that it cannot come back with an
    /// empty one under its old id.
    fn say_hello(&mut self, now: Now) {
        let unknown = |member: &tenure_core::ledger::Member| member.directory.is_none();
        let leader = self.leader();
        if self.said_hello != leader
            && self.ledger.members().get(self.config.id).is_some_and(unknown)
        {
            self.said_hello = leader;
            self.tell_leader(PeerBody::Hello { directory: self.config.directory }, now);
        }
    }
}
