//! Whole replicas on links without delay and disks without delay: what only shows between them.

mod hand_over;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;
use tenure_core::{
    Incarnation, Moment, NodeId, NodeName, RequestId, SessionId, WallTime,
    ledger::{Command, Ledger, Members, Role},
    timing::Ttl,
};

use crate::{
    Answer, Ask, Config, Input, MemberWish, Now, Output, PeerFrame, Replica, Restored, Wish,
};

const MS: Duration = Duration::from_millis(1);

fn id(number: u64) -> NodeId {
    NodeId::new(number).expect("test ids are not zero")
}

fn name(number: u64) -> NodeName {
    NodeName::new(format!("n{number}")).expect("a name of letters")
}

/// Replicas, and a shell that connects them as the real one does: to whom the ledger of the
/// dialling node gives a reason to dial.
struct Cluster {
    now: Moment,
    heartbeat: Duration,
    replicas: BTreeMap<NodeId, Replica>,
    /// Who is cut off from all others.
    away: BTreeSet<NodeId>,
    /// Who hears nothing, though connections stay.
    deaf: BTreeSet<NodeId>,
    linked: BTreeSet<(NodeId, NodeId)>,
    answers: Vec<(u64, Answer)>,
    /// Who has handed over what it led, and may end.
    ready_to_end: BTreeSet<NodeId>,
    asked: u64,
    settings: fn(u64, Config) -> Config,
}

impl Cluster {
    /// One founding voter, and learners that have joined. None gets a vote but by wish.
    fn new(nodes: u64, heartbeat: Duration) -> Self {
        Self::with(nodes, heartbeat, |_, config| Config { voters: 1, ..config })
    }

    fn with(nodes: u64, heartbeat: Duration, settings: fn(u64, Config) -> Config) -> Self {
        let mut cluster = Self {
            now: Moment::from_nanos(1_000_000_000),
            heartbeat,
            replicas: BTreeMap::new(),
            away: BTreeSet::new(),
            deaf: BTreeSet::new(),
            linked: BTreeSet::new(),
            answers: Vec::new(),
            ready_to_end: BTreeSet::new(),
            asked: 0,
            settings,
        };
        let founding = Members::founding([(name(1), String::from("a:1"))]);
        cluster.start(1, Some(Ledger::new(founding)));
        for number in 2..=nodes {
            cluster.join(number);
        }
        cluster.run(1000);
        cluster
    }

    fn join(&mut self, number: u64) {
        let (name, address) = (name(number), String::from("a:1"));
        self.change(MemberWish::Add { name, address, directory: number, zone: None });
        self.start(number, None);
    }

    fn start(&mut self, number: u64, founding: Option<Ledger>) {
        let config = Config {
            heartbeat: self.heartbeat,
            election_timeout: self.heartbeat * 10,
            ..Config::new(id(number), number)
        };
        let config = (self.settings)(number, config);
        let now = self.time();
        let replica = Replica::start(config, Restored::default(), founding, number, now);
        self.replicas.insert(id(number), replica.expect("an empty disk"));
        self.deliver();
    }

    fn time(&self) -> Now {
        Now { moment: self.now, wall: WallTime::default() }
    }

    fn give(&mut self, to: NodeId, input: Input) {
        let now = self.time();
        if let Some(replica) = self.replicas.get_mut(&to) {
            replica.handle(input, now);
        }
    }

    fn run(&mut self, millis: u32) {
        for _ in 0..millis {
            self.now = self.now + MS;
            let due = |(id, replica): (&NodeId, &Replica)| {
                (replica.next_deadline() <= self.now).then_some(*id)
            };
            for id in self.replicas.iter().filter_map(due).collect::<Vec<_>>() {
                self.give(id, Input::Tick);
            }
            self.deliver();
        }
    }

