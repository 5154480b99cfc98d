//! What a test node keeps: a state machine that only counts and hashes, and a disk.

use super::Node;
use crate::log::{Entry, Persist, Restored};
use crate::raft::message::{MessageKind, RaftMessage};

/// Count and hash of the commands applied so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct State {
    pub(in super::super) count: u64,
    pub(in super::super) hash: u64,
}

pub(super) fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

pub(super) fn encode_state(state: State) -> Vec<u8> {
    [state.count.to_be_bytes(), state.hash.to_be_bytes()].concat()
}

pub(super) fn decode_state(data: &[u8]) -> State {
    let (count, hash) = data.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    State { count: number(count), hash: number(hash) }
}

/// What a shell's disk does with a unit.
pub(super) fn write(disk: &mut Restored, unit: Persist) {
    if let Some(hard_state) = unit.hard_state {
        disk.hard_state = hard_state;
    }
    if let Some(snapshot) = unit.snapshot {
        let leads_to = |e: &Entry| e.index == snapshot.index && e.term == snapshot.term;
        let before = disk.snapshot.as_ref().is_some_and(|old| old.index == snapshot.index);
        if !before && !disk.entries.iter().any(leads_to) {
            disk.entries.clear();
        }
        disk.snapshot = Some(snapshot);
    }
    if let Some(first) = unit.entries.first() {
        disk.entries.retain(|e| e.index < first.index);
        let last = disk.entries.last().map(|e| e.index);
        let base = disk.snapshot.as_ref().map_or(0, |s| s.index);
        assert_eq!(last.unwrap_or(base) + 1, first.index, "a gap in the log on disk");
        disk.entries.extend(unit.entries);
    }
    if let Some(to) = unit.compact_to {
        assert!(disk.snapshot.as_ref().is_some_and(|s| s.index >= to), "cut beyond the snapshot");
        disk.entries.retain(|e| e.index > to);
    }
}

/// Persist before send, checked against the disk itself.
pub(super) fn check_durable(node: &Node, message: &RaftMessage) {
    let disk = &node.disk;
    let hard = disk.hard_state;
    let what = || format!("{message:?} left before it was durable: {hard:?}");
    match message.kind {
        MessageKind::PreVote | MessageKind::PreVoteResponse => return,
        MessageKind::Vote => assert_eq!(hard.vote, Some(message.from), "{}", what()),
        MessageKind::VoteResponse if !message.reject => {
            assert_eq!(hard.vote, Some(message.to), "{}", what());
        }
        MessageKind::AppendResponse if !message.reject && message.index > 0 => {
            let snapshot = disk.snapshot.as_ref().map_or(0, |s| s.index);
            let last = disk.entries.last().map_or(snapshot, |e| e.index);
            assert!(last >= message.index, "{}", what());
        }
        _ => {}
    }
    assert!(hard.term >= message.term, "{}", what());
}
