//! Sockets, disk and clocks around a Tenure replica, and the client of a quorum.

pub mod client;
pub mod clock;
pub mod node;
pub mod storage;
pub mod transport;
pub mod wire;

/// Version of this software, as ends of a connection tell each other.
pub const SOFTWARE: &str = env!("CARGO_PKG_VERSION");
