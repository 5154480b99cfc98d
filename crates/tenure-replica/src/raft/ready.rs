//! What comes out of consensus, in the order in which it may take effect.

use ::raft::eraftpb::{Message, MessageType};

use super::convert;
use super::message::RaftMessage;
use super::{BARRIER_BYTES, Consensus, Standing};
use crate::log::{Entry, Persist, Snapshot};

/// A read barrier that a quorum has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    /// As given to [`Consensus::read_barrier`].
    pub(crate) ctx: u64,
    /// The answer holds once the state machine has applied up to here.
    pub(crate) index: u64,
}

/// One round of output. Use the fields in the order in which they are declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// To be put on disk, in the order of the numbers; then call [`Consensus::persisted`].
    pub(crate) persist: Option<Persist>,
    /// May leave now, whatever the disk is doing: what depends on a write is held back and
    /// comes out of a later round.
    pub(crate) messages: Vec<RaftMessage>,
    /// Replace the state machine by this before anything else is applied. Counts as applied.
    pub(crate) install: Option<Snapshot>,
    /// Apply in this order, then call [`Consensus::applied_to`]. Every entry here is committed by
    /// the quorum *and* persisted on this node, so a leader with a slow disk applies late, but
    /// nothing applied is ever missing after a restart.
    pub(crate) committed: Vec<Entry>,
    /// Read barriers confirmed since the last round.
    pub(crate) barriers: Vec<Barrier>,
    /// The new standing, when the role, the leader or the term changed.
    pub(crate) standing: Option<Standing>,
}

impl Ready {
    fn is_empty(&self) -> bool {
        let Self { persist, messages, install, committed, barriers, standing } = self;
        let lists = messages.is_empty() && committed.is_empty() && barriers.is_empty();
        lists && persist.is_none() && install.is_none() && standing.is_none()
    }
}

impl Consensus {
    /// The next round of output, or nothing. Call again until there is nothing: after every
    /// input, before the next one.
    pub(crate) fn ready(&mut self) -> Option<Ready> {
        loop {
            let more = self.node.has_ready();
            let pending = more
                || self.made.is_some()
                || self.writes.has_released()
                || self.hard_state_is_due();
            if !pending {
                self.settle();
                return None;
            }
            let ready = self.collect(more);
            self.settle();
            if !ready.is_empty() {
                return Some(ready);
            }
            if !more {
                return None;
            }
        }
    }

    fn collect(&mut self, more: bool) -> Ready {
        let mut out = Ready::default();
        let mut write = Persist::default();
        let number = more.then(|| self.collect_from_library(&mut out, &mut write));
        let received = write.snapshot.is_some();
        if let Some((snapshot, compact_to)) = self.made.take()
            && !received
        {
            write.snapshot = Some(snapshot);
            write.compact_to = compact_to;
        }
        let gates = received || !write.entries.is_empty() || self.hard_state_is_due();
        if gates || write.snapshot.is_some() {
            // The commit index rides along with every unit. Not only as a help at restart: a
            // node whose log holds a second membership change must know that the first one is
            // committed, or it could campaign with a membership two changes old.
            let now = convert::hard_state_out(&self.node.raft.hard_state());
            if now != self.writes.hard_state {
                self.writes.hard_state = now;
                write.hard_state = Some(now);
            }
            write.must_sync = true;
            write.number = self.writes.issue(number.unwrap_or(0), gates);
            out.persist = Some(write);
        } else if let Some(number) = number
            && self.writes.nothing_to_write(number)
        {
            self.node.on_persist_ready(number);
        }
        for message in std::mem::take(&mut out.messages) {
            self.writes.send(message);
        }
        out.messages = self.writes.take_released();
        let standing = self.standing();
        if standing != self.reported {
            self.reported = standing;
            out.standing = Some(standing);
        }
        out
    }

    /// Takes one ready from the library, mirrors it and tells the library so. Returns its
    /// number.
    fn collect_from_library(&mut self, out: &mut Ready, write: &mut Persist) -> u64 {
        let mut ready = self.node.ready();
        let number = ready.number();
        // The library sorts messages by the role at the end of the round; we sort them
        // one by one, see `Writes::send`.
        let messages = ready.take_messages().into_iter().chain(ready.take_persisted_messages());
        let mut heartbeats = Vec::new();
        let messages = messages.filter(|message| is_new(message, &mut heartbeats));
        out.messages = messages.filter_map(convert::message_out).collect();
        out.barriers = ready.take_read_states().iter().filter_map(barrier).collect();
        let committed = ready.take_committed_entries();
        out.committed = committed.into_iter().map(convert::entry_out).collect();
        if !ready.snapshot().is_empty() {
            let snapshot = convert::snapshot_out(ready.snapshot());
            self.node.mut_store().install(ready.snapshot().clone());
            self.handed_out = self.handed_out.max(snapshot.index);
            self.state_at = self.state_at.max(snapshot.index);
            write.compact_to = Some(snapshot.index);
            write.snapshot = Some(snapshot.clone());
            out.install = Some(snapshot);
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        write.entries = entries.into_iter().map(convert::entry_out).collect();
        if let Some(last) = out.committed.last() {
            self.handed_out = self.handed_out.max(last.index);
        }
        self.node.advance_append_async(ready);
        number
    }

    /// A new commit index alone is never written: losing it costs nothing, and it comes with
    /// the next entry.
    fn hard_state_is_due(&self) -> bool {
        let (raft, written) = (&self.node.raft, &self.writes.hard_state);
        raft.term != written.term || raft.vote != written.vote.map_or(0, tenure_core::NodeId::get)
    }

    /// The disk has finished the unit with this number and all before it.
    pub(crate) fn persisted(&mut self, number: u64) {
        if let Some(ready) = self.writes.finish(number) {
            self.node.on_persist_ready(ready);
        }
        self.catch_up_applied();
        self.settle();
    }

    /// The state machine contains everything up to this index.
    pub(crate) fn applied_to(&mut self, index: u64) {
        debug_assert!(index <= self.handed_out, "applied an entry that was never handed out");
        self.state_at = self.state_at.max(index.min(self.handed_out));
        self.membership_ahead = false;
        self.catch_up_applied();
    }

    /// An installed snapshot is applied here before it is persisted, which the library does not
    /// allow: it is told as soon as it may know.
    fn catch_up_applied(&mut self) {
        let log = &self.node.raft.raft_log;
        let target = self.state_at.min(log.committed).min(log.persisted);
        if target > log.applied {
            self.node.advance_apply_to(target);
        }
    }
}

/// False for a heartbeat that says word for word what another in the same output says, as when
/// a read barrier was begun right before the regular one.
fn is_new(message: &Message, heartbeats: &mut Vec<Message>) -> bool {
    if message.get_msg_type() != MessageType::MsgHeartbeat {
        return true;
    }
    let new = !heartbeats.contains(message);
    if new {
        heartbeats.push(message.clone());
    }
    new
}

fn barrier(state: &::raft::ReadState) -> Option<Barrier> {
    let context: &[u8; BARRIER_BYTES] = state.request_ctx.as_slice().try_into().ok()?;
    let (_, ctx) = context.split_at(BARRIER_BYTES / 2);
    Some(Barrier { ctx: u64::from_be_bytes(ctx.try_into().ok()?), index: state.index })
}
