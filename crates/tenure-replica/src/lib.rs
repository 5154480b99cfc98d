//! One quorum replica as a machine without input or output of its own.
//!
//! [`Replica::handle`] takes one [`Input`] and the time; [`Replica::poll`] gives [`Output`]s
//! until there are none. A shell owns sockets, disk and clocks and feeds the machine.
//!
//! **Invariant:** no clock, no randomness, no socket, no file and no async runtime in this
//! crate's tree: moments and seeds are arguments, effects are values. The same seed and the
//! same inputs give the same outputs to the byte.

mod clocks;
mod codec;
mod contact;
mod dead;
mod frame;
mod log;
mod mesh;
mod proposal;
mod pulse;
mod raft;
mod replica;
mod requests;
mod rounds;
mod spread;
mod status;
mod takeover;

pub use codec::{DecodeError, decode, encode};
pub use frame::{NamedWish, PeerBody, PeerFrame};
pub use log::{Entry, EntryKind, HardState, Membership, Persist, Restored, Snapshot};
pub use mesh::Rows;
pub use proposal::{MemberWish, Proposal, Wish};
pub use raft::RaftMessage;
pub use replica::{Answer, Ask, Config, Input, Now, Output, Replica, StartError};
pub use status::{PeerStatus, Position, RaftRole, Status};
