//! What drives consensus: time, peers, proposals and what is known about the dead.

use super::check::{BARRIER_BYTES, Receiver};
use super::message::{MessageKind, RaftMessage};
use super::{Consensus, StepError, convert};
use crate::RaftRole;
use crate::log::Snapshot;
use ::raft::eraftpb::{Entry, Message, MessageType};
use ::raft::{ProgressState, SnapshotStatus, StateRole, Storage};
use tenure_core::NodeId;

/// Why a proposal was not taken. Nothing was appended: it may be proposed again, elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Ask the leader.
    #[error("this node is not the leader")]
    NotLeader,
    /// The leadership is being handed over; ask again in a moment.
    #[error("the leadership is being transferred")]
    Transferring,
    /// Too much is proposed and not committed; ask again in a moment.
    #[error("too many proposals are waiting to be committed")]
    Overloaded,
    /// One membership change at a time; ask again in a moment.
    #[error("another membership change is under way")]
    ChangePending,
    /// The change makes no sense for the present membership.
    #[error("the membership change does not fit the present membership")]
    ChangeRefused,
}

impl Consensus {
    /// One tick of the clock.
    pub(crate) fn tick(&mut self) {
        let raft = &self.node.raft;
        let due = raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        let would_campaign = raft.state != StateRole::Leader && raft.promotable() && due;
        if would_campaign && !self.may_campaign() {
            return; // The time-out stays due; it is seldom more than one write away.
        }
        self.node.tick();
        self.retry_snapshots();
        self.settle();
    }

    /// Whether the library survives a campaign now. A campaign looks at all entries that are
    /// committed but not applied, which after a received snapshot exist only once that is
    /// applied; and a single voter leads as soon as it campaigns, for which the library wants
    /// its whole log persisted.
    fn may_campaign(&self) -> bool {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        raft.promotable()
            && log.applied + 1 >= log.first_index()
            && (self.is_all_written() || !raft.prs().is_singleton())
    }

    fn is_all_written(&self) -> bool {
        let log = &self.node.raft.raft_log;
        let handed_out = log.unstable_entries().is_empty() && log.unstable_snapshot().is_none();
        handed_out && self.writes.is_settled()
    }

    /// A message from a peer, direct or relayed.
    ///
    /// # Errors
    ///
    /// When it cannot be taken; the state is as before. See [`StepError`] for whose fault it is.
    pub(crate) fn step(&mut self, message: RaftMessage) -> Result<(), StepError> {
        let raft = &self.node.raft;
        let receiver = Receiver {
            me: self.me,
            term: raft.term,
            last_index: raft.raft_log.last_index(),
            leader: NodeId::new(raft.leader_id),
        };
        receiver.check(&message)?;
        let from = message.from;
        if message.kind == MessageKind::TimeoutNow {
            // Only who leads can hand over: from anybody else, or late, it would depose a
            // leader. Not taken is not lost: the leader takes its offer back after a while.
            let handed_over = receiver.leader == Some(from) && message.term == receiver.term;
            if !handed_over || !self.may_campaign() {
                return Ok(());
            }
        }
        if message.kind == MessageKind::VoteResponse && !self.is_all_written() {
            // The request for it waits for the disk, so nobody can have answered it; and the
            // library wants its whole log persisted when it wins.
            return Ok(());
        }
        let outcome = self.node.step(convert::message_in(message));
        self.settle();
        match outcome {
            Ok(()) => Ok(()),
            Err(::raft::Error::StepPeerNotFound) => Err(StepError::NotMember(from)),
            Err(_) => Err(StepError::Malformed { from, problem: "the library refused it" }),
        }
    }

