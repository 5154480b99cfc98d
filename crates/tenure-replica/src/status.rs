//! What a replica tells about itself.

use core::time::Duration;
use serde::{Deserialize, Serialize};
use tenure_core::NodeId;

/// What this node is in the Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RaftRole {
    /// Orders the log.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Asks whether it would get votes.
    PreCandidate,
    /// Receives the log without a vote.
    Learner,
    /// Has no log: said of nodes that are no replica.
    Member,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The term.
    pub term: u64,
    /// Index up to which it knows the log to be committed.
    pub committed: u64,
    /// Index up to which its ledger has applied the log.
    pub applied: u64,
}

/// One node as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The node.
    pub id: NodeId,
    /// Whether anything was heard from it lately.
    pub reachable: bool,
    /// How far its log is known to agree; only the Raft leader knows.
    pub matched: Option<u64>,
}

/// A replica at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its part in the Raft group.
    pub role: RaftRole,
    /// Its term.
    pub term: u64,
    /// Who leads the Raft group, as far as it knows.
    pub leader: Option<NodeId>,
    /// Highest index known to be committed.
    pub committed: u64,
    /// Highest index applied here.
    pub applied: u64,
    /// Index of the last entry here.
    pub last_index: u64,
    /// How long ago a quorum last stood behind what this node shows; none when never.
    pub contact_age: Option<Duration>,
    /// The silence of the Raft leader that it puts up with now; none from an older node.
    #[serde(default)]
    pub election_timeout: Option<Duration>,
    /// Time between two heartbeats of the Raft leader; other nodes do not say.
    #[serde(default)]
    pub heartbeat: Option<Duration>,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
}
