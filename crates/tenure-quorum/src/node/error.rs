//! Why a node could not start.

use std::{io, path::PathBuf};

use tenure_core::NodeName;
use tenure_replica::StartError;

use crate::{client::ClientError, storage::StorageError, transport::BindError};

/// Why a node could not start. Whatever the directory held is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Settings that cannot work together.
    #[error("{0}")]
    Config(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log cannot be used.
    #[error("the log in {} cannot be used: {source}", .directory.display())]
    Log {
        /// The data directory.
        directory: PathBuf,
        /// Why.
        source: StartError,
    },
    /// The peer list does not name this node.
    #[error("node {name} is not in its own list of peers ({peers})")]
    NotInPeers {
        /// This node.
        name: NodeName,
        /// The names in the list.
        peers: String,
    },
    /// No contact took the node into the cluster.
    #[error("could not join through {contacts}: {source}")]
    Join {
        /// Addresses that were tried.
        contacts: String,
        /// The last error.
        source: ClientError,
    },
    /// The cluster refused the node.
    #[error("the cluster refused {name}: {why}")]
    Refused {
        /// This node.
        name: NodeName,
        /// Why.
        why: String,
    },
    /// The address or the socket file cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No thread could be started.
    #[error("no thread could be started: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The node's thread ended before it was ready.
    #[error("the node ended before it was ready; its log lines say why")]
    Died,
}
