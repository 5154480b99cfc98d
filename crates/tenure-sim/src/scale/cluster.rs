//! Five replicas, wires and disks that are always as fast, and a count of all work.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tenure_core::{
    Moment, NodeId, WallTime,
    ledger::{Event as Change, Ledger, Members},
};
use tenure_replica::{
    Answer, Ask, Config, Input, Now, Output, PeerFrame, RaftRole, Replica, Restored, encode,
};

use super::Meter;

/// Replicas.
pub(super) const VOTERS: usize = 5;
/// From one replica to another, in nanoseconds of virtual time.
const WIRE: u64 = 100_000;
/// A flush of a disk.
const FLUSH: u64 = 200_000;

/// What is said to whoever runs the cluster.
pub(super) enum Said {
    /// A client's question was answered.
    Answered { client: u64, answer: Answer },
    /// A replica shows these changes.
    Shows { at: usize, changes: Vec<Change> },
}

/// What happens later.
enum Later {
    Arrives { at: usize, from: NodeId, frame: Box<PeerFrame> },
    Flushed { at: usize },
    Wakes { at: usize },
    Asked { at: usize, client: u64, ask: Ask },
    Member(u32),
}

/// One replica and what it cost so far.
struct Side {
    replica: Replica,
    wakes_at: u64,
    /// Numbers of what is being flushed, and of what waits for the next flush.
    flushing: Option<u64>,
    waiting: Option<u64>,
    cpu: Duration,
}

/// What was used so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    pub(super) cpu: [Duration; VOTERS],
    pub(super) encoding: Duration,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

pub(super) struct Cluster {
    meter: Meter,
    sides: Vec<Side>,
    later: BTreeMap<(u64, u64), Later>,
    orders: u64,
    /// Virtual time, in nanoseconds.
    pub(super) now: u64,
    pub(super) used: Used,
    /// Said and not yet taken.
    said: VecDeque<Said>,
    numbers: u64,
    /// Which replica leads.
    pub(super) leader: Option<usize>,
}

/// The next thing that concerns whoever runs it.
pub(super) enum Next {
    Said(Said),
    /// It is this member's turn.
    Turn(u32),
    /// The moment has come until which it was to run.
    Over,
}

fn id(at: usize) -> NodeId {
    // Nodes are numbered from one, so there is a number for each.
    NodeId::new(at as u64 + 1).unwrap_or_else(|| unreachable!("not zero"))
}

impl Cluster {
    /// A new cluster, not yet led.
    pub(super) fn new(meter: Meter) -> Result<Self, String> {
        let mut cluster = Self {
            meter,
            sides: Vec::new(),
            later: BTreeMap::new(),
            orders: 0,
            now: 1_000_000_000,
            used: Used::default(),
            said: VecDeque::new(),
            numbers: 0,
            leader: None,
        };
        let names = (1..=VOTERS).map(|n| (crate::world::node_name(n), format!("10.0.0.{n}:1")));
        let founding = Members::founding(names);
        for at in 0..VOTERS {
            let ledger = Some(Ledger::new(founding.clone()));
            let config = Config::new(id(at), at as u64 + 1);
            let now = cluster.when();
            let replica = Replica::start(config, Restored::default(), ledger, at as u64 + 7, now);
            let replica = replica.map_err(|error| error.to_string())?;
            let cpu = Duration::ZERO;
            let side = Side { replica, wakes_at: u64::MAX, flushing: None, waiting: None, cpu };
            cluster.sides.push(side);
        }
        for at in 0..VOTERS {
            for other in (0..VOTERS).filter(|other| *other != at) {
                cluster.give(at, Input::PeerUp(id(other)));
            }
        }
        Ok(cluster)
    }

    fn when(&self) -> Now {
        let wall = WallTime::from_micros(1_700_000_000_000_000 + self.now / 1000);
        Now { moment: Moment::from_nanos(self.now), wall }
    }

    pub(super) fn wall(&self) -> WallTime {
        self.when().wall
    }

    pub(super) fn ledger(&self, at: usize) -> &Ledger {
        self.sides[at].replica.ledger()
    }

