//! How a node is set up.

use std::{collections::BTreeMap, path::PathBuf};

use core::time::Duration;
use tenure_core::{NodeName, Zone, timing::Drift};

/// How a node finds its cluster when its data directory is new. A used directory knows its
/// cluster by itself; then this is only checked.
#[derive(Debug, Clone)]
pub enum Start {
    /// With these nodes, itself among them. All of them must be given the same list.
    Found {
        /// Names and addresses.
        peers: Vec<(NodeName, String)>,
        /// Tells clusters with the same list apart.
        cluster: Option<String>,
    },
    /// By asking a node of a running cluster.
    Join {
        /// Addresses of nodes.
        contacts: Vec<String>,
    },
}

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// Where it keeps its log.
    pub data_dir: PathBuf,
    /// Where it listens, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// How others reach it, when that differs.
    pub advertise: Option<String>,
    /// How it finds its cluster.
    pub start: Start,
    /// Time between two signs of life of the Raft leader.
    pub heartbeat: Duration,
    /// A node that hears nothing for one to two of these asks for votes; a node that knows of
    /// no quorum for this long says that it does not know who leads.
    pub election_timeout: Duration,
    /// Down to this the election timeout, and the heartbeat in proportion, follow what this node
    /// measures. None keeps both as they are.
    pub election_timeout_least: Option<Duration>,
    /// Bound on clock rates; the same on all nodes.
    pub drift: Drift,
    /// Learners that have caught up get a vote while there are fewer voters.
    pub voters: usize,
    /// A voter that was silent for this long is replaced by a member, when there is one.
    pub replace_after: Option<Duration>,
    /// Where it is, as far as failures go: voters are spread over zones.
    pub zone: Option<Zone>,
    /// Addresses under which this node reaches others, when they differ from the advertised
    /// ones, for example through a tunnel.
    pub dial: BTreeMap<NodeName, String>,
    /// Whether processes on this machine are watched for their death by pidfd.
    pub local_proof: bool,
    /// What the node's thread does first: ask the kernel to schedule it in real time, say. The
    /// threads that it starts inherit it: the one that writes the log, and those that look up
    /// names and make room on the disk.
    pub on_thread_start: Option<fn() -> std::io::Result<()>>,
}

impl NodeConfig {
    /// The defaults for a node.
    #[must_use]
    pub fn new(name: NodeName, data_dir: PathBuf, listen: String, start: Start) -> Self {
        Self {
            name,
            data_dir,
            listen,
            advertise: None,
            start,
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
            election_timeout_least: None,
            drift: Drift::default(),
            voters: 5,
            replace_after: Some(Duration::from_secs(30)),
            zone: None,
            dial: BTreeMap::new(),
            local_proof: true,
            on_thread_start: None,
        }
    }
}
