//! Carries out what a replica wants, in its order.

use std::collections::BTreeMap;

use tenure_core::ledger::{Event as Change, EventKind};
use tenure_core::{ElectionName, NodeId};
use tenure_replica::{Input, Output, PeerFrame, RaftRole, Replica};

use super::World;
use crate::{
    event::{Item, Who},
    mutant::{self, Mutant},
};

impl World {
    pub(crate) fn node_follow(&mut self, at: usize) {
        let mut quiet = true;
        while let Some(output) = self.nodes[at].replica.as_mut().and_then(Replica::poll) {
            quiet = false;
            self.carry_out(at, output);
        }
        if self.nodes[at].replica.is_none() {
            return;
        }
        self.watch_freshness(at);
        if !quiet {
            self.law.node_stands(self.now, &self.nodes[at]);
        }
        self.stop_if_told(at);
        self.arm_node(at);
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Persist(unit) => {
                self.trace.note(&[2, self.now, at as u64, unit.number, unit.entries.len() as u64]);
                self.persist(at, unit);
            }
            Output::Send { to, frame } => {
                let Some(frame) = self.altered_frame(at, to, frame) else { return };
                let out = self.nodes[at].peers.get(&to).and_then(|peer| peer.out);
                if let Some(conn) = out {
                    self.transmit(Who::Node(at), conn, Item::Frame(Box::new(frame)));
                }
            }
            Output::Reply { client, number, answer } => self.on_answer(at, client, number, answer),
            Output::Publish(changes) => self.publish(at, &changes),
            Output::Role { role, term, leader } => {
                self.trace.note(&[3, self.now, at as u64, role as u64, term]);
                self.trace.line(self.now, || {
                    format!("n{} is {role:?} in term {term} (leader {leader:?})", at + 1)
                });
                let (node, now) = (&self.nodes[at], self.now);
                if role == RaftRole::Leader {
                    self.law.node_leads(now, node, term);
                }
                let led = std::mem::replace(&mut self.nodes[at].leads, role == RaftRole::Leader);
                if led && role != RaftRole::Leader && self.mutated(Mutant::DeposedExpires) {
                    self.expire_as_deposed(at);
                }
            }
            Output::HandedOver => self.node_ends(at),
            Output::Stop { why } => self.nodes[at].stop = Some(why),
        }
    }

    /// What a shell with a bug does with a frame instead of sending it.
    fn altered_frame(&mut self, at: usize, to: NodeId, frame: PeerFrame) -> Option<PeerFrame> {
        match self.mutant {
            Some(Mutant::PreVoteOff) => {
                if let Some(grant) = mutant::granted_pre_vote(&frame) {
                    self.give(at, Input::Peer { link: to, frame: grant });
                    return None;
                }
            }
            Some(Mutant::StrangersUnanswered) => {
                let members = self.nodes[at].replica.as_ref()?.ledger().members();
                members.get(frame.to)?;
            }
            _ => {}
        }
        Some(frame)
    }

    fn publish(&mut self, at: usize, changes: &[Change]) {
        let members = |change: &Change| {
            matches!(
                change.kind,
                EventKind::MemberAdded { .. }
                    | EventKind::MemberPromoted { .. }
                    | EventKind::MemberRemoved { .. }
            )
        };
        if changes.is_empty() {
            self.law.node_installed(self.now, &self.nodes[at]);
        }
        for change in changes {
            self.new_change(at, change);
        }
        if changes.is_empty() || changes.iter().any(members) {
            self.meet_members(at);
        }
        let mut elections: BTreeMap<ElectionName, ()> = BTreeMap::new();
        for change in changes {
            if let Some(election) = change.kind.election() {
                elections.insert(election.clone(), ());
            }
        }
        for election in elections.into_keys() {
            self.push_to_followers(at, &election);
        }
        if changes.is_empty() && !self.mutated(Mutant::InstallUntold) {
            self.push_all_followed(at);
        }
    }

    /// A change as this node applied it: perhaps the first to do so.
    fn new_change(&mut self, at: usize, change: &Change) {
        self.trace.note(&[4, self.now, at as u64, change.revision.get()]);
        if !self.law.node_applies(self.now, self.nodes[at].id, change) {
            return;
        }
        self.trace.line(self.now, || format!("n{} first to apply {:?}", at + 1, change));
        match &change.kind {
            EventKind::Elected { election, leader, session, .. } => {
                self.law.granted(self.now, election, leader.token, *session);
            }
            EventKind::Ended { election, token, reason, .. } => {
                self.check_ended(election, *token, *reason);
            }
            EventKind::Revoked { election, token, .. } if self.mutated(Mutant::EvictionAtOnce) => {
                self.finish_eviction_at_once(at, election, *token);
            }
            _ => {}
        }
    }
}