    /// Carries everything out until nothing is left to do.
    fn deliver(&mut self) {
        loop {
            self.connect();
            let ids: Vec<NodeId> = self.replicas.keys().copied().collect();
            let next = |id: &NodeId| {
                let output = self.replicas.get_mut(id).and_then(Replica::poll);
                output.map(|output| (*id, output))
            };
            let Some((at, output)) = ids.iter().find_map(next) else { return };
            match output {
                Output::Persist(unit) => self.give(at, Input::Persisted(unit.number)),
                Output::Send { to, frame } => self.transmit(at, to, frame),
                Output::Reply { number, answer, .. } => self.answers.push((number, answer)),
                Output::HandedOver => _ = self.ready_to_end.insert(at),
                Output::Stop { why } => panic!("{at} stops: {why}"),
                Output::Publish(_) | Output::Role { .. } => {}
            }
        }
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, frame: PeerFrame) {
        if self.linked.contains(&(from, to)) && !self.deaf.contains(&to) {
            self.give(to, Input::Peer { link: from, frame });
        }
    }

    /// Whether a node dials another: one of the two votes, as far as it knows. A node that
    /// joins dials everybody.
    fn dials(&self, from: NodeId, to: NodeId) -> bool {
        let members = self.replicas[&from].ledger().members();
        let votes = |id| members.get(id).is_some_and(|member| member.role == Role::Voter);
        let together = !self.away.contains(&from) && !self.away.contains(&to);
        let known = members.get(to).is_some() && (votes(from) || votes(to));
        from != to && together && (known || members.iter().len() == 0)
    }

    fn connect(&mut self) {
        let ids: Vec<NodeId> = self.replicas.keys().copied().collect();
        for (from, to) in ids.iter().flat_map(|a| ids.iter().map(|b| (*a, *b))) {
            let was = self.linked.contains(&(from, to)) || self.linked.contains(&(to, from));
            match self.dials(from, to) {
                true => self.linked.insert((from, to)),
                false => self.linked.remove(&(from, to)),
            };
            let is = self.linked.contains(&(from, to)) || self.linked.contains(&(to, from));
            for (at, peer) in [(from, to), (to, from)] {
                match (was, is) {
                    (false, true) => self.give(at, Input::PeerUp(peer)),
                    (true, false) => self.give(at, Input::PeerLost { peer, proven: false }),
                    _ => {}
                }
            }
        }
    }

    fn ask(&mut self, at: u64, ask: Ask) -> u64 {
        self.asked += 1;
        self.give(id(at), Input::Asked { client: 1, number: self.asked, ask });
        self.deliver();
        self.asked
    }

    fn wish(&mut self, at: u64, wish: Wish) {
        let process = Incarnation::from_random(99);
        let request = RequestId { process, number: self.asked + 1 };
        self.ask(at, Ask::Wish(request, wish));
    }

    fn change(&mut self, wish: MemberWish) {
        self.wish(1, Wish::Member(wish));
        self.run(20);
    }

    fn answered(&self, number: u64) -> bool {
        self.answers.iter().any(|(known, _)| *known == number)
    }

    fn leads(&self, number: u64) -> bool {
        self.replicas[&id(number)].status(self.now).leader == Some(id(number))
    }
}

/// The simulator found it (seeds 975 and 1453): two learners keep no connection, and one that
/// had missed that the other got its vote, and leads by now, could not answer it.
#[test]
fn a_learner_that_missed_a_promotion_answers_whom_it_takes_for_a_learner() {
    let mut cluster = Cluster::new(3, MS * 50);
    cluster.away.insert(id(2));
    cluster.run(1000);
    cluster.change(MemberWish::Promote { id: id(3) });
    cluster.run(100);
    cluster.ask(1, Ask::TransferQuorum(Some(id(3))));
    cluster.run(100);
    assert!(cluster.leads(3), "the vote, and then the leadership, went to node 3");
    cluster.away.clear();
    cluster.run(3000);
    let revision = |number| cluster.replicas[&id(number)].ledger().revision();
    assert_eq!(revision(2), revision(3));
    let role = cluster.replicas[&id(2)].ledger().members().get(id(3)).map(|member| member.role);
    assert_eq!(role, Some(Role::Voter));
}

