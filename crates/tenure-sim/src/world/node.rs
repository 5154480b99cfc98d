//! A node: a real replica, and a shell that feeds it as the real driver does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tenure_core::{
    ElectionName, Incarnation, Moment, NodeId, NodeName, SessionId, WallTime,
    ledger::{Ledger, Members},
};
use tenure_replica::{Config, Input, Now, Replica};

use super::{
    World,
    disk::Disk,
    net::{Close, Line},
    peers::Peer,
};
use crate::{
    event::{Act, Event, Happening, Item, Who},
    faults::Kind,
    mutant::{self, Mutant},
    world::MS,
};

/// What the answer of the replica is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expecting {
    Outcome,
    Renewed(SessionId),
    /// Carries the highest revision that anybody had been told when the question was asked.
    Confirmed,
    Accepted,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: NodeName,
    pub(crate) host: usize,
    pub(crate) directory: u64,
    pub(crate) founding: Option<Ledger>,
    /// Whom a node that joins was told about.
    pub(crate) acquaintances: BTreeSet<NodeId>,
    pub(crate) life: u32,
    pub(crate) replica: Option<Replica>,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Disk,
    pub(crate) paused_until: u64,
    pub(crate) inbox: VecDeque<Happening>,
    pub(crate) wakes_at: u64,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) members: Option<Members>,
    /// Clients by their connection, with the elections that each follows.
    pub(crate) clients: BTreeMap<u64, BTreeSet<ElectionName>>,
    pub(crate) expecting: BTreeMap<(u64, u64), Expecting>,
    pub(crate) known: bool,
    /// Elections of which somebody heard while it did not know.
    pub(crate) unbelieved: BTreeSet<ElectionName>,
    /// It was removed, or its disk is gone: it does not come back.
    pub(crate) retired: bool,
    pub(crate) stop: Option<String>,
    /// How often in a row it wanted to be woken at once.
    pub(crate) spins: u32,
    pub(crate) leads: bool,
}

impl World {
    pub(crate) fn node_moment(&self, at: usize) -> Moment {
        let clock = self.net.hosts[self.nodes[at].host].clock;
        let moment = clock.at(self.now);
        match self.mutant {
            Some(Mutant::FastExpiry) => Moment::from_nanos(moment.as_nanos() / 2 * 3),
            Some(Mutant::WallClockDeadlines) => {
                Moment::from_nanos(clock.wall(self.now).as_micros() * 1000)
            }
            _ => moment,
        }
    }

    fn node_when(&self, at: usize, moment: Moment) -> u64 {
        let clock = self.net.hosts[self.nodes[at].host].clock;
        match self.mutant {
            Some(Mutant::FastExpiry) => {
                clock.when(Moment::from_nanos(moment.as_nanos().div_ceil(3) * 2 + 2))
            }
            Some(Mutant::WallClockDeadlines) => {
                let wall = clock.wall(self.now).as_micros() * 1000;
                self.now + moment.as_nanos().saturating_sub(wall) + 1000
            }
            _ => clock.when(moment),
        }
    }

    pub(crate) fn node_wall(&self, at: usize) -> WallTime {
        self.net.hosts[self.nodes[at].host].clock.wall(self.now)
    }

    pub(crate) fn node_now(&self, at: usize) -> Now {
        Now { moment: self.node_moment(at), wall: self.node_wall(at) }
    }

    pub(crate) fn give(&mut self, at: usize, input: Input) {
        let now = self.node_now(at);
        if let Some(replica) = &mut self.nodes[at].replica {
            replica.handle(input, now);
        }
    }

    pub(crate) fn node_tick(&mut self, at: usize) {
        self.give(at, Input::Tick);
    }

