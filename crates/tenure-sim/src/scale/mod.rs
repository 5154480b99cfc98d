//! Many sessions on a healthy cluster: what grows with their number.
//!
//! Five real replicas in virtual time, on a network and disks that are always the same; around
//! them members, each of which renews all its sessions in one question a quarter of a ttl. What
//! is counted is the work of the replicas: processor time of the host, frames and bytes between
//! them. Sockets, system calls and the members' own work are not in it, so it is *simulated*: it
//! shows growth, and a lower bound of the cost. How much virtual time something takes says what
//! waiting and round trips it needs; the processor is infinitely fast there.

mod cluster;
mod crowd;

use std::time::Duration;

use serde::Serialize;

pub use crowd::scale;

/// How many, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Sessions, each of a process of its own; two of them contend for each election, so it is
    /// rounded down to an even number.
    pub sessions: u32,
    /// Members that renew them; rounded down to a multiple of ten, of which one tenth dies.
    pub members: u32,
    /// Length of the leases.
    pub ttl: Duration,
    /// Virtual time at rest that is measured.
    pub rest: Duration,
}

/// How the machine that runs this is asked for what its own figures are. Nothing in a run follows
/// from the answers.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Processor time of this thread so far.
    pub cpu: fn() -> Duration,
    /// Memory of this process now, in bytes.
    pub resident: fn() -> u64,
}

/// What one part of a run took. Shares are of virtual time: 100 ms of processor in a second is
/// ten percent of a core like this host's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// `open and contend`, `at rest`, ...
    pub name: &'static str,
    /// What was to be done: wishes, renewals of a session, elections to be granted again.
    pub operations: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: f64,
    /// Processor time of the replica that leads, in milliseconds.
    pub leader_cpu_ms: f64,
    /// The mean of the others.
    pub follower_cpu_ms: f64,
    /// Processor time of all for turning frames into bytes, in milliseconds.
    pub encoding_cpu_ms: f64,
    /// Frames between replicas.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the log.
    pub entries: u64,
}

impl Part {
    /// Processor time of all five for one operation, in microseconds.
    #[must_use]
    pub fn cpu_us_each(&self) -> f64 {
        let all = self.leader_cpu_ms + 4.0 * self.follower_cpu_ms + self.encoding_cpu_ms;
        all * 1000.0 / (self.operations as f64).max(1.0)
    }
}

/// What one size showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grown {
    /// Always true: no figure of this is of a real cluster.
    pub simulated: bool,
    /// Sessions.
    pub sessions: u32,
    /// Elections, half as many.
    pub elections: u32,
    /// Members that renew them.
    pub members: u32,
    /// Memory of one replica for all that, in bytes: what the process grew by, divided by five.
    pub memory: u64,
    /// The state of one replica as a snapshot, in bytes.
    pub snapshot: u64,
    /// The parts, in order.
    pub parts: Vec<Part>,
}
