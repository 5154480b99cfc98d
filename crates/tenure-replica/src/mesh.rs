//! Who hears whom among the voters, and the way round a dark link.
//!
//! Every voter pings every other one on the direct link, dark or not, and tells in each ping
//! what it knows of who hears whom; on a link that is alive by other traffic, a few pings are
//! left out while nothing changed. Where two voters do not reach each other but a third
//! reaches both, frames go through it, once. Every partial partition that leaves the voters
//! connected through one of them is then no outage at all. Source: M. Alfatafta et al., "Toward
//! a Generic Fault Tolerance Technique for Partial Network Partitioning" (Nifty), OSDI 2020.
//!
//! The rule, for a frame from S to D. Links have a direction: S→D is alive if **D** hears S, and
//! only D can say so.
//! 1. D's row is fresh (its version moved within twice the dark time, by whatever way it came
//!    here): the link is alive if the row names S, and dark if not. A cut in one direction only
//!    is told by the other end through a third voter, or directly where the way back is open.
//! 2. D's row is stale: D is dead, or is heard by nobody whom S hears. The link is then alive if
//!    S itself has heard D on it, in the other direction, within the dark time.
//! 3. A voter V is a way round if V's fresh row names S and D's fresh row names V. While D's
//!    row is stale, V's row naming D has to do for the last hop.
//! 4. Nothing known yet means alive: at the start all links are taken to be heard for one dark
//!    time.
//!
//! A wrong belief costs one lost frame or one hop, never safety. Learners have no rows: frames
//! to and from them go directly.
//!
//! A node that was away while others joined, or got their vote, can be spoken to by a member
//! that it does not know, or takes for a learner like itself, and so has no connection to. Its
//! answers go through everybody who is connected: without them it would never be sent what it
//! lacks, and never learn of that member.

use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};
use tenure_core::{Moment, NodeId};

/// Versions count pings, so an honest one never gets here; it bounds what a damaged frame can
/// do to the counting.
const LARGEST_VERSION: u64 = 1 << 62;

/// While other frames go to a peer and come from it, one ping in this many is enough: rows stay
/// fresh for twice the dark time, which is at least four ping intervals.
const BUSY: u32 = 3;

/// A change is passed on at once, but not more often than this fraction of the ping interval.
const HURRY: u32 = 10;

/// What one voter hears, as told by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    node: NodeId,
    /// Goes up with every ping of that voter.
    version: u64,
    /// The voters it has heard on their direct links within the dark time, sorted.
    hears: Vec<NodeId>,
    /// The silence of the Raft leader that it puts up with, in microseconds: the lengths that
    /// follow what is measured must fit together. None when it does not adapt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience_us: Option<u32>,
}

/// All rows that the sender knows, shared by the pings that carry them to everybody. Opaque to
/// everybody but this module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows(#[serde(with = "shared")] Arc<Vec<Row>>);

mod shared {
    use super::{Arc, Row};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        rows: &Arc<Vec<Row>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        rows.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Vec<Row>>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::new)
    }
}

/// How to send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// On the direct link.
    Direct,
    /// To this voter, which passes it on.
    Via(NodeId),
    /// No way is believed to be open. Send directly if there is a connection, and expect the
    /// frame to be lost.
    Dark,
}

/// A voter's row as this node knows it.
#[derive(Clone, Debug)]
struct Known {
    version: u64,
    hears: Vec<NodeId>,
    patience_us: Option<u32>,
    /// When the version last moved, by this node's clock.
    moved: Moment,
}

/// Another voter.
#[derive(Clone, Debug)]
struct Peer {
    id: NodeId,
    /// When it was last heard on the direct link.
    heard: Option<Moment>,
    /// When a frame other than a ping last went out on it.
    spoke: Option<Moment>,
    /// When a ping last went out on it.
    pinged: Option<Moment>,
    row: Option<Known>,
}

/// Reachability between voters as one of them knows it.
///
/// Inputs: `set_voters`, `heard`, `on_ping`; outputs: `pings_due`, `route`, `next_deadline`.
/// Moments never go back.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    me: NodeId,
    dark_after: Duration,
    ping_every: Duration,
    /// The other voters, sorted: seven at most as a rule, and looked at with every frame.
    peers: Vec<Peer>,
    voter: bool,
    version: u64,
    patience_us: Option<u32>,
    /// What the last ping said.
    told: Vec<NodeId>,
    last_ping: Option<Moment>,
    /// Another voter's row changed: the others should know before the next regular ping.
    hurry: bool,
    /// Frames of learners are passed on, too, when they cannot go directly.
    learners: BTreeSet<NodeId>,
    /// Nodes with a connection, in whichever direction.
    present: BTreeSet<NodeId>,
}

impl Mesh {
    /// A link is dark after `dark_after` without a frame; two to three times `ping_every` is
    /// sane, and less than the election time-out, so that the way round is found before anybody
    /// misses the leader.
    pub(crate) fn new(me: NodeId, dark_after: Duration, ping_every: Duration) -> Self {
        Self {
            me,
            dark_after,
            ping_every,
            peers: Vec::new(),
            voter: false,
            version: 0,
            patience_us: None,
            told: Vec::new(),
            last_ping: None,
            hurry: false,
            learners: BTreeSet::new(),
            present: BTreeSet::new(),
        }
    }