/// The simulator found it (seed 3657): of three ways to the present Raft leader one was open.
/// Taken in turn, the answers to heartbeats got it, and those to appends never.
#[test]
fn a_learner_answers_a_leader_that_joined_meanwhile_by_the_one_open_way() {
    let mut cluster = Cluster::new(5, MS * 50);
    cluster.away.insert(id(2));
    cluster.run(1000);
    for voter in 3..=5 {
        cluster.change(MemberWish::Promote { id: id(voter) });
        cluster.run(100);
    }
    cluster.ask(1, Ask::TransferQuorum(Some(id(5))));
    cluster.run(100);
    assert!(cluster.leads(5), "the votes, and then the leadership, went to others");
    cluster.away.clear();
    cluster.run(3000);
    let revision = |number| cluster.replicas[&id(number)].ledger().revision();
    assert_eq!(revision(2), revision(5));
}

/// The simulator found it (seed 3483): a lone voter that started with a change of the members
/// still to apply slept until its time-out, took that for an absence, and so counted one tick
/// for each such sleep.
#[test]
fn a_lone_voter_that_nothing_wakes_leads_after_its_time_out() {
    let founding = Ledger::new(Members::founding([(name(1), String::from("a:1"))]));
    let start = |disk: &Restored, moment| {
        let now = Now { moment, wall: WallTime::default() };
        let config = Config::new(id(1), 1);
        Replica::start(config, disk.clone(), Some(founding.clone()), 1, now).expect("its own disk")
    };
    let (mut disk, mut moment) = (Restored::default(), Moment::from_nanos(1_000_000_000));
    let mut replica = start(&disk, moment);
    let process = Incarnation::from_random(99);
    let ttl = Ttl::try_from(1000).expect("a ttl in range");
    let open = |number| {
        let session = SessionId { process, number };
        Wish::Command(Command::OpenSession { session, ttl, supersedes: None })
    };
    let address = String::from("a:1");
    let add = Wish::Member(MemberWish::Add { name: name(2), address, directory: 2, zone: None });
    // What is written after the change says that it is committed.
    let wishes = [add, open(1), open(2)];
    write_all(&mut replica, &mut disk, moment);
    for (number, wish) in (1..).zip(wishes) {
        let ask = Ask::Wish(RequestId { process, number }, wish);
        let now = Now { moment, wall: WallTime::default() };
        replica.handle(Input::Asked { client: 1, number, ask }, now);
        write_all(&mut replica, &mut disk, moment);
    }
    assert!(replica.ledger().members().get(id(2)).is_some());
    for late in [Duration::ZERO, MS * 20] {
        let begun = moment;
        let mut replica = start(&disk, moment);
        let leads = |replica: &Replica, now| replica.status(now).leader == Some(id(1));
        assert!(!leads(&replica, moment), "a change of the members is to be applied first");
        while !leads(&replica, moment) {
            write_all(&mut replica, &mut disk.clone(), moment);
            moment = replica.next_deadline() + late;
            replica.handle(Input::Tick, Now { moment, wall: WallTime::default() });
            let took = moment.since(begun);
            assert!(took <= MS * 1100, "no leader after {took:?}, woken {late:?} late");
        }
    }
}

/// Carries out what a replica without neighbours writes.
fn write_all(replica: &mut Replica, disk: &mut Restored, moment: Moment) {
    while let Some(output) = replica.poll() {
        let Output::Persist(unit) = output else { continue };
        disk.hard_state = unit.hard_state.unwrap_or(disk.hard_state);
        // A later one would cover the change of the members.
        disk.snapshot = disk.snapshot.take().or(unit.snapshot);
        disk.entries.extend(unit.entries);
        let now = Now { moment, wall: WallTime::default() };
        replica.handle(Input::Persisted(unit.number), now);
    }
}

