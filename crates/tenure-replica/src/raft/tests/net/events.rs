//! One event at a time: what a shell and a replica would do with it.

use super::super::super::{MembershipChange, RaftMessage, Ready, StepError};
use super::disk::{check_durable, decode_state, encode_state, fnv, write};
use super::{Body, Event, Frame, MS, Net, Node, TICK};
use crate::log::{Entry, EntryKind};
use crate::mesh::Route;
use crate::status::RaftRole;
use tenure_core::{Moment, NodeId};

impl Net {
    pub(super) fn step(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else { return };
        self.now = at;
        let line = format!("{at} {event:?}");
        self.trace = fnv(self.trace, line.as_bytes());
        match event {
            Event::Arrives { link, at, frame } => self.arrives(link, at, frame),
            Event::Written { node, life } => self.written(node, life),
            Event::Tick { node, life } => self.tick(node, life),
            Event::Eof { node, peer, proven } => self.on_eof(node, peer, proven),
            Event::Campaign { node, life, left } => self.campaign(node, life, left),
        }
    }

    fn alive(&mut self, node: NodeId, life: u32) -> Option<&mut Node> {
        self.nodes.get_mut(&node).filter(|n| n.life == life && n.consensus.is_some())
    }

    fn tick(&mut self, node: NodeId, life: u32) {
        let Some(at) = self.alive(node, life) else { return };
        at.consensus.as_mut().expect("alive").tick();
        self.at(TICK, Event::Tick { node, life });
        self.drain(node);
    }

    fn arrives(&mut self, link: NodeId, at: NodeId, frame: Frame) {
        if self.cut.contains(&(link, at)) {
            return; // What was on its way is lost too.
        }
        let now = Moment::from_nanos(self.now);
        let Some(node) = self.nodes.get_mut(&at).filter(|n| n.consensus.is_some()) else { return };
        node.mesh.heard(link, now);
        if frame.to != at {
            if node.mesh.may_relay(frame.from, frame.to, frame.relayed) {
                self.relayed += 1;
                let to = frame.to;
                self.transmit(at, to, Frame { relayed: true, ..frame });
            }
            return;
        }
        match frame.body {
            Body::Ping(rows) => node.mesh.on_ping(link, &rows, now),
            Body::Raft(message) => {
                let outcome = node.consensus.as_mut().expect("alive").step(message);
                if let Err(error) = outcome {
                    let late = matches!(error, StepError::NotMember(_));
                    assert!(late, "an honest message was refused: {error}");
                }
            }
        }
        self.drain(at);
    }

    fn written(&mut self, node: NodeId, life: u32) {
        let Some(at) = self.alive(node, life).filter(|at| !at.frozen_disk) else { return };
        let Some(unit) = at.writing.pop_front() else { return };
        let number = unit.number;
        write(&mut at.disk, unit);
        at.consensus.as_mut().expect("alive").persisted(number);
        self.drain(node);
    }

    fn on_eof(&mut self, node: NodeId, peer: NodeId, proven: bool) {
        let Some(at) = self.nodes.get_mut(&node).filter(|n| n.consensus.is_some()) else { return };
        let life = at.life;
        let consensus = at.consensus.as_mut().expect("alive");
        if !consensus.forget_leader(peer) {
            return;
        }
        let voters = consensus.membership().voters;
        let rank = voters.iter().filter(|v| **v < node && **v != peer).count() as u64;
        if proven && rank == 0 {
            consensus.campaign_forced();
            self.drain(node);
            return;
        }
        self.at(rank * 5 * MS, Event::Campaign { node, life, left: 4 });
    }

    fn campaign(&mut self, node: NodeId, life: u32, left: u32) {
        let Some(at) = self.alive(node, life) else { return };
        let consensus = at.consensus.as_mut().expect("alive");
        let standing = consensus.standing();
        if standing.leader.is_some() || left == 0 {
            return;
        }
        consensus.campaign();
        let round = 5 * MS * consensus.membership().voters.len() as u64;
        self.at(round, Event::Campaign { node, life, left: left - 1 });
        self.drain(node);
    }

    fn ping(&mut self, node: NodeId) {
        let now = Moment::from_nanos(self.now);
        let relay = self.shape.relay;
        let at = self.nodes.get_mut(&node).filter(|at| relay && at.consensus.is_some());
        for (to, rows) in at.map(|at| at.mesh.pings_due(now)).unwrap_or_default() {
            let frame = Frame { from: node, to, relayed: false, body: Body::Ping(rows) };
            self.transmit(node, to, frame);
        }
    }

