//! Between our structs and the library's, field by field. Nothing here encodes or parses: the
//! library's codec never sees a byte from the network or the disk (RUSTSEC-2024-0437).

use super::message::{MessageKind, RaftMessage};
use crate::log::{Entry, EntryKind, HardState, Membership, Snapshot};
use ::raft::eraftpb::{self, EntryType, MessageType};
use tenure_core::NodeId;

pub(super) fn message_out(m: eraftpb::Message) -> Option<RaftMessage> {
    let mut m = m;
    let kind = kind_out(m.get_msg_type())?;
    let snapshot =
        (kind == MessageKind::Snapshot).then(|| Box::new(snapshot_out(m.get_snapshot())));
    Some(RaftMessage {
        kind,
        from: NodeId::new(m.from)?,
        to: NodeId::new(m.to)?,
        term: m.term,
        log_term: m.log_term,
        index: m.index,
        entries: m.take_entries().into_iter().map(entry_out).collect(),
        commit: m.commit,
        commit_term: m.commit_term,
        snapshot,
        reject: m.reject,
        reject_hint: m.reject_hint,
        context: m.take_context().into(),
    })
}

pub(super) fn message_in(m: RaftMessage) -> eraftpb::Message {
    let mut out = eraftpb::Message::default();
    out.set_msg_type(kind_in(m.kind));
    out.from = m.from.get();
    out.to = m.to.get();
    out.term = m.term;
    out.log_term = m.log_term;
    out.index = m.index;
    out.set_entries(m.entries.into_iter().map(entry_in).collect::<Vec<_>>().into());
    out.commit = m.commit;
    out.commit_term = m.commit_term;
    if let Some(snapshot) = m.snapshot {
        out.set_snapshot(snapshot_in(*snapshot));
    }
    out.reject = m.reject;
    out.reject_hint = m.reject_hint;
    out.context = m.context.into();
    out
}

/// None for the kinds that stay inside a node. The library makes one of them into a message
/// only to forward what a follower was asked, which [`super::Consensus`] never does.
fn kind_out(kind: MessageType) -> Option<MessageKind> {
    Some(match kind {
        MessageType::MsgAppend => MessageKind::Append,
        MessageType::MsgAppendResponse => MessageKind::AppendResponse,
        MessageType::MsgRequestVote => MessageKind::Vote,
        MessageType::MsgRequestVoteResponse => MessageKind::VoteResponse,
        MessageType::MsgRequestPreVote => MessageKind::PreVote,
        MessageType::MsgRequestPreVoteResponse => MessageKind::PreVoteResponse,
        MessageType::MsgSnapshot => MessageKind::Snapshot,
        MessageType::MsgHeartbeat => MessageKind::Heartbeat,
        MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
        MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => return None,
    })
}

fn kind_in(kind: MessageKind) -> MessageType {
    match kind {
        MessageKind::Append => MessageType::MsgAppend,
        MessageKind::AppendResponse => MessageType::MsgAppendResponse,
        MessageKind::Vote => MessageType::MsgRequestVote,
        MessageKind::VoteResponse => MessageType::MsgRequestVoteResponse,
        MessageKind::PreVote => MessageType::MsgRequestPreVote,
        MessageKind::PreVoteResponse => MessageType::MsgRequestPreVoteResponse,
        MessageKind::Snapshot => MessageType::MsgSnapshot,
        MessageKind::Heartbeat => MessageType::MsgHeartbeat,
        MessageKind::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
        MessageKind::TimeoutNow => MessageType::MsgTimeoutNow,
    }
}

/// A membership entry keeps our encoding in the library's context. Its `data`, which the
/// proposing leader's library fills and reads back in the same call, is dropped here.
pub(super) fn entry_out(mut e: eraftpb::Entry) -> Entry {
    let (kind, data) = match e.get_entry_type() {
        EntryType::EntryNormal => (EntryKind::Command, e.take_data()),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            (EntryKind::Membership, e.take_context())
        }
    };
    Entry { index: e.index, term: e.term, kind, data: data.into() }
}

pub(super) fn entry_in(e: Entry) -> eraftpb::Entry {
    let mut out = eraftpb::Entry { index: e.index, term: e.term, ..Default::default() };
    match e.kind {
        EntryKind::Command => out.data = e.data.into(),
        EntryKind::Membership => {
            out.set_entry_type(EntryType::EntryConfChange);
            out.context = e.data.into();
        }
    }
    out
}

pub(super) fn snapshot_out(s: &eraftpb::Snapshot) -> Snapshot {
    let meta = s.get_metadata();
    Snapshot {
        index: meta.index,
        term: meta.term,
        membership: membership_out(meta.get_conf_state()),
        data: s.data.to_vec(),
    }
}

pub(super) fn snapshot_in(s: Snapshot) -> eraftpb::Snapshot {
    let mut out = eraftpb::Snapshot { data: s.data.into(), ..Default::default() };
    let meta = out.mut_metadata();
    meta.index = s.index;
    meta.term = s.term;
    let conf = meta.mut_conf_state();
    conf.set_voters(s.membership.voters.into_iter().map(NodeId::get).collect());
    conf.set_learners(s.membership.learners.into_iter().map(NodeId::get).collect());
    out
}

/// Sorted, because the library keeps its members in hash sets.
pub(super) fn membership_out(conf: &eraftpb::ConfState) -> Membership {
    let sorted = |ids: &[u64]| {
        let mut ids: Vec<NodeId> = ids.iter().filter_map(|id| NodeId::new(*id)).collect();
        ids.sort_unstable();
        ids
    };
    Membership { voters: sorted(conf.get_voters()), learners: sorted(conf.get_learners()) }
}

pub(super) fn hard_state_out(hs: &eraftpb::HardState) -> HardState {
    HardState { term: hs.term, vote: NodeId::new(hs.vote), commit: hs.commit }
}

pub(super) fn hard_state_in(hs: HardState) -> eraftpb::HardState {
    let vote = hs.vote.map_or(0, NodeId::get);
    eraftpb::HardState { term: hs.term, vote, commit: hs.commit, ..Default::default() }
}
