//! What leadership means in Tenure, without a clock, a disk or a socket.
//!
//! - [`ledger`]: the reference meaning of leadership as a deterministic state machine.
//! - [`candidate`]: what one contending process may believe about itself, and until when.
//! - [`backend`]: the port through which elections are held on stores that know only leases.
//! - [`partitions`]: which member of a family of elections contends for which of them.
//! - [`timing`]: the arithmetic of leases: who counts from when, and with which margin.
//! - the vocabulary both share: names, identities, tokens, moments and views.
//!
//! **Invariant:** nothing in this crate asks for the time, draws a random number, reads a
//! file or opens a socket. Moments, wall times and identities are arguments; effects are
//! values. The crate is `no_std` so that the compiler holds the promise.
#![no_std]

extern crate alloc;

pub mod backend;
mod by_name;
pub mod candidate;
mod identity;
pub mod ledger;
mod name;
mod number;
pub mod partitions;
mod time;
pub mod timing;
mod view;

pub use by_name::ByName;
pub use identity::{ClusterId, Incarnation, NodeId, RequestId, SessionId};
pub use name::{CandidateId, ElectionName, NameError, NodeName, Value, Zone};
pub use number::{Revision, Token};
pub use time::{Moment, WallTime};
pub use view::{Leader, Sighting, View};