    /// Appends commands, if this node leads; they travel in one message to each node. Returns the
    /// term and index that the last will have *if* it is committed: another leader can still put
    /// something else there.
    ///
    /// # Errors
    ///
    /// When none was appended.
    pub(crate) fn propose(&mut self, commands: Vec<Vec<u8>>) -> Result<(u64, u64), ProposeError> {
        self.may_propose()?;
        let entry = |data: Vec<u8>| Entry { data: data.into(), ..Entry::default() };
        let entries: Vec<_> = commands.into_iter().map(entry).collect();
        // The library proposes one at a time; that is the same message with one entry.
        let mut message = Message { from: self.me.get(), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(entries.into());
        let outcome = self.node.raft.step(message);
        if self.reported.role != RaftRole::Leader {
            self.send_first_entries_together();
        }
        self.proposed(outcome)
    }

    /// A new leader's first append is made with its empty entry in the moment of its election,
    /// and the library sends no second one before the first is answered. Nothing has left yet:
    /// the append is made again, with what was proposed since.
    fn send_first_entries_together(&mut self) {
        let raft = &mut self.node.raft;
        raft.msgs.retain(|message| message.get_msg_type() != MessageType::MsgAppend);
        for (_, progress) in raft.mut_prs().iter_mut() {
            if progress.state == ProgressState::Probe {
                progress.resume();
            }
        }
        raft.bcast_append();
    }

    pub(super) fn may_propose(&self) -> Result<(), ProposeError> {
        // A follower's library would forward the proposal on its own, with an outcome that
        // nobody could ever tell its proposer.
        if !self.is_leader() {
            return Err(ProposeError::NotLeader);
        }
        match self.node.raft.lead_transferee {
            Some(_) => Err(ProposeError::Transferring),
            None => Ok(()),
        }
    }

    pub(super) fn proposed(
        &mut self,
        outcome: ::raft::Result<()>,
    ) -> Result<(u64, u64), ProposeError> {
        outcome.map_err(|_| ProposeError::Overloaded)?;
        Ok((self.node.raft.term, self.last_index()))
    }

    /// Asks a quorum to confirm that this node still leads. The answer comes out of `ready` as a
    /// [`super::Barrier`] with this `ctx`; every barrier asked for before it comes with it at
    /// the latest. Unanswered ones are asked again with each heartbeat, and are dropped without
    /// a word when this node stops leading. False when it does not lead, or has not committed an
    /// entry of its term yet: ask again later.
    pub(crate) fn read_barrier(&mut self, ctx: u64) -> bool {
        if !self.is_leader() || !self.committed_in_term() {
            return false;
        }
        // Never the same context twice: a late answer to the first would confirm the second.
        self.barriers += 1;
        let mut context = [0; BARRIER_BYTES];
        let (count, own) = context.split_at_mut(BARRIER_BYTES / 2);
        count.copy_from_slice(&self.barriers.to_be_bytes());
        own.copy_from_slice(&ctx.to_be_bytes());
        self.node.read_index(context.to_vec());
        true
    }

    /// The voter among those who may that would be the best next leader: heard from lately, with
    /// the longest log.
    pub(crate) fn heir(&self, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let others = self.peers().into_iter();
        let others = others.filter(|peer| peer.voter && peer.id != self.me && may(peer.id));
        let best = |peer: &super::PeerProgress| {
            (peer.recent_active, peer.matched, core::cmp::Reverse(peer.id))
        };
        others.max_by_key(best).map(|peer| peer.id)
    }

    /// Starts to hand the leadership to a voter. Proposals are refused until it has it, or until
    /// an election time-out has passed. False when this node does not lead or the other one is
    /// no voter.
    pub(crate) fn transfer_to(&mut self, to: NodeId) -> bool {
        let voter = self.node.raft.prs().conf().voters().contains(to.get());
        if !self.is_leader() || !voter || to == self.me {
            return false;
        }
        self.node.transfer_leader(to.get());
        true
    }

    /// The connection to a peer ended. If that peer is the leader this node believes in, it
    /// believes in none any more: it then answers other nodes' pre-votes, which it would not
    /// while it hears a leader. Returns whether that was so. Call it after every frame of that
    /// connection has been stepped, as each would bring the belief back.
    pub(crate) fn forget_leader(&mut self, peer: NodeId) -> bool {
        let raft = &mut self.node.raft;
        let was = raft.leader_id == peer.get() && raft.state != StateRole::Leader;
        if was {
            raft.leader_id = ::raft::INVALID_ID;
        }
        was
    }

    /// Asks the others whether they would elect this node, and if a majority would, to do so. It
    /// deposes nobody: whoever still hears a leader refuses. They refuse without a word, so
    /// repeat it while this node is a pre-candidate. A candidate starts over, as after votes that
    /// were split. Returns whether a campaign was started.
    pub(crate) fn campaign(&mut self) -> bool {
        if self.is_leader() || !self.may_campaign() {
            return false;
        }
        let outcome = self.node.campaign();
        self.settle();
        outcome.is_ok() && self.node.raft.state != StateRole::Follower
    }

    /// Asks to be elected even by those who still hear a leader. Only where that leader's death
    /// is *proved*: it deposes a living one. Once per death: every call starts a new term.
    pub(crate) fn campaign_forced(&mut self) -> bool {
        if self.is_leader() || !self.may_campaign() {
            return false;
        }
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower {
            // Candidates ignore what comes next.
            raft.become_follower(raft.term, ::raft::INVALID_ID);
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgTimeoutNow);
        message.from = self.me.get();
        let outcome = raft.step(message);
        self.settle();
        outcome.is_ok() && self.node.raft.state != StateRole::Follower
    }

    /// Frames to this peer are being lost: the leader goes back to probing where it is.
    pub(crate) fn report_unreachable(&mut self, peer: NodeId) {
        self.node.report_unreachable(peer.get());
        self.report_snapshot(peer, false);
    }

    /// A snapshot sent to this peer has left this node, or could not be sent.
    pub(crate) fn report_snapshot(&mut self, peer: NodeId, ok: bool) {
        let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(peer.get(), status);
    }

    /// The library waits for ever for a follower to confirm a snapshot. A lost one is sent again
    /// after two election time-outs.
    fn retry_snapshots(&mut self) {
        if !self.is_leader() {
            self.snapshot_waits.clear();
            return;
        }
        let mut overdue = Vec::new();
        let waits = &mut self.snapshot_waits;
        let prs = self.node.raft.prs();
        waits.retain(|id, _| prs.get(*id).is_some_and(|p| p.state == ProgressState::Snapshot));
        for (id, _) in prs.iter().filter(|(_, p)| p.state == ProgressState::Snapshot) {
            let ticks = waits.entry(*id).or_insert(0);
            *ticks += 1;
            if *ticks > 2 * self.election_ticks {
                *ticks = 0;
                overdue.push(*id);
            }
        }
        overdue.sort_unstable();
        for id in overdue {
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
    }

    /// The state machine's state as of [`Consensus::applied`]. It is kept for followers
    /// that are far behind, comes out of `ready` to be persisted, and lets the log before it be
    /// cut but for a tail: of `log_tail` entries, or of `tail_bytes` where that is more. Returns the
    /// snapshot's index, or none when the log cannot take one now (nothing new is applied, or a
    /// snapshot from the leader is still being written).
    pub(crate) fn offer_snapshot(&mut self, data: Vec<u8>, tail_bytes: usize) -> Option<u64> {
        let index = self.node.raft.raft_log.applied;
        let store = self.node.store();
        let wanted = store.wants_snapshot();
        let newer = index > store.snapshot_index() && index == self.state_at;
        if !newer || self.membership_ahead {
            return None;
        }
        let term = store.term(index).ok()?;
        let snapshot = Snapshot { index, term, membership: self.membership(), data };
        let compact_to = store.before_tail(index, self.log_tail, tail_bytes);
        let first = store.first_index().unwrap_or(0);
        let cut = (compact_to >= first).then_some(compact_to);
        self.made = Some((snapshot.clone(), cut));
        let store = self.node.mut_store();
        store.compact(convert::snapshot_in(snapshot), compact_to);
        if wanted && self.is_leader() {
            self.offer_to_waiting();
        }
        Some(index)
    }

    /// Followers that could not be sent a snapshot would be tried again with a heartbeat.
    fn offer_to_waiting(&mut self) {
        let first = self.node.raft.raft_log.first_index();
        let mut waiting: Vec<u64> = Vec::new();
        for (id, progress) in self.node.raft.prs().iter() {
            if *id != self.me.get() && progress.next_idx < first {
                waiting.push(*id);
            }
        }
        waiting.sort_unstable();
        for id in waiting {
            self.node.raft.send_append(id);
        }
    }
}
