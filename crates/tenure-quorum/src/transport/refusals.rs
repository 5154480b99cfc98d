//! Connections that were refused, counted by reason and logged now and then.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::framing::FrameError;
use crate::wire::Rejected;

/// At most one log line per reason in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a connection was refused or closed by this node.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The reason as one word, as in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }
        }
    };
}

reasons! {
    /// It did not say who it is in time, or fell silent in the middle of a message.
    Silent = "silent",
    /// It ended before it had said who it is.
    Vanished = "vanished",
    /// It does not speak this protocol, or speaks it wrongly.
    Garbage = "garbage",
    /// It announced a message that is too long.
    Oversized = "oversized",
    /// It speaks another version.
    Protocol = "protocol",
    /// It belongs to another cluster.
    Cluster = "wrong_cluster",
    /// It is no member of the cluster.
    NotMember = "not_member",
    /// A node, at one that keeps no log.
    NoLog = "no_log",
    /// Another process with its node id is connected.
    Duplicate = "duplicate_node",
    /// It came back with another data directory.
    Directory = "other_directory",
    /// There are too many clients.
    Full = "full",
    /// There were too many connections that had not said who they are; this was the oldest.
    Crowded = "crowded",
    /// The client did not read what it was sent.
    SlowClient = "slow_client",
    /// The address of a member was answered by somebody else.
    Misdialled = "misdialled",
}

impl From<&Rejected> for Reason {
    fn from(rejected: &Rejected) -> Self {
        match rejected {
            Rejected::Protocol { .. } => Self::Protocol,
            Rejected::Cluster { .. } => Self::Cluster,
            Rejected::NotMember { .. } => Self::NotMember,
            Rejected::NoLog { .. } => Self::NoLog,
            Rejected::Duplicate { .. } => Self::Duplicate,
            Rejected::Directory { .. } => Self::Directory,
            Rejected::Full { .. } => Self::Full,
        }
    }
}

impl Reason {
    /// The reason behind a message that could not be read; none when the connection merely
    /// broke.
    pub(crate) fn of(error: &FrameError) -> Option<Self> {
        match error {
            FrameError::Io(_) | FrameError::Truncated => None,
            FrameError::Foreign(_) | FrameError::Undecodable(_) => Some(Self::Garbage),
            FrameError::Oversized { .. } => Some(Self::Oversized),
            FrameError::Slow(_) => Some(Self::Silent),
        }
    }
}

/// Counters of refused connections; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: [AtomicU64; Reason::ALL.len()],
    logged: Mutex<[Option<Instant>; Reason::ALL.len()]>,
}

impl Refusals {
    /// How often this happened since the node started.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.shared.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Everything that happened at least once, as [`crate::wire::ClusterView::refused`] wants
    /// it.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u64)> {
        let counted = Reason::ALL.iter().map(|&reason| (reason, self.count(reason)));
        counted
            .filter(|&(_, count)| count > 0)
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect()
    }

    /// Counts one, and logs it unless the same reason was logged a moment ago.
    pub(crate) fn note(&self, reason: Reason, who: &str, why: &dyn std::fmt::Display) {
        let total = self.shared.counts[reason as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = self.shared.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut logged[reason as usize];
        if last.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(reason = reason.name(), total, from = who, "connection refused: {why}");
        }
    }
}
