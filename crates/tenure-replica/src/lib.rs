//! One quorum replica as a machine without input or output of its own.
//!
//! **Invariant:** no clock, no randomness, no socket, no file and no async runtime in this
//! crate's tree: moments and seeds are arguments, effects are values.

mod log;

pub use log::{Entry, EntryKind, HardState, Membership, Persist, Restored, Snapshot};
