//! What can go wrong on disk, whose fault it is, and what became of the state.

use std::{io, path::PathBuf};

use tenure_core::{ClusterId, NodeName};

/// Why the disk could not be used. After any of these nothing more is written by the same
/// [`super::Storage`]; what was acknowledged before is still there unless the variant says
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operator gave a path that is something else. Nothing was touched.
    #[error(
        "{} is not a directory: give another path for the data of this node, or move what is \
         there away",
        path.display()
    )]
    NotADirectory {
        /// The path given.
        path: PathBuf,
    },
    /// Another process uses the directory. Nothing was touched.
    #[error(
        "the data directory {} is in use by another process ({}): stop that one first, or give \
         this node a directory of its own",
        path.display(),
        pid.map_or_else(|| "pid not known".to_owned(), |pid| format!("pid {pid}"))
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process named in the lock file, when it could be read.
        pid: Option<u32>,
    },
    /// The operator pointed a node at the data of another cluster. Nothing was touched.
    #[error(
        "the data directory {} belongs to cluster {found}, but this node is told to be in \
         cluster {expected}: give the right directory, or an empty one to join with \
         `tenure node --join`",
        path.display()
    )]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// The cluster in `identity.json`.
        found: ClusterId,
        /// The cluster asked for.
        expected: ClusterId,
    },
    /// The operator pointed a node at the data of another node. Nothing was touched.
    #[error(
        "the data directory {} belongs to node {found}, but this node is told to be {expected}: \
         two nodes with one memory would vote twice; give the right directory, or an empty one",
        path.display()
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Name and id in `identity.json`.
        found: String,
        /// Name and id asked for.
        expected: String,
    },
    /// The directory was written by a newer program. Nothing was touched.
    #[error(
        "the data directory {} has format {found}, this program reads up to {supported}: start \
         it with the newer program that wrote it",
        path.display()
    )]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest format this program reads.
        supported: u64,
    },
    /// `identity.json` is damaged or was edited. The log may be whole, but nobody can say
    /// whose it is. Nothing was touched.
    #[error(
        "{} cannot be understood: {reason}. Restore that file if you have a copy of it; \
         otherwise give the node up: run `tenure cluster remove NAME` on another node, then \
         start this one with an empty data directory and `tenure node --join`",
        path.display()
    )]
    IdentityUnreadable {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The log is there and `identity.json` is not: somebody removed it. Nothing was touched.
    #[error(
        "the data directory {} holds the votes and the log of a node, but identity.json is \
         gone: restore that file, or give this node an empty directory and join it under a new \
         id with `tenure node --join`",
        path.display()
    )]
    IdentityMissing {
        /// The data directory.
        path: PathBuf,
    },
    /// A bug in the caller: the directory already has an identity. Nothing was touched.
    #[error(
        "the data directory {} already belongs to node {name}: start it without making it anew",
        path.display()
    )]
    IdentityExists {
        /// The data directory.
        path: PathBuf,
        /// The node it belongs to.
        name: NodeName,
    },
    /// A bug in the caller: the log was opened before the directory had an identity.
    #[error(
        "the data directory {} is empty: found a cluster in it, or join one with \
         `tenure node --join`",
        path.display()
    )]
    NoIdentity {
        /// The data directory.
        path: PathBuf,
    },
    /// The fault of the disk, or of somebody who changed the file. Acknowledged votes or
    /// entries may be gone; the files are left as they are.
    #[error(
        "{} is damaged at byte {offset}: {reason}. An interrupted write does not leave this \
         behind, so what this node promised may be lost and it must not vote again under its \
         id: run `tenure cluster remove {node}` on another node, then start this one with an \
         empty data directory and `tenure node --join`",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
        /// The node whose memory it is.
        node: NodeName,
    },
    /// No space, or no quota, is left. The unit at hand is not durable, all earlier ones are.
    #[error(
        "disk full while trying to {action} {}: nothing acknowledged was lost; free space and \
         restart the node",
        path.display()
    )]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
    },
    /// The operating system refused. The unit at hand may or may not be durable, all earlier
    /// ones are. A failed flush is never tried again: the kernel may have dropped the data.
    #[error(
        "cannot {action} {}: {cause}. Nothing acknowledged was lost; {}, then restart the node",
        path.display(),
        advice(cause)
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A bug in the replica: it asked for something that cannot be a log. Nothing of the batch
    /// was written.
    #[error(
        "the replica asked the disk for something impossible: {reason}. This is a bug in \
         Tenure: nothing was written; please report it and restart the node"
    )]
    Impossible {
        /// What was asked for.
        reason: String,
    },
    /// A bug in the caller: an earlier call failed and the node should have stopped then.
    #[error("the disk failed earlier, so nothing more is written: restart the node")]
    Stopped,
}

impl StorageError {
    /// Sorts an error of the operating system by what the operator can do about it.
    pub(super) fn io(action: &'static str, path: PathBuf, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { action, path }
            }
            _ => Self::Io { action, path, cause },
        }
    }
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user that runs the node read and write access to its data directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "find out why the file system is read-only (often an earlier disk error, see dmesg)"
        }
        _ => "look at dmesg and at the health of the disk",
    }
}