    /// Puts a frame on a direct link.
    fn transmit(&mut self, link: NodeId, at: NodeId, frame: Frame) {
        let lost = self.random(1000) < self.shape.loss;
        if lost || self.cut.contains(&(link, at)) {
            return;
        }
        let delay = self.within(self.shape.link);
        self.at(delay, Event::Arrives { link, at, frame });
    }

    fn send(&mut self, message: RaftMessage) {
        let (from, to) = (message.from, message.to);
        let now = Moment::from_nanos(self.now);
        let node = &self.nodes[&from];
        check_durable(node, &message);
        let route = if self.shape.relay { node.mesh.route(to, now) } else { Route::Direct };
        let hop = match route {
            Route::Via(via) => via,
            Route::Direct | Route::Dark => to,
        };
        let frame = Frame { from, to, relayed: false, body: Body::Raft(message) };
        self.transmit(from, hop, frame);
    }

    /// Takes everything out of a node, as the replica does.
    pub(in super::super) fn drain(&mut self, node: NodeId) {
        self.ping(node);
        loop {
            let at = self.nodes.get_mut(&node).expect("a known node");
            let Some(consensus) = at.consensus.as_mut() else { return };
            let Some(ready) = consensus.ready() else {
                let due = at.applied - at.snapshot_at >= self.shape.snapshot_every;
                if (due || consensus.wants_snapshot())
                    && let Some(index) = consensus.offer_snapshot(encode_state(at.state), 256)
                {
                    at.snapshot_at = index;
                    continue;
                }
                return;
            };
            self.trace = fnv(self.trace, format!("{node} {ready:?}").as_bytes());
            self.carry_out(node, ready);
        }
    }

    fn carry_out(&mut self, node: NodeId, ready: Ready) {
        if let Some(unit) = ready.persist {
            let delay = self.within(self.shape.disk);
            let at = self.nodes.get_mut(&node).expect("a known node");
            let life = at.life;
            at.writing.push_back(unit);
            self.at(delay, Event::Written { node, life });
        }
        for message in ready.messages {
            self.send(message);
        }
        let at = self.nodes.get_mut(&node).expect("a known node");
        if let Some(snapshot) = ready.install {
            at.state = decode_state(&snapshot.data);
            at.applied = snapshot.index;
            at.snapshot_at = snapshot.index;
            at.installed += 1;
            let members = at.consensus.as_ref().expect("alive").membership();
            assert_eq!(members, snapshot.membership);
            at.mesh.set_voters(&members.voters);
            self.check_state(node);
        }
        for entry in &ready.committed {
            self.apply(node, entry);
        }
        let at = self.nodes.get_mut(&node).expect("a known node");
        at.consensus.as_mut().expect("alive").applied_to(at.applied);
        at.barriers.extend(ready.barriers);
        if let Some(standing) = ready.standing {
            at.standings.push(standing);
            if standing.role == RaftRole::Leader {
                let elected = *self.leaders.entry(standing.term).or_insert(node);
                assert_eq!(elected, node, "two leaders in term {}", standing.term);
            }
        }
    }

    fn apply(&mut self, node: NodeId, entry: &Entry) {
        let at = self.nodes.get_mut(&node).expect("a known node");
        assert_eq!(entry.index, at.applied + 1, "entries are applied without a gap");
        at.applied = entry.index;
        let consensus = at.consensus.as_mut().expect("alive");
        match entry.kind {
            EntryKind::Command => {
                at.state.count += u64::from(!entry.data.is_empty());
                at.state.hash = fnv(at.state.hash, &entry.data);
            }
            EntryKind::Membership => {
                let change: MembershipChange = rmp_serde::from_slice(&entry.data).expect("ours");
                let members = consensus.apply_membership(Some(change));
                at.mesh.set_voters(&members.voters);
            }
        }
        let now = self.now;
        let (first, _) = self.log.entry(entry.index).or_insert_with(|| (entry.clone(), now));
        assert_eq!(first, entry, "two different entries were applied at one index");
        self.check_state(node);
    }

    fn check_state(&mut self, node: NodeId) {
        let at = &self.nodes[&node];
        let first = *self.states.entry(at.applied).or_insert(at.state);
        assert_eq!(first, at.state, "two states at index {}", at.applied);
    }
}