    /// Who votes, and who only receives the log.
    pub(crate) fn set_members(&mut self, voters: &[NodeId], learners: &[NodeId]) {
        self.set_voters(voters);
        self.learners = learners.iter().copied().collect();
    }

    /// A node is connected now, in whichever direction.
    pub(crate) fn arrived(&mut self, peer: NodeId, now: Moment) {
        self.present.insert(peer);
        self.heard(peer, now);
    }

    /// The last connection with a node ended.
    pub(crate) fn left(&mut self, peer: NodeId) {
        self.present.remove(&peer);
    }

    /// Whether a voter is connected and not silent.
    pub(crate) fn is_here(&self, voter: NodeId, now: Moment) -> bool {
        let lit = self.peer(voter).is_some_and(|peer| !self.is_dark(peer, now));
        lit && self.present.contains(&voter)
    }

    /// The present voters. Others are reached directly or not at all.
    pub(crate) fn set_voters(&mut self, voters: &[NodeId]) {
        self.voter = voters.contains(&self.me);
        self.peers.retain(|peer| voters.contains(&peer.id));
        for &id in voters.iter().filter(|id| **id != self.me) {
            if self.peer(id).is_none() {
                self.peers.push(Peer { id, heard: None, spoke: None, pinged: None, row: None });
            }
        }
        self.peers.sort_unstable_by_key(|peer| peer.id);
    }

