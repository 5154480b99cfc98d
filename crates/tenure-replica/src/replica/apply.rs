//! From the log into the ledger, and out to disk, peers and clients.

use tenure_core::{
    NodeId,
    ledger::{self, Command, Event, EventKind, Ledger, MemberChange, Outcome},
};

use super::{Now, Output, Replica};
use crate::{
    Answer, Entry, EntryKind, Membership, PeerBody, RaftRole, Snapshot,
    codec::{self, DecodeError},
    proposal::{MemberProposal, Proposal},
    raft::{MembershipChange, Ready, Standing},
};

/// Log size after which a snapshot is made even when few entries were applied.
const SNAPSHOT_BYTES: usize = 8 << 20;
/// A state of this size is not written again for a few entries.
const LARGE: usize = 256 << 10;

impl Replica {
    /// Carries out what the Raft library has ready.
    pub(super) fn carry_out(&mut self, ready: Ready, now: Now) {
        if let Some(snapshot) = &ready.install {
            self.to_apply.clear();
            self.install(snapshot, now);
        }
        self.note_role(now);
        // These may leave before the write below is durable; what may not is held back inside
        // the consensus until `Persisted`.
        for message in ready.messages {
            self.send(message.to(), PeerBody::Raft(Box::new(message)), now);
        }
        if let Some(persist) = ready.persist {
            self.outputs.push_back(Output::Persist(persist));
        }
        self.to_apply.extend(ready.committed);
        if let Some(leading) = &mut self.leading {
            for barrier in &ready.barriers {
                if let Some(begun) = leading.rounds.begun_at(barrier.ctx) {
                    self.pulse.answered(now.moment.since(begun), now.moment);
                }
                leading.confirmed.push_back((barrier.ctx, barrier.index));
            }
        }
    }

    /// Compares role, term and leader with what was last told, and acts on a change.
    pub(super) fn note_role(&mut self, now: Now) {
        let standing = self.consensus.standing();
        let before = std::mem::replace(&mut self.standing, standing);
        if standing == before {
            return;
        }
        let Standing { role, term, leader } = standing;
        if role != RaftRole::Leader {
            self.leading = None;
        } else if before.role != RaftRole::Leader || before.term != term {
            self.start_leading(now);
        }
        if leader.is_none() && term > before.term && role == RaftRole::Follower {
            self.takeover.give_way(now.moment);
        }
        if leader.is_some() && (leader != before.leader || term != before.term) {
            self.takeover.end();
            self.requests.send_all(now.moment);
            self.questions.ask_again();
            self.dead.begin_again(now.moment);
        }
        self.outputs.push_back(Output::Role { role, term, leader });
    }

    fn install(&mut self, snapshot: &Snapshot, now: Now) {
        match codec::decode::<Ledger>(&snapshot.data) {
            Ok(ledger) => {
                self.ledger = ledger;
                self.members_changed();
                self.applied_since_snapshot = 0;
                self.snapshot_bytes = snapshot.data.len();
                self.dead.begin_again(now.moment);
                self.outputs.push_back(Output::Publish(Vec::new()));
            }
            Err(error) => self.stop_unreadable("snapshot", snapshot.index, &error),
        }
    }

    /// Applies what is committed, as long as there is `room` for more changes: the rest waits
    /// until what came meanwhile was looked at.
    pub(super) fn apply_some(&mut self, room: &mut u64, now: Now) {
        let mut last = None;
        while *room > 0 {
            let Some(entry) = self.to_apply.pop_front() else { break };
            let before = self.ledger.revision().get();
            self.apply(&entry, now);
            *room = room.saturating_sub(1 + self.ledger.revision().get() - before);
            last = Some(entry.index);
            if let Some(leading) = &mut self.leading {
                leading.up_to_date |= entry.term == self.standing.term;
            }
        }
        if let Some(last) = last {
            self.consensus.applied_to(last);
        }
    }

    fn apply(&mut self, entry: &Entry, now: Now) {
        self.applied_since_snapshot += 1;
        match entry.kind {
            // A new Raft leader's first entry.
            EntryKind::Command if entry.data.is_empty() => {}
            EntryKind::Command => match codec::decode::<Proposal>(&entry.data) {
                Ok(proposal) => {
                    let Proposal { request, at, command } = proposal;
                    let applied = self.ledger.apply(request, at, command);
                    self.publish(applied.events, now);
                    self.answer(request, &applied.outcome);
                }
                Err(error) => self.stop_unreadable("entry", entry.index, &error),
            },
            EntryKind::Membership => match codec::decode::<MemberProposal>(&entry.data) {
                Ok(proposal) => self.apply_member(proposal, now),
                Err(error) => self.stop_unreadable("entry", entry.index, &error),
            },
        }
    }

