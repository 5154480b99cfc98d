//! What a replica keeps on disk, in our own words: the Raft library's structs never leave the
//! one file that names it.

use serde::{Deserialize, Serialize};
use tenure_core::NodeId;

/// What an entry of the log carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// An encoded [`crate::Proposal`], or nothing: a new Raft leader's first entry is empty.
    Command,
    /// An encoded change of the membership.
    Membership,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the log, from 1.
    pub index: u64,
    /// Term in which it was proposed.
    pub term: u64,
    /// What `data` holds.
    pub kind: EntryKind,
    /// The encoded content.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// What a voter must remember across a restart besides its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Who got this node's vote in that term.
    pub vote: Option<NodeId>,
    /// Highest index known to be committed. It may lag behind what was committed, but what a
    /// unit of work says must become durable together with the unit's entries: a voter that
    /// forgot that an earlier membership change is committed could campaign with an older one.
    pub commit: u64,
}

/// Who votes and who only receives the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Nodes whose majority decides.
    pub voters: Vec<NodeId>,
    /// Nodes that receive the log without a vote.
    pub learners: Vec<NodeId>,
}

/// The whole state up to an index, so that the log before it may be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Index of the last entry the state contains.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Membership at that index.
    pub membership: Membership,
    /// The encoded state machine.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// One unit of durable work. Everything in it must be on disk before
/// [`crate::Input::Persisted`] names its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persist {
    /// Counts the units of one replica, from 1.
    pub number: u64,
    /// New hard state, when it changed.
    pub hard_state: Option<HardState>,
    /// A snapshot that replaces the state and the log up to its index: one received from the
    /// Raft leader, or one made here so that the log can be cut. What the log holds after the
    /// snapshot's index stays only if the log has an entry of the snapshot's term at that index.
    pub snapshot: Option<Snapshot>,
    /// Entries to append. The first one may overwrite entries that were never committed: the
    /// log then ends with the last one given here.
    pub entries: Vec<Entry>,
    /// Entries up to this index are no longer needed.
    pub compact_to: Option<u64>,
    /// False when losing this unit in a power cut would break no promise (only the commit hint
    /// changed): the shell may then skip the flush.
    pub must_sync: bool,
}

/// What the disk gave back at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The last hard state written.
    pub hard_state: HardState,
    /// The latest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The log after what was compacted away, without gaps.
    pub entries: Vec<Entry>,
}