    fn add(&mut self, after: u64, later: Later) {
        self.orders += 1;
        self.later.insert((self.now + after, self.orders), later);
    }

    /// A member asks its voter.
    pub(super) fn ask(&mut self, at: usize, client: u64, ask: Ask) {
        self.add(WIRE, Later::Asked { at, client, ask });
    }

    /// Calls a member later.
    pub(super) fn call(&mut self, after: u64, member: u32) {
        self.add(after, Later::Member(member));
    }

    /// Gives a replica an input at once, and does what it wants done.
    pub(super) fn give(&mut self, at: usize, input: Input) {
        let now = self.when();
        let begun = (self.meter.cpu)();
        let side = &mut self.sides[at];
        side.replica.handle(input, now);
        let mut outputs = Vec::new();
        while let Some(output) = side.replica.poll() {
            outputs.push(output);
        }
        let next = side.replica.next_deadline().as_nanos();
        side.cpu += (self.meter.cpu)().saturating_sub(begun);
        for output in outputs {
            self.carry_out(at, output);
        }
        // An alarm that is too early finds nothing to do and sets the next one.
        if next < self.sides[at].wakes_at || self.sides[at].wakes_at <= self.now {
            let next = next.max(self.now + 1000);
            self.sides[at].wakes_at = next;
            self.add(next - self.now, Later::Wakes { at });
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Persist(unit) => {
                self.used.entries += unit.entries.len() as u64;
                self.sides[at].waiting = Some(unit.number);
                self.flush(at);
            }
            Output::Send { to, frame } => {
                let begun = (self.meter.cpu)();
                let bytes = encode(&frame).len() as u64;
                self.used.encoding += (self.meter.cpu)().saturating_sub(begun);
                self.used.frames += 1;
                self.used.bytes += bytes;
                let there = usize::try_from(to.get() - 1).unwrap_or(usize::MAX);
                if there < VOTERS {
                    let frame = Box::new(frame);
                    self.add(WIRE, Later::Arrives { at: there, from: id(at), frame });
                }
            }
            Output::Reply { client, answer, .. } => {
                self.said.push_back(Said::Answered { client, answer });
            }
            Output::Publish(changes) => self.said.push_back(Said::Shows { at, changes }),
            Output::Role { role: RaftRole::Leader, .. } => self.leader = Some(at),
            Output::Role { .. } | Output::HandedOver | Output::Stop { .. } => {}
        }
    }

    /// One flush at a time; what comes meanwhile goes into the next one together.
    fn flush(&mut self, at: usize) {
        let side = &mut self.sides[at];
        if side.flushing.is_none() && side.waiting.is_some() {
            side.flushing = side.waiting.take();
            self.add(FLUSH, Later::Flushed { at });
        }
    }

    /// Runs until something concerns the caller, or until a moment.
    pub(super) fn run(&mut self, until: u64) -> Next {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Next::Said(said);
            }
            let Some(first) = self.later.first_entry().filter(|it| it.key().0 <= until) else {
                self.now = until;
                return Next::Over;
            };
            self.now = first.key().0;
            match first.remove() {
                Later::Arrives { at, from, frame } => {
                    self.give(at, Input::Peer { link: from, frame: *frame });
                }
                Later::Flushed { at } => {
                    if let Some(number) = self.sides[at].flushing.take() {
                        self.give(at, Input::Persisted(number));
                    }
                    self.flush(at);
                }
                Later::Wakes { at } if self.sides[at].wakes_at == self.now => {
                    self.give(at, Input::Tick);
                }
                Later::Wakes { .. } => {}
                Later::Asked { at, client, ask } => {
                    self.numbers += 1;
                    let number = self.numbers;
                    self.give(at, Input::Asked { client, number, ask });
                }
                Later::Member(member) => return Next::Turn(member),
            }
        }
    }

    /// What was used so far.
    pub(super) fn used(&self) -> Used {
        let mut used = self.used.clone();
        for (cpu, side) in used.cpu.iter_mut().zip(&self.sides) {
            *cpu = side.cpu;
        }
        used
    }
}