    fn apply_member(&mut self, proposal: MemberProposal, now: Now) {
        let MemberProposal { request, at, change } = proposal;
        let raft_change = match change {
            MemberChange::Add { id, .. } | MemberChange::Enrol { id } => {
                Some(MembershipChange::AddLearner(id))
            }
            MemberChange::Promote { id, .. } => Some(MembershipChange::AddVoter(id)),
            MemberChange::Demote { id } => Some(MembershipChange::DropVote(id)),
            MemberChange::Remove { id } => Some(MembershipChange::Remove(id)),
            MemberChange::Seen { .. } | MemberChange::Locate { .. } => None,
        };
        let applied = self.ledger.apply(request, at, Command::Member(change));
        let refused = matches!(applied.outcome, Outcome::Refused(_));
        self.consensus.apply_membership(raft_change.filter(|_| !refused));
        self.members_changed();
        self.note_member();
        self.publish(applied.events, now);
        self.answer(request, &applied.outcome);
    }

    fn answer(&mut self, request: Option<tenure_core::RequestId>, outcome: &Outcome) {
        for waiter in request.map(|id| self.requests.take(id)).unwrap_or_default() {
            self.reply(waiter, Answer::Outcome(outcome.clone()));
        }
    }

    fn publish(&mut self, events: Vec<Event>, now: Now) {
        if events.is_empty() {
            return;
        }
        for event in &events {
            if let Some(leading) = &mut self.leading {
                leading.clocks.applied(&self.ledger, event, now.moment);
            }
            match &event.kind {
                // Perhaps by a process that is dead by now.
                EventKind::SessionOpened { session, .. } => self.dead.opened(session.process),
                EventKind::MemberRemoved { id, name } if *id == self.config.id => {
                    let why = format!(
                        "{name} was removed from the cluster; its data directory is of no more \
                         use. To bring this host back: `tenure node --join` with an empty one"
                    );
                    self.outputs.push_back(Output::Stop { why });
                }
                _ => {}
            }
        }
        self.outputs.push_back(Output::Publish(events));
    }

    pub(super) fn members_changed(&mut self) {
        let membership = self.consensus.membership();
        self.mesh.set_members(&membership.voters, &membership.learners);
        self.voters = membership.voters;
    }

    /// Makes a snapshot when the log has grown or somebody needs one. True when it did.
    pub(super) fn snapshot_if_due(&mut self) -> bool {
        let (entries, bytes) = (self.applied_since_snapshot, self.consensus.bytes_since_snapshot());
        // A large state is written when the log has grown by as much, so that all its snapshots
        // together are no more work than the log.
        let grown = self.snapshot_bytes < LARGE || bytes >= self.snapshot_bytes;
        let full = grown && (bytes >= SNAPSHOT_BYTES || entries >= self.config.snapshot_every);
        if !full && !self.consensus.wants_snapshot() {
            return false;
        }
        let snapshot = codec::encode(&self.ledger);
        let size = snapshot.len();
        // While ten thousand entries a second are applied, a follower that is a moment behind is
        // sooner up to date with these than with the whole of a large state.
        let tail = if size < LARGE { 0 } else { size / 4 };
        let made = self.consensus.offer_snapshot(snapshot, tail).is_some();
        if made {
            self.applied_since_snapshot = 0;
            self.snapshot_bytes = size;
        }
        made
    }

    fn stop_unreadable(&mut self, what: &str, index: u64, error: &DecodeError) {
        let why = format!(
            "the {what} at index {index} of the committed log cannot be read: {error}. Going on \
             would make this node differ from the others"
        );
        self.outputs.push_back(Output::Stop { why });
    }
}

/// The Raft membership that a ledger's members stand for.
pub(super) fn membership_of(ledger: &Ledger) -> Option<Membership> {
    let of_role = |role: ledger::Role| -> Vec<NodeId> {
        let members = ledger.members().iter();
        members.filter(|(_, member)| member.role == role).map(|(id, _)| id).collect()
    };
    let membership = Membership {
        voters: of_role(ledger::Role::Voter),
        learners: of_role(ledger::Role::Learner),
    };
    (!membership.voters.is_empty()).then_some(membership)
}
