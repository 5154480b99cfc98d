//! Connections between nodes: each sends on the one that it dialled and receives on those that
//! it accepted.

use std::collections::BTreeSet;

use tenure_core::{NodeId, ledger::Role};
use tenure_replica::Input;

use super::{MS, World, net::Close};
use crate::{
    event::{Event, Happening, Who},
    mutant::Mutant,
};

/// Another node as this one is connected to it.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) out: Option<u64>,
    pub(crate) accepted: BTreeSet<u64>,
    dialling: bool,
    failures: u32,
}

impl Peer {
    /// In words: whom it sends to, and over how many connections it hears it.
    pub(crate) fn shown(&self, id: NodeId) -> String {
        format!("{id}(out: {}, in: {})", self.out.is_some(), self.accepted.len())
    }

    fn present(&self) -> bool {
        self.out.is_some() || !self.accepted.is_empty()
    }
}

impl World {
    pub(crate) fn node_with(&self, id: NodeId) -> Option<usize> {
        // A later machine may carry the same id only in a mutant.
        self.nodes.iter().rposition(|node| node.id == id)
    }

    /// Compares the members with whom this node dials.
    pub(crate) fn meet_members(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(replica) = &node.replica else { return };
        let members = replica.ledger().members();
        if node.members.as_ref() == Some(members) {
            return;
        }
        node.members = Some(members.clone());
        let me = node.id;
        let votes = |id: NodeId| members.get(id).is_some_and(|m| m.role == Role::Voter);
        let wanted: BTreeSet<NodeId> = match members.iter().len() {
            0 => node.acquaintances.clone(),
            _ => {
                let others = members.iter().map(|(id, _)| id).filter(|id| *id != me);
                others.filter(|id| votes(me) || votes(*id)).collect()
            }
        };
        let dropped: Vec<u64> = node
            .peers
            .iter_mut()
            .filter(|(id, _)| !wanted.contains(id))
            .filter_map(|(_, peer)| peer.out.take())
            .collect();
        for conn in dropped {
            self.close(Who::Node(at), conn, Close::Finish);
        }
        for id in wanted {
            let peer = self.nodes[at].peers.entry(id).or_default();
            if peer.out.is_none() && !peer.dialling {
                peer.dialling = true;
                self.dial_after(at, id, 0);
            }
        }
    }

    fn dial_after(&mut self, at: usize, peer: NodeId, wait: u64) {
        let there =
            self.node_with(peer).map_or(self.nodes[at].host, |there| self.nodes[there].host);
        let wait = wait + self.round_trip(self.nodes[at].host, there);
        let (who, life) = (Who::Node(at), self.nodes[at].life);
        self.after(wait, Event::at(who, life, Happening::Dial(peer)));
    }

    fn is_wanted(&self, at: usize, peer: NodeId) -> bool {
        let node = &self.nodes[at];
        match &node.members {
            Some(members) if members.iter().len() > 0 => {
                let votes = |id: NodeId| members.get(id).is_some_and(|m| m.role == Role::Voter);
                members.get(peer).is_some() && (votes(node.id) || votes(peer))
            }
            _ => node.acquaintances.contains(&peer),
        }
    }

    /// An attempt to connect comes to its end.
    pub(crate) fn dial(&mut self, at: usize, id: NodeId) {
        let wanted = self.is_wanted(at, id);
        let Some(peer) = self.nodes[at].peers.get_mut(&id) else { return };
        if !wanted || peer.out.is_some() {
            peer.dialling = false;
            return;
        }
        let there = self.node_with(id);
        let (mine, theirs) = (
            self.nodes[at].host,
            there.map_or(self.nodes[at].host, |there| self.nodes[there].host),
        );
        let dark = self.net.blocked(mine, theirs)
            || self.net.blocked(theirs, mine)
            || self.net.hosts[theirs].down
            || there.is_some_and(|there| self.is_paused(Who::Node(there)));
        let listener = there.filter(|there| !dark && self.accepts(*there, at));
        if let Some(there) = listener {
            self.connect(super::net::Line::Peers, Who::Node(at), Who::Node(there));
            return;
        }
        self.trace
            .line(self.now, || format!("n{} does not reach node {id} (dark: {dark})", at + 1));
        let Some(peer) = self.nodes[at].peers.get_mut(&id) else { return };
        peer.failures += 1;
        let pause = (10 * MS) << peer.failures.min(6);
        let pause = pause / 2 + self.chance.below(pause / 2);
        let timeout = if dark { self.setup.limit() } else { 0 };
        self.dial_after(at, id, pause + timeout);
    }

    /// An id that this node has never heard of may be a member that was added while it was
    /// away: it is let in. An id that was used and is no member was removed.
    fn accepts(&self, there: usize, dialler: usize) -> bool {
        let Some(replica) = &self.nodes[there].replica else { return false };
        let (members, id) = (replica.ledger().members(), self.nodes[dialler].id);
        members.get(id).is_some() || id >= members.next_id()
    }

    pub(crate) fn peer_or_client_up(&mut self, at: usize, conn: u64) {
        let me = Who::Node(at);
        if !self.is_peer_conn(conn) {
            if self.net.conns.contains_key(&conn) {
                self.nodes[at].clients.insert(conn, BTreeSet::new());
            }
            return;
        }
        let Some(other) = self.net.other(conn, me).map(|end| end.who) else { return };
        let Who::Node(there) = other else { return };
        let dialled = self.net.side(conn, me) == Some(0);
        let id = self.nodes[there].id;
        let peer = self.nodes[at].peers.entry(id).or_default();
        let was = peer.present();
        if dialled {
            peer.out = Some(conn);
            (peer.dialling, peer.failures) = (false, 0);
        } else {
            peer.accepted.insert(conn);
        }
        let dial_back = !dialled && peer.out.is_none() && !peer.dialling;
        if dial_back && self.is_wanted(at, id) {
            if let Some(peer) = self.nodes[at].peers.get_mut(&id) {
                peer.dialling = true;
            }
            self.dial_after(at, id, 0);
        }
        if !was {
            self.trace.line(self.now, || format!("n{} meets node {id}", at + 1));
            self.give(at, Input::PeerUp(id));
        }
    }

    pub(crate) fn peer_of(&self, at: usize, conn: u64) -> Option<NodeId> {
        let mut peers = self.nodes[at].peers.iter();
        peers.find(|(_, peer)| peer.accepted.contains(&conn)).map(|(id, _)| *id)
    }

    pub(crate) fn peer_or_client_down(&mut self, at: usize, conn: u64) {
        if self.nodes[at].clients.contains_key(&conn) {
            self.client_gone(at, conn);
            return;
        }
        let mut lost = None;
        for (id, peer) in &mut self.nodes[at].peers {
            let was = peer.present();
            let out = peer.out == Some(conn);
            if out {
                peer.out = None;
            }
            if out || peer.accepted.remove(&conn) {
                lost = Some((*id, was && !peer.present(), out));
                break;
            }
        }
        let Some((id, gone, out)) = lost else { return };
        if gone {
            self.trace.line(self.now, || format!("n{} loses node {id}", at + 1));
            let proven = self.mutated(Mutant::EndOfFileIsDeath);
            self.give(at, Input::PeerLost { peer: id, proven });
        }
        if out
            && self.is_wanted(at, id)
            && let Some(peer) = self.nodes[at].peers.get_mut(&id)
        {
            peer.dialling = true;
            self.dial_after(at, id, 10 * MS);
        }
    }
}