/// A lease was lengthened, its holder knows, and the node that leads next has not applied that:
/// its disk takes longer over its first entry than the old lease lasts. It must not end it.
#[test]
fn a_new_leader_ends_no_lease_before_it_knows_its_length() {
    let founding = Ledger::new(Members::founding([(name(1), String::from("a:1"))]));
    let (mut disk, mut moment) = (Restored::default(), Moment::from_nanos(1_000_000_000));
    let start = |disk: &Restored, moment| {
        let now = Now { moment, wall: WallTime::default() };
        let config = Config::new(id(1), 1);
        Replica::start(config, disk.clone(), Some(founding.clone()), 1, now).expect("its own disk")
    };
    let mut replica = start(&disk, moment);
    write_all(&mut replica, &mut disk, moment);
    let session = SessionId { process: Incarnation::from_random(99), number: 1 };
    let length = |ms| Ttl::try_from(ms).expect("a ttl in range");
    let (short, long) = (length(100), length(60_000));
    let commands = [
        Command::OpenSession { session, ttl: short, supersedes: None },
        Command::Retime { session, ttl: long, number: 1 },
    ];
    for (number, command) in (1..).zip(commands) {
        let request = RequestId { process: session.process, number };
        let ask = Ask::Wish(request, Wish::Command(command));
        let now = Now { moment, wall: WallTime::default() };
        replica.handle(Input::Asked { client: 1, number, ask }, now);
        write_all(&mut replica, &mut disk, moment);
    }
    let ttl = |replica: &Replica| replica.ledger().session(session).map(|session| session.ttl());
    assert_eq!(ttl(&replica), Some(long));

    // What it writes first after the restart, its own first entry with it, takes long.
    let mut replica = start(&disk, moment);
    let mut slow = Vec::new();
    for _ in 0..100 {
        while let Some(output) = replica.poll() {
            match output {
                Output::Persist(unit) => slow.push(unit.number),
                Output::Stop { why } => panic!("{why}"),
                _ => {}
            }
        }
        moment = moment + MS * 20;
        replica.handle(Input::Tick, Now { moment, wall: WallTime::default() });
    }
    let leader = replica.status(moment).leader;
    assert_eq!(
        (leader, ttl(&replica)),
        (Some(id(1)), Some(short)),
        "it leads, and knows the old one"
    );
    for number in slow {
        replica.handle(Input::Persisted(number), Now { moment, wall: WallTime::default() });
    }
    write_all(&mut replica, &mut disk, moment);
    assert_eq!(ttl(&replica), Some(long));
}

/// Renewals come every quarter of a lease. Two of them would wait for one heartbeat where the
/// lease is two heartbeats long, and it would run out between them.
#[test]
fn short_leases_are_renewed_without_waiting_for_a_heartbeat() {
    let heartbeat = MS * 50;
    for (lease, waits) in [(100, false), (350, false), (400, true), (1000, true)] {
        let mut cluster = Cluster::new(2, heartbeat);
        let ttl = Ttl::try_from(lease).expect("a ttl in range");
        let session = SessionId { process: Incarnation::from_random(7), number: 1 };
        let open = Command::OpenSession { session, ttl, supersedes: None };
        cluster.wish(2, Wish::Command(open));
        cluster.run(5);
        // At many points between two heartbeats; a renewal never takes longer than one.
        for at in [1, 2] {
            let mut waited = 0;
            for _ in 0..20 {
                let renewal = cluster.ask(at, Ask::Confirm(vec![session]));
                while !cluster.answered(renewal) {
                    cluster.run(1);
                    waited += 1;
                    assert!(waited <= 20 * 50, "a renewal waits for one heartbeat at most");
                }
                let gone = cluster.answers.iter().find(|(number, _)| *number == renewal);
                let confirmed = Answer::Confirmed { gone: Vec::new() };
                assert_eq!(gone.map(|(_, answer)| answer), Some(&confirmed));
                cluster.run(7);
            }
            assert_eq!(waited > 0, waits, "a lease of {lease} ms, renewed at node {at}");
        }
    }
}
