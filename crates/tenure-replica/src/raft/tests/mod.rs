//! The wrapped library under a simulated network, disk and clock.

mod chaos;
mod elections;
mod garbage;
mod membership;
mod net;
mod partitions;
mod persistence;