    pub(crate) fn start_node(&mut self, at: usize) {
        if self.nodes[at].retired {
            return;
        }
        let incarnation = self.new_incarnation();
        let mutant_drift = self.mutated(Mutant::NoDrift);
        let seed = self.chance.next();
        let now = self.node_now(at);
        let setup = &self.setup;
        let node = &mut self.nodes[at];
        let drift =
            if mutant_drift { tenure_core::timing::Drift::from_ppm(0) } else { setup.drift() };
        let config = Config {
            heartbeat: setup.heartbeat,
            election_timeout: setup.election_timeout,
            // In some worlds the pulse follows what is measured.
            election_timeout_least: (setup.snapshot_every == 100)
                .then_some(setup.election_timeout / 8),
            drift,
            patience: setup.patience,
            snapshot_every: setup.snapshot_every,
            log_tail: setup.log_tail,
            // In some worlds every larger change is applied in pieces.
            changes_at_once: if setup.snapshot_every == 5 { 8 } else { 2048 },
            // Every node of a world keeps the log.
            keepers: usize::MAX,
            ..Config::new(node.id, node.directory)
        };
        node.life += 1;
        node.incarnation = incarnation;
        let mut restored = node.disk.durable.clone();
        self.law.node_restored(node.id, &restored);
        let removals = self.counts.of(Kind::MemberRemoved) + self.counts.of(Kind::DiskLost);
        if self.mutant == Some(Mutant::TwoChangesAtOnce) && removals > 0 {
            mutant::change_two_at_once(node.id, &mut restored);
        }
        match Replica::start(config, restored, node.founding.clone(), seed, now) {
            Ok(replica) => node.replica = Some(replica),
            Err(error) => {
                let why = format!("node {} cannot start again: {error}", node.id);
                self.law.stops.broken(self.now, why);
                return;
            }
        }
        node.wakes_at = u64::MAX;
        (node.known, node.leads, node.spins, node.stop) = (false, false, 0, None);
        node.members = None;
        node.inbox.clear();
        self.trace.line(self.now, || format!("n{} starts", at + 1));
        self.law.node_started(self.now, &self.nodes[at]);
        self.meet_members(at);
        self.node_follow(at);
    }

    pub(crate) fn at_node(&mut self, at: usize, what: Happening) {
        self.nodes[at].spins = 0;
        match what {
            Happening::Up { conn } => self.peer_or_client_up(at, conn),
            Happening::Down { conn } => self.peer_or_client_down(at, conn),
            Happening::Heard { conn, item } => self.node_hears(at, conn, item),
            Happening::Persisted(number) => {
                self.give(at, Input::Persisted(number));
            }
            Happening::Died { process, node, who } => self.on_death(at, process, node, who),
            Happening::Dial(peer) => self.dial(at, peer),
            Happening::Act(Act::Close) => self.give(at, Input::HandOver),
            Happening::Connect | Happening::Act(_) => {}
        }
    }

    fn node_hears(&mut self, at: usize, conn: u64, item: Item) {
        match item {
            Item::Frame(frame) => {
                let Some(peer) = self.peer_of(at, conn) else { return };
                self.trace.note(&[1, self.now, at as u64, frame.from.get(), frame.to.get()]);
                self.give(at, Input::Peer { link: peer, frame: *frame });
            }
            Item::Question(number, question) => self.on_question(at, conn, number, question),
            Item::Answer(..) | Item::Push(_) | Item::End => {}
        }
    }

    fn on_death(&mut self, at: usize, mut process: Incarnation, node: Option<NodeId>, dead: Who) {
        if let Who::Process(candidate) = dead
            && self.mutated(Mutant::DeathNamesCandidate)
        {
            process = self.processes[candidate].incarnation;
        }
        self.trace.line(self.now, || format!("n{} holds proof that {process} is dead", at + 1));
        if let Some(peer) = node {
            self.give(at, Input::PeerLost { peer, proven: true });
        }
        let observed = self.node_wall(at);
        self.give(at, Input::Died { process, observed });
    }

    /// Wakes the node when its replica wants it.
    pub(crate) fn arm_node(&mut self, at: usize) {
        let Some(replica) = &self.nodes[at].replica else { return };
        let next = replica.next_deadline();
        let now = self.node_moment(at);
        if next <= now {
            self.nodes[at].spins += 1;
            if self.nodes[at].spins > 100 {
                let why =
                    format!("n{} wanted to be woken at once a hundred times in a row", at + 1);
                self.law.stops.broken(self.now, why);
            }
        } else {
            self.nodes[at].spins = 0;
        }
        let due = self.node_when(at, next);
        self.alarm(Who::Node(at), due);
    }

    // The disk

    pub(crate) fn persist(&mut self, at: usize, mut unit: tenure_replica::Persist) {
        self.law.node_appends(self.now, &self.nodes[at], &unit);
        if let Some(mutant) = self.mutant {
            mutant.alter_unit(&mut unit);
        }
        let number = unit.number;
        let life = self.nodes[at].life;
        if self.nodes[at].disk.write(unit) {
            self.flush(at);
        }
        if self.mutated(Mutant::PersistedEarly) {
            let what = Happening::Persisted(number);
            self.after(0, Event::at(Who::Node(at), life, what));
        }
    }

