//! What a batch of the log says. Every batch is written whole or not at all, so its records
//! never have to make sense alone.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tenure_replica::{Entry, HardState, Snapshot};

/// The content of one batch. A new version of the format is a new variant; old ones stay
/// readable.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Batch<'a> {
    V1(Vec<Record<'a>>),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// Everything the log said before the file it stands at the start of, except the entries:
    /// with it the older files are not needed for anything else.
    Head(Head),
    /// A snapshot file is durable and counts from here on.
    Snapshot {
        id: SnapshotId,
        /// The entries do not lead to it: they are gone.
        replaces_log: bool,
    },
    /// Entries; those already there from the first one's index on are gone.
    Entries(Cow<'a, [Entry]>),
    /// The hard state.
    HardState(HardState),
    /// Entries up to this index are gone.
    Compacted(u64),
}

/// Which snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotId {
    pub(super) index: u64,
    pub(super) term: u64,
}

impl SnapshotId {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self { index: snapshot.index, term: snapshot.term }
    }
}

/// See [`Record::Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The random id of the data directory: a log file copied from another one is refused.
    pub(super) directory: u64,
    /// The number in the name of the file.
    pub(super) segment: u64,
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotId>,
    /// Entries up to this index are gone.
    pub(super) compacted: u64,
    /// Index of the last entry.
    pub(super) last: u64,
}
