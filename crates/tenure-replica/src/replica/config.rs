//! How a replica is set up.

use core::time::Duration;
use tenure_core::{NodeId, Zone, timing::Drift};

/// How a replica is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Random number of the data directory.
    pub directory: u64,
    /// Time between two signs of life of the Raft leader. Default 50 ms.
    pub heartbeat: Duration,
    /// A follower that hears nothing for one to two of these asks for votes. At least three
    /// heartbeats. Default 500 ms.
    pub election_timeout: Duration,
    /// Down to this the election timeout, and the heartbeat in proportion, follow what is
    /// measured. Default: both stay as they are.
    pub election_timeout_least: Option<Duration>,
    /// Bound on clock rates.
    pub drift: Drift,
    /// How long a wish may wait for its outcome before it is reported as unknown. Default 5 s.
    pub patience: Duration,
    /// Snapshot after this many applied entries. Default 4096.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, so that a follower that is only a little behind gets
    /// them instead of the whole state. Default 8192: at ten thousand entries a second not a second.
    pub log_tail: u64,
    /// Changes that are applied before the node looks at what else has come: the end of a session
    /// may be a hundred thousand. Default 2048.
    pub changes_at_once: u64,
    /// Learners that have caught up get a vote while there are fewer voters. Default 5.
    pub voters: usize,
    /// Nodes that join become plain members once this many keep the log. Default 5.
    pub keepers: usize,
    /// A voter that was silent for this long is replaced, when a healthy node is there to take
    /// its place: the other one votes first. Default: never.
    pub replace_after: Option<Duration>,
    /// Where this node is, as far as failures go. Default: it does not say.
    pub zone: Option<Zone>,
}

impl Config {
    /// The defaults for this node.
    #[must_use]
    pub fn new(id: NodeId, directory: u64) -> Self {
        Self {
            id,
            directory,
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
            election_timeout_least: None,
            drift: Drift::default(),
            patience: Duration::from_secs(5),
            snapshot_every: 4096,
            log_tail: 8192,
            changes_at_once: 2048,
            voters: 5,
            keepers: 5,
            replace_after: None,
            zone: None,
        }
    }

    /// Length of the Raft library's tick, at most: heartbeats and timeouts are multiples of it.
    pub(super) fn tick(&self) -> Duration {
        (self.heartbeat / 5).max(Duration::from_millis(1))
    }

    /// A direct link that was silent for this long is taken for dark.
    pub(super) fn dark_after(&self) -> Duration {
        self.heartbeat * 3
    }
}