    fn flush(&mut self, at: usize) {
        let Some(needs_flush) = self.nodes[at].disk.begin() else { return };
        let mut took = match needs_flush {
            true => {
                self.faults.flush_us * 1000 / 2 + self.chance.below(self.faults.flush_us * 1000)
            }
            false => 1000,
        };
        if self.nodes[at].disk.slow {
            took += self.chance.below(1000 * MS);
        }
        let life = self.nodes[at].life;
        self.after(took, Event::Flushed { node: at, life });
    }

    pub(crate) fn flushed(&mut self, at: usize, life: u32) {
        if self.nodes[at].life != life || self.nodes[at].replica.is_none() {
            return;
        }
        let Some(number) = self.nodes[at].disk.finish() else { return };
        self.flush(at);
        if !self.mutated(Mutant::PersistedEarly) {
            self.happen(Who::Node(at), life, Happening::Persisted(number));
        }
    }

    // The end of a life

    /// The process of the node ends. With its machine, nobody is told.
    pub(crate) fn node_dies(&mut self, at: usize, power: bool) {
        if self.nodes[at].replica.take().is_none() {
            return;
        }
        let kept = self.chance.percent(50);
        if self.nodes[at].disk.crash(kept) {
            // A batch of which a part was written is cut back at the next start: on the disk as
            // the replica sees it, it is as lost as one of which nothing was.
            let torn = !kept && self.chance.percent(50);
            let lost = if torn { Kind::TornTail } else { Kind::WriteLost };
            self.counts.add(if kept { Kind::WriteKept } else { lost });
        }
        self.trace.line(self.now, || format!("n{} dies (power lost: {power})", at + 1));
        let how = match power {
            true => Close::Silent,
            false if self.chance.percent(50) => Close::Finish,
            false => Close::Reset,
        };
        self.leave_conns(Who::Node(at), how);
        self.law.node_gone(&self.nodes[at]);
        let node = &mut self.nodes[at];
        let (id, process) = (node.id, node.incarnation);
        node.life += 1;
        node.paused_until = 0;
        node.inbox.clear();
        node.peers.clear();
        node.clients.clear();
        node.expecting.clear();
        if !power {
            self.report_death(Who::Node(at), process, Some(id));
        }
    }

    pub(crate) fn leave_conns(&mut self, who: Who, how: Close) {
        let of = |conn: &super::net::Conn| conn.ends.iter().any(|end| end.who == who && end.open);
        let conns: Vec<u64> =
            self.net.conns.iter().filter(|(_, conn)| of(conn)).map(|(id, _)| *id).collect();
        for conn in conns {
            self.close(who, conn, how);
        }
    }

    /// Whoever shares the machine and held a connection holds a pidfd too.
    pub(crate) fn report_death(&mut self, who: Who, process: Incarnation, node: Option<NodeId>) {
        let host = self.host(who);
        let witnesses: Vec<usize> = (0..self.nodes.len())
            .filter(|at| {
                Who::Node(*at) != who && self.nodes[*at].host == host && self.is_up(Who::Node(*at))
            })
            .collect();
        if witnesses.len() > 1 {
            self.counts.add(Kind::DeathWitnessed);
        }
        for at in witnesses {
            let mut wait = 20_000 + self.chance.below(MS);
            if self.chance.permille(self.faults.death_late) {
                self.counts.add(Kind::DeathLate);
                wait += self.chance.below(3000 * MS);
            }
            let (witness, life) = (Who::Node(at), self.nodes[at].life);
            let what = || Happening::Died { process, node, who };
            let event = || Event::at(witness, life, what());
            self.after(wait, event());
            if self.chance.permille(self.faults.death_again) {
                self.counts.add(Kind::DeathAgain);
                let again = wait + self.chance.below(2000 * MS);
                self.after(again, event());
            }
        }
    }

    pub(crate) fn stop_if_told(&mut self, at: usize) {
        let Some(why) = self.nodes[at].stop.take() else { return };
        let id = self.nodes[at].id;
        self.trace.line(self.now, || format!("n{} stops: {why}", at + 1));
        let removed = self.law.was_removed(id);
        if !removed {
            self.law.stops.broken(self.now, format!("node {id} stopped: {why}"));
        }
        self.nodes[at].retired = true;
        self.node_dies(at, false);
    }

    pub(crate) fn is_peer_conn(&self, conn: u64) -> bool {
        self.net.conns.get(&conn).is_some_and(|conn| conn.line == Line::Peers)
    }
}
