//! The other nodes: whom to dial, who is connected, who is dead.

use std::collections::BTreeMap;

use core::time::Duration;
use tenure_core::{
    Incarnation, Moment, NodeId, NodeName, WallTime,
    ledger::{Members, Role},
};
use tenure_replica::Input;

use super::{super::connections::Guest, Driver};
use crate::{clock, transport::TransportEvent, wire::Rejected};

/// A Raft leader on this machine has acted on a death by then.
const LEADER_ACTS: Duration = Duration::from_millis(10);

/// Who is connected, and under which start of its process.
#[derive(Debug)]
pub(super) struct Peers {
    me: NodeId,
    dial: BTreeMap<NodeName, String>,
    acquaintances: Vec<(NodeId, NodeName, String)>,
    /// Under which start of its process each connected node runs.
    present: BTreeMap<NodeId, Incarnation>,
    members: Option<Members>,
    /// Deaths that the Raft leader is expected to have seen for itself, with when to report
    /// them all the same.
    reports: Vec<(Moment, Incarnation, WallTime)>,
    /// What each node last said when it refused this one.
    rejected: BTreeMap<NodeId, Rejected>,
}

impl Peers {
    pub(super) fn new(
        me: NodeId,
        dial: BTreeMap<NodeName, String>,
        acquaintances: Vec<(NodeId, NodeName, String)>,
    ) -> Self {
        Self {
            me,
            dial,
            acquaintances,
            present: BTreeMap::new(),
            members: None,
            reports: Vec::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// Whom to dial, when the members have changed.
    pub(super) fn update(&mut self, members: &Members) -> Option<BTreeMap<NodeId, String>> {
        if self.members.as_ref() == Some(members) {
            return None;
        }
        self.members = Some(members.clone());
        Some(self.wanted(members))
    }

    /// Voters and whoever may have to answer them are connected; two learners need nothing from
    /// each other. A node that joins talks to whom its contact named until the log says more.
    fn wanted(&self, members: &Members) -> BTreeMap<NodeId, String> {
        if members.iter().len() == 0 {
            let known = self.acquaintances.iter();
            return known.map(|(id, name, addr)| (*id, self.address(name, addr))).collect();
        }
        let votes = |id: NodeId| members.get(id).is_some_and(|m| m.role == Role::Voter);
        let i_vote = votes(self.me);
        members
            .iter()
            .filter(|(id, member)| *id != self.me && member.role != Role::Member)
            .filter(|(id, _)| i_vote || votes(*id))
            .map(|(id, member)| (id, self.address(&member.name, &member.address)))
            .collect()
    }

    fn address(&self, name: &NodeName, advertised: &str) -> String {
        self.dial.get(name).cloned().unwrap_or_else(|| advertised.to_owned())
    }

    fn node_of(&self, process: Incarnation) -> Option<NodeId> {
        self.present.iter().find(|(_, known)| **known == process).map(|(id, _)| *id)
    }
}

impl Driver {
    pub(super) fn on_transport(&mut self, event: TransportEvent) {
        let now = clock::now();
        match event {
            TransportEvent::PeerUp { id, incarnation } => {
                self.peers.present.insert(id, incarnation);
                self.replica.handle(Input::PeerUp(id), now);
            }
            TransportEvent::PeerFrame { link, frame, hold: _hold } => {
                self.replica.handle(Input::Peer { link, frame }, now);
            }
            TransportEvent::PeerDown { id, proven, .. } => {
                self.replica.handle(Input::PeerLost { peer: id, proven }, now);
            }
            TransportEvent::Died { process, observed } => {
                let peer = self.peers.node_of(process);
                if let Some(peer) = peer {
                    tracing::info!(%peer, %process, "the process of a node is dead");
                    self.peers.present.remove(&peer);
                    self.replica.handle(Input::PeerLost { peer, proven: true }, now);
                }
                if peer.is_some() && self.leader_sees_for_itself() {
                    self.peers.reports.push((now.moment + LEADER_ACTS, process, observed));
                } else {
                    self.replica.handle(Input::Died { process, observed }, now);
                }
            }
            TransportEvent::ClientUp { client, process, member, to, .. } => {
                let is_member = member.is_some();
                self.clients.add(client, Guest { process, member, to });
                if is_member {
                    self.tell_members();
                }
            }
            TransportEvent::ClientFrame { client, frame, hold: _hold } => {
                self.on_question(client, frame);
            }
            TransportEvent::ClientDown { client } => {
                if self.clients.remove(client) {
                    self.tell_members();
                }
                self.subscriptions.forget(client);
            }
            TransportEvent::Rejected { peer, why } => self.on_rejected(peer, &why),
        }
    }

    /// Somebody may have to take a dead voter's place.
    fn tell_members(&mut self) {
        let members = self.clients.members();
        self.replica.handle(Input::Members(members), clock::now());
    }

    /// Whether the Raft leader is another node of this machine, so that it holds the same pidfds
    /// of nodes: telling it at once would only take the processor from it.
    fn leader_sees_for_itself(&self) -> bool {
        let leader = self.replica.status(clock::moment()).leader;
        leader.is_some_and(|leader| self.transport.would_prove(leader))
    }

    /// Hands over the reports whose time has come: at once when the Raft leader that was to act
    /// is no longer there.
    pub(super) fn report_deaths(&mut self) {
        if self.peers.reports.is_empty() {
            return;
        }
        let now = clock::now();
        let all = !self.leader_sees_for_itself();
        let due = self.peers.reports.extract_if(.., |(at, ..)| all || *at <= now.moment);
        for (_, process, observed) in due.collect::<Vec<_>>() {
            self.replica.handle(Input::Died { process, observed }, now);
        }
    }

    pub(super) fn next_report(&self) -> Option<Moment> {
        self.peers.reports.iter().map(|(at, ..)| *at).min()
    }

    /// Once is enough: it comes with every attempt to connect.
    fn on_rejected(&mut self, by: NodeId, why: &Rejected) {
        let fatal = match why {
            Rejected::Directory { .. } => Some(why.to_string()),
            // Said by nobody who has not applied the removal; ids are never used again.
            Rejected::NotMember { .. } => Some(format!(
                "{} was removed from the cluster; its data directory is of no more use. To bring \
                 this host back: `tenure node --join` with an empty one",
                self.clients.identity().name
            )),
            _ => None,
        };
        if self.peers.rejected.get(&by) != Some(why) {
            tracing::warn!(%by, %why, "a node refuses this one");
            self.peers.rejected.insert(by, why.clone());
        }
        if fatal.is_some() {
            self.stop = Some(fatal);
        }
    }
}
