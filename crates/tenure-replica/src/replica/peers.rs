//! Frames from and to the other nodes.

use core::time::Duration;
use tenure_core::NodeId;

use super::{Now, Output, Replica};
use crate::{PeerBody, PeerFrame, RaftRole, mesh::Route, raft::StepError, takeover::Attempt};

impl Replica {
    pub(super) fn on_frame(&mut self, link: NodeId, frame: PeerFrame, now: Now) {
        self.mesh.heard(link, now.moment);
        if frame.to != self.config.id {
            let to = frame.to;
            if frame.from == link && self.mesh.may_relay(link, to, frame.relayed) {
                let frame = PeerFrame { relayed: true, ..frame };
                self.outputs.push_back(Output::Send { to, frame });
            }
            return;
        }
        self.contact.heard(frame.from, now.moment);
        self.pulse.heard(frame.from, now.moment);
        if let Some((age, committed)) = frame.contact_ms.zip(frame.committed)
            && self.leader() == Some(frame.from)
        {
            let age = Duration::from_millis(u64::from(age));
            self.contact.stood(now.moment - age, committed);
        }
        // A ping speaks of the link that it came on.
        if matches!(frame.body, PeerBody::Ping(_)) && (frame.relayed || frame.from != link) {
            return;
        }
        if matches!(frame.body, PeerBody::Raft(_)) {
            self.note_sign(frame.from, now.moment);
        }
        self.on_body(frame.from, frame.body, now);
    }

    pub(super) fn on_body(&mut self, from: NodeId, body: PeerBody, now: Now) {
        match body {
            PeerBody::Raft(message) if message.from() != from => {}
            PeerBody::Raft(message) => {
                // A message that cannot be used is dropped like one that was lost.
                if let Err(error @ StepError::LogLost { .. }) = self.consensus.step(*message) {
                    let id = self.config.id;
                    let member = self.ledger.members().get(id);
                    let name = member.map_or_else(|| id.to_string(), |it| it.name.to_string());
                    let why = format!(
                        "{error}. It must not vote under its old id: run `tenure cluster remove \
                         {name}` on another node, then start this one with an empty data \
                         directory and `tenure node --join`"
                    );
                    self.outputs.push_back(Output::Stop { why });
                }
            }
            PeerBody::Ping(rows) => self.mesh.on_ping(from, &rows, now.moment),
            PeerBody::Wishes(wishes) => {
                for wish in wishes {
                    self.on_wish(from, wish);
                }
            }
            PeerBody::Declined { request, refusal } => self.refuse(request, &refusal),
            PeerBody::Confirm { number, sessions } => self.on_confirm(from, number, sessions, now),
            PeerBody::Confirmed { number, index, gone } => {
                self.questions.confirmed(number, index, gone);
            }
            PeerBody::Dead { process, observed } => self.on_dead(process, observed, now),
            PeerBody::Hello { directory } => self.on_hello(from, directory, now),
            PeerBody::Members(members) => self.on_members(members, now),
            PeerBody::Located(zones) => self.on_located(zones, now),
            PeerBody::TransferQuorum { to } => self.on_transfer_quorum(to),
        }
    }

    /// Sends by the direct link, or through a voter that reaches both when it is dark or not
    /// there. What is for this node itself is taken in at once.
    pub(super) fn send(&mut self, dst: NodeId, body: PeerBody, now: Now) {
        if dst == self.config.id {
            return self.on_body(dst, body, now);
        }
        let hop = match self.mesh.route(dst, now.moment) {
            Route::Via(hop) => hop,
            Route::Direct | Route::Dark => dst,
        };
        self.mesh.spoke(hop, now.moment);
        let frame = self.frame(dst, body, now);
        // A frame that arrives twice does no harm.
        for hop in self.mesh.ways_to_stranger(dst) {
            self.outputs.push_back(Output::Send { to: hop, frame: frame.clone() });
        }
        self.outputs.push_back(Output::Send { to: hop, frame });
    }

    pub(super) fn frame(&self, to: NodeId, body: PeerBody, now: Now) -> PeerFrame {
        let contact = self.quorum_moment(now.moment).map(|at| now.moment.since(at));
        PeerFrame {
            from: self.config.id,
            to,
            relayed: false,
            contact_ms: contact.map(|age| u32::try_from(age.as_millis()).unwrap_or(u32::MAX)),
            committed: contact.map(|_| self.consensus.committed()),
            body,
        }
    }

    pub(super) fn on_peer_lost(&mut self, peer: NodeId, proven: bool, now: Now) {
        self.mesh.left(peer);
        self.consensus.report_unreachable(peer);
        let led = self.leader() == Some(peer) || self.takeover.is_about(peer);
        if !led || !self.consensus.promotable() {
            return;
        }
        if self.takeover.begin(peer, self.config.id, &self.voters, proven, now.moment) {
            self.consensus.forget_leader(peer);
            self.note_role(now);
        }
    }

    pub(super) fn attempt_takeover(&mut self, now: Now) {
        if self.leader().is_some() {
            self.takeover.end();
            return;
        }
        let counting = self.consensus.standing().role == RaftRole::Candidate;
        match self.takeover.attempt(now.moment) {
            Some(Attempt::Ask) => _ = self.consensus.campaign(),
            // Votes are on their way already; a new term would waste them.
            Some(Attempt::AskAgain | Attempt::Forced) if counting => {}
            Some(Attempt::AskAgain) => _ = self.consensus.campaign(),
            Some(Attempt::Forced) => _ = self.consensus.campaign_forced(),
            None => {}
        }
    }
}
