//! Sockets, disk and clocks around a Tenure replica, and the client of a quorum.

pub mod storage;