    /// The silence of the Raft leader that this node puts up with; the others are told soon.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
        self.hurry |= self.patience_us.replace(patience) != Some(patience);
    }

    /// What another voter told lately about the same.
    pub(crate) fn patience_of(&self, node: NodeId, now: Moment) -> Option<Duration> {
        let row = self.fresh(node, now)?;
        row.patience_us.map(|it| Duration::from_micros(it.into()))
    }

    fn peer(&self, id: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    fn peer_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// A frame came from this node on its direct link. A relayed frame counts for the voter
    /// that passed it on, and proves nothing about who wrote it.
    pub(crate) fn heard(&mut self, from: NodeId, now: Moment) {
        if let Some(peer) = self.peer_mut(from) {
            peer.heard = peer.heard.max(Some(now));
        }
    }

    /// A frame other than a ping goes to this node on its direct link.
    pub(crate) fn spoke(&mut self, to: NodeId, now: Moment) {
        if let Some(peer) = self.peer_mut(to) {
            peer.spoke = Some(now);
        }
    }

    /// A ping came from this node on its direct link.
    pub(crate) fn on_ping(&mut self, from: NodeId, rows: &Rows, now: Moment) {
        self.heard(from, now);
        if !self.voter || self.peer(from).is_none() {
            return;
        }
        // One row per voter is all that an honest ping has.
        for row in rows.0.iter().take(self.peers.len() + 1) {
            if row.version > LARGEST_VERSION {
                continue;
            }
            if row.node == self.me {
                // From before a restart: get ahead of it, or nobody would believe the new rows.
                self.version = self.version.max(row.version);
            } else {
                self.take(row, now);
            }
        }
    }

    fn take(&mut self, row: &Row, now: Moment) {
        let Some(at) = self.peers.iter().position(|peer| peer.id == row.node) else { return };
        if self.peers[at].row.as_ref().is_some_and(|before| before.version >= row.version) {
            return;
        }
        let known = |id: &NodeId| *id == self.me || self.peer(*id).is_some();
        let mut hears: Vec<NodeId> = row.hears.iter().copied().filter(known).collect();
        hears.sort_unstable();
        hears.dedup();
        let Row { version, patience_us, .. } = *row;
        let row = Known { version, hears, patience_us, moved: now };
        let before = self.peers[at].row.replace(row);
        let changed = before.is_some_and(|before| {
            self.peers[at].row.as_ref().is_some_and(|row| row.hears != before.hears)
        });
        self.hurry |= changed;
    }

    /// Pings to send now, each on the direct link whatever [`Mesh::route`] says: they are how a
    /// dark link is found to be alive again.
    pub(crate) fn pings_due(&mut self, now: Moment) -> Vec<(NodeId, Rows)> {
        // The first look at the clock: whoever has not been heard yet counts as heard now.
        for peer in &mut self.peers {
            peer.heard.get_or_insert(now);
        }
        if !self.voter || self.peers.is_empty() || now < self.ping_at(now) {
            return Vec::new();
        }
        let hears: Vec<NodeId> = self.hears(now).collect();
        let news = self.hurry || hears != self.told;
        self.version = self.version.saturating_add(1).min(LARGEST_VERSION);
        self.told.clone_from(&hears);
        self.last_ping = Some(now);
        self.hurry = false;
        let mut rows = Vec::with_capacity(self.peers.len() + 1);
        let (version, patience_us) = (self.version, self.patience_us);
        rows.push(Row { node: self.me, version, hears, patience_us });
        rows.extend(self.peers.iter().filter_map(|peer| {
            let Known { version, hears, patience_us, .. } = peer.row.as_ref()?;
            let (version, patience_us) = (*version, *patience_us);
            Some(Row { node: peer.id, version, hears: hears.clone(), patience_us })
        }));
        let rows = Rows(Arc::new(rows));
        let mut pings = Vec::with_capacity(self.peers.len());
        for peer in &mut self.peers {
            if news || !peer.is_busy(self.ping_every, now) {
                peer.pinged = Some(now);
                pings.push((peer.id, rows.clone()));
            }
        }
        pings
    }

    /// When the next ping is due: soon after a change, regularly otherwise.
    fn ping_at(&self, now: Moment) -> Moment {
        let Some(last) = self.last_ping else { return Moment::default() };
        let hurry = self.hurry || !self.hears(now).eq(self.told.iter().copied());
        last + if hurry { self.ping_every / HURRY } else { self.ping_every }
    }

    /// When [`Mesh::pings_due`] should be called at the latest. None when this node is no voter
    /// or the only one.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        if !self.voter || self.peers.is_empty() {
            return None;
        }
        let Some(last) = self.last_ping else { return Some(Moment::default()) };
        let ping = self.ping_at(last);
        // A peer that goes dark before that is told about at once.
        let told = self.peers.iter().filter(|peer| self.told.contains(&peer.id));
        let Some(going_dark) = told.filter_map(|peer| peer.heard).min() else { return Some(ping) };
        let soonest = last + self.ping_every / HURRY;
        let dark = going_dark + self.dark_after + Duration::from_nanos(1);
        Some(ping.min(dark.max(soonest)))
    }

    fn is_dark(&self, peer: &Peer, now: Moment) -> bool {
        peer.heard.is_some_and(|at| now.since(at) > self.dark_after)
    }

    fn hears(&self, now: Moment) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(move |peer| !self.is_dark(peer, now)).map(|peer| peer.id)
    }

    /// How to send a frame of this node's own to another node.
    pub(crate) fn route(&self, to: NodeId, now: Moment) -> Route {
        let Some(peer) = self.peer(to).filter(|_| self.voter) else { return Route::Direct };
        let reaches = match self.fresh(to, now) {
            Some(row) => row.hears.contains(&self.me),
            None => !self.is_dark(peer, now),
        };
        if reaches {
            return Route::Direct;
        }
        let mut others = self.peers.iter().map(|peer| peer.id).filter(|via| *via != to);
        let way = others.find(|via| self.leads_to(*via, to, now));
        way.map_or(Route::Dark, Route::Via)
    }

    /// Through whom to send, besides directly, to a node with which this one keeps no connection
    /// as far as it knows: everybody who is connected, since any of them may lack the way or the
    /// knowledge too. Not each in turn: a heartbeat and the append that its answer brings are
    /// answered in a fixed rhythm, in which one kind of answer can miss the one open way for ever.
    /// Such a node has become a member, or got its vote, while this one was away.
    pub(crate) fn ways_to_stranger(&self, to: NodeId) -> impl Iterator<Item = NodeId> {
        let known = self.peer(to).is_some() || (self.voter && self.learners.contains(&to));
        self.present.iter().copied().filter(move |id| !known && *id != to)
    }

    /// Whether a frame of mine to `to` gets there through `via`.
    fn leads_to(&self, via: NodeId, to: NodeId, now: Moment) -> bool {
        let Some(hop) = self.fresh(via, now) else { return false };
        let last_hop = match self.fresh(to, now) {
            Some(row) => row.hears.contains(&via),
            None => hop.hears.contains(&to),
        };
        hop.hears.contains(&self.me) && last_hop
    }

    fn fresh(&self, node: NodeId, now: Moment) -> Option<&Known> {
        let row = self.peer(node)?.row.as_ref();
        row.filter(|row| now.since(row.moved) <= self.dark_after * 2)
    }

    /// Whether this node, having got a frame that is not for it, may pass it on: once, from
    /// another member to another voter. `relayed` frames have used up their hop.
    pub(crate) fn may_relay(&self, from: NodeId, to: NodeId, relayed: bool) -> bool {
        let from_member = self.peer(from).is_some() || self.learners.contains(&from);
        self.voter && !relayed && from != to && from_member && self.peer(to).is_some()
    }
}

impl Peer {
    /// Whether other frames keep its link alive in both directions, and the last ping is recent
    /// enough to do without one now.
    fn is_busy(&self, ping_every: Duration, now: Moment) -> bool {
        let within = |at: Option<Moment>, limit| at.is_some_and(|at| now.since(at) < limit);
        within(self.spoke, ping_every * 3 / 2)
            && within(self.heard, ping_every * 3 / 2)
            && within(self.pinged, ping_every * (2 * BUSY - 1) / 2)
    }
}

#[cfg(test)]
mod tests;
