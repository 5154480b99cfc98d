//! Partial partitions by name, over whole replicas with sessions and leases.

use crate::{
    chance::Chance,
    faults::Faults,
    invariants::Violation,
    world::{Setup, World},
};

/// A shape of links that are dark. Source: H. Ng, S. Haridi, P. Carbone, "Omni-Paxos: Breaking
/// the Barriers of Partial Connectivity", EuroSys 2023; Cloudflare, "A Byzantine failure in the
/// real world", 2020.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// Five nodes; every link but those of one hub is cut, and the hub does not lead.
    QuorumLoss5,
    /// Three nodes; the leader and one follower do not reach each other.
    Chained3,
    /// Five nodes; the leader is cut off, the others form a star, and its hub lags behind.
    Constrained5,
    /// Three nodes; the leader hears nobody, and everybody hears it.
    DeafLeader3,
    /// Three nodes; the leader does not reach one follower, which reaches it.
    Cloudflare3,
}

/// How a cluster came out of a partition that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Time from the cut to the next commit, in milliseconds.
    pub commit_ms: u64,
    /// Whether another node leads the quorum now.
    pub moved: bool,
    /// Whether the holder of the election kept it.
    pub kept: bool,
    /// Time from the mending of all links until everybody was served, in milliseconds.
    pub healed_ms: u64,
}

/// Election time-out in these clusters, in milliseconds.
pub const ELECTION_TIMEOUT_MS: u64 = 500;

/// Cuts the links once everybody is served, waits for the next commit, and mends them again.
///
/// # Errors
/// The invariant that did not hold, or that nothing was committed within twenty seconds.
pub fn partition(shape: Partition, seed: u64) -> Result<Recovery, Violation> {
    let voters = match shape {
        Partition::QuorumLoss5 | Partition::Constrained5 => 5,
        Partition::Chained3 | Partition::DeafLeader3 | Partition::Cloudflare3 => 3,
    };
    let chance = Chance::new(seed);
    let mut world = World::build(chance, Setup::plain(voters, 3), Faults::none(), None, false);
    world.go_through(shape)
}
