//! A cluster in virtual time: links, disks, clocks and crashes from one seed, with the safety
//! properties checked at every step.

mod disk;
mod events;

use super::super::ready::Barrier;
use super::super::{Consensus, ConsensusConfig, Founding, MembershipChange, RaftMessage, Standing};
use crate::log::{Entry, Membership, Persist, Restored};
use crate::mesh::{Mesh, Rows};
use crate::status::RaftRole;
use core::time::Duration;
use disk::{State, decode_state, encode_state};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tenure_core::NodeId;

pub(super) const MS: u64 = 1_000_000;
pub(super) const TICK: u64 = 10 * MS;

pub(super) fn id(number: u64) -> NodeId {
    NodeId::new(number).expect("test ids are not zero")
}

/// What the scenario is made of; the defaults are those of the measurements in the design.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) relay: bool,
    /// Range of the one-way delay, in nanoseconds.
    pub(super) link: (u64, u64),
    /// Range of the time a write takes, in nanoseconds.
    pub(super) disk: (u64, u64),
    pub(super) snapshot_every: u64,
    /// Frames lost out of a thousand.
    pub(super) loss: u64,
    pub(super) election_ticks: usize,
}

impl Default for Shape {
    fn default() -> Self {
        let (link, disk) = ((MS / 5, MS * 4 / 5), (MS / 10, MS / 2));
        Self { relay: false, link, disk, snapshot_every: u64::MAX, loss: 0, election_ticks: 15 }
    }
}

#[derive(Clone, Debug)]
enum Body {
    Raft(RaftMessage),
    Ping(Rows),
}

#[derive(Clone, Debug)]
struct Frame {
    from: NodeId,
    to: NodeId,
    relayed: bool,
    body: Body,
}

#[derive(Debug)]
enum Event {
    /// Arrives over the link from this node.
    Arrives {
        link: NodeId,
        at: NodeId,
        frame: Frame,
    },
    Written {
        node: NodeId,
        life: u32,
    },
    Tick {
        node: NodeId,
        life: u32,
    },
    /// The connection to `peer` ended.
    Eof {
        node: NodeId,
        peer: NodeId,
        proven: bool,
    },
    Campaign {
        node: NodeId,
        life: u32,
        left: u32,
    },
}

pub(super) struct Node {
    pub(super) consensus: Option<Consensus>,
    pub(super) mesh: Mesh,
    pub(super) disk: Restored,
    writing: VecDeque<Persist>,
    life: u32,
    pub(super) state: State,
    pub(super) applied: u64,
    pub(super) barriers: Vec<Barrier>,
    pub(super) standings: Vec<Standing>,
    pub(super) installed: u32,
    frozen_disk: bool,
    snapshot_at: u64,
}

pub(super) struct Net {
    pub(super) now: u64,
    order: u64,
    rng: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// Directed links that swallow everything.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    pub(super) shape: Shape,
    pub(super) trace: u64,
    /// What was applied at each index, by whoever came first, and when.
    pub(super) log: BTreeMap<u64, (Entry, u64)>,
    states: BTreeMap<u64, State>,
    leaders: BTreeMap<u64, NodeId>,
    pub(super) relayed: u64,
}

pub(super) fn settings(id: NodeId) -> ConsensusConfig {
    ConsensusConfig { id, heartbeat_ticks: 5, election_ticks: 15, log_tail: 512 }
}

pub(super) fn members(voters: &[u64]) -> Membership {
    Membership { voters: voters.iter().copied().map(id).collect(), learners: Vec::new() }
}

fn mesh(id: NodeId) -> Mesh {
    Mesh::new(id, Duration::from_millis(150), Duration::from_millis(50))
}

