//! What all scenarios share: real processes, what they say, and what must hold of it.

pub(crate) mod candidate;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod dev;
pub(crate) mod exclusivity;
pub(crate) mod gate;
pub(crate) mod journal;
pub(crate) mod pace;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod resource;
pub(crate) mod wrapper;

pub(crate) use candidate::Candidate;
pub(crate) use cluster::{Cluster, Leader};
pub(crate) use command::tenure;
pub(crate) use pace::Pace;

use std::time::Duration;

/// The election of all scenarios that need only one.
pub(crate) const DEMO: &str = "demo";
/// How long a test waits for what must happen. A correct program needs a small part of it, also
/// on a busy machine; only a wrong one needs it all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