impl Net {
    /// Founds a cluster of these voters.
    pub(super) fn new(seed: u64, voters: &[u64], shape: Shape) -> Self {
        let mut net = Self {
            now: 0,
            order: 0,
            rng: seed,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            shape,
            trace: 0xcbf2_9ce4_8422_2325,
            log: BTreeMap::new(),
            states: BTreeMap::new(),
            leaders: BTreeMap::new(),
            relayed: 0,
        };
        for voter in voters {
            let data = encode_state(State::default());
            let founding = Founding { membership: members(voters), data };
            net.start(id(*voter), Restored::default(), Some(founding));
        }
        net
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.random(high - low + 1)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    /// Starts a node over what its disk has.
    pub(super) fn start(&mut self, node: NodeId, disk: Restored, founding: Option<Founding>) {
        let life = self.nodes.get(&node).map_or(0, |old| old.life + 1);
        let seed = self.random(u64::MAX);
        let election_ticks = self.shape.election_ticks;
        let settings = ConsensusConfig { election_ticks, ..settings(node) };
        let consensus =
            Consensus::new(settings, disk.clone(), founding, seed).expect("the disk is in order");
        let (state, applied) = match &disk.snapshot {
            Some(snapshot) => (decode_state(&snapshot.data), snapshot.index),
            None => (State::default(), consensus.applied()),
        };
        let mut mesh = mesh(node);
        mesh.set_voters(&consensus.membership().voters);
        let fresh = Node {
            consensus: Some(consensus),
            mesh,
            disk,
            writing: VecDeque::new(),
            life,
            state,
            applied,
            barriers: Vec::new(),
            standings: Vec::new(),
            installed: 0,
            frozen_disk: false,
            snapshot_at: applied,
        };
        self.nodes.insert(node, fresh);
        let phase = self.random(TICK);
        self.at(phase, Event::Tick { node, life });
        self.drain(node);
    }

    /// A node that joins: an empty disk and nothing known.
    pub(super) fn join(&mut self, node: u64) {
        self.start(id(node), Restored::default(), None);
    }

    pub(super) fn restart(&mut self, node: u64) {
        let disk = self.nodes[&id(node)].disk.clone();
        self.start(id(node), disk, None);
    }

    /// Ends a process. What it was writing is lost. With `eof` the others see their connections
    /// end one link delay later.
    pub(super) fn kill(&mut self, node: NodeId, eof: Option<bool>) {
        let Some(dead) = self.nodes.get_mut(&node) else { return };
        dead.consensus = None;
        dead.writing.clear();
        if let Some(proven) = eof {
            for other in self.others(node) {
                self.eof(other, node, proven);
            }
        }
    }

    pub(super) fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|other| *other != node).collect()
    }

    pub(super) fn eof(&mut self, node: NodeId, peer: NodeId, proven: bool) {
        // Behind every frame that is still on that connection.
        let delay = self.shape.link.1 + 1;
        self.at(delay, Event::Eof { node, peer, proven });
    }

    pub(super) fn freeze_disk(&mut self, node: NodeId, frozen: bool) {
        let at = self.nodes.get_mut(&node).expect("a known node");
        at.frozen_disk = frozen;
        let (life, waiting) = (at.life, at.writing.len());
        if !frozen {
            for _ in 0..waiting {
                self.at(MS, Event::Written { node, life });
            }
        }
    }

    /// Cuts every link between these nodes and the rest, except between `hub` and anybody.
    pub(super) fn cut_both(&mut self, a: NodeId, b: NodeId) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }

    pub(super) fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > end {
                break;
            }
            self.step();
        }
        self.now = end;
    }

    /// Runs until the condition holds; the time it took, or none after `limit`.
    pub(super) fn until(&mut self, limit: u64, done: impl Fn(&Net) -> bool) -> Option<u64> {
        let start = self.now;
        while self.now <= start + limit {
            if done(self) {
                return Some(self.now - start);
            }
            self.step();
        }
        None
    }

    pub(super) fn consensus(&mut self, node: NodeId) -> &mut Consensus {
        self.nodes.get_mut(&node).and_then(|n| n.consensus.as_mut()).expect("a live node")
    }

    /// The live node that leads in the highest term.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let standing = |n: &Node| n.consensus.as_ref().map(Consensus::standing);
        let leading = self.nodes.iter().filter_map(|(id, n)| Some((id, standing(n)?)));
        let leading = leading.filter(|(_, s)| s.role == RaftRole::Leader);
        leading.max_by_key(|(_, s)| s.term).map(|(id, _)| *id)
    }

    /// Runs until there is a leader that has committed an entry of its term.
    pub(super) fn elect(&mut self) -> NodeId {
        let settled = |net: &Net| {
            let leader = net.leader().and_then(|id| net.nodes[&id].consensus.as_ref());
            leader.is_some_and(Consensus::committed_in_term)
        };
        self.until(20_000 * MS, settled).expect("a leader within 20 s");
        self.leader().expect("just seen")
    }

    /// Proposes a command at the present leader, if there is one.
    pub(super) fn propose(&mut self, data: &[u8]) -> Option<(u64, u64)> {
        let leader = self.leader()?;
        let outcome = self.consensus(leader).propose(vec![data.to_vec()]).ok();
        self.drain(leader);
        outcome
    }

    pub(super) fn change(&mut self, change: MembershipChange) {
        let leader = self.elect();
        self.until(5_000 * MS, |net| {
            let c = net.nodes[&leader].consensus.as_ref();
            !c.is_some_and(Consensus::has_pending_membership)
        });
        let data = rmp_serde::to_vec(&change).expect("ours");
        let (_, index) = self.consensus(leader).propose_membership(change, data).expect("leads");
        self.drain(leader);
        self.until(5_000 * MS, |net| net.log.contains_key(&index)).expect("committed");
    }

    /// Proposes until a command of this call is committed; the time it took.
    pub(super) fn commit(&mut self, limit: u64) -> Option<u64> {
        let start = self.now;
        while self.now < start + limit {
            let next = self.log.last_key_value().map_or(0, |(index, _)| *index);
            let tag = self.now.to_be_bytes();
            self.propose(&tag);
            let seen = |net: &Net| {
                net.log.range(next + 1..).any(|(_, (e, _))| {
                    e.data.len() == 8 && e.data.as_slice() >= start.to_be_bytes().as_slice()
                })
            };
            if self.until(5 * MS, seen).is_some() {
                return Some(self.now - start);
            }
        }
        None
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(|(_, n)| n.consensus.is_some())
    }
}
