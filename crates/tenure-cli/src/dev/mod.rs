//! `tenure dev`: a local cluster of real processes, and the process that looks after it.
//!
//! The supervisor owns the nodes: it starts them from its main thread (the kernel kills a node
//! when the thread that started it ends), reads what they say, keeps a [`model`] of it, shows
//! that, and takes requests from other terminals over a unix socket in the directory.

mod child;
pub(crate) mod control;
mod ending;
mod home;
mod model;
mod pending;
mod requests;
mod screen;
mod supervisor;
mod view;
mod voice;

use std::path::PathBuf;

use tenure_core::{ElectionName, timing::Ttl};

use crate::{cli::Global, error::Outcome, output::Output};

/// The election that all nodes contend for when none is named.
pub(crate) const ELECTION: &str = "demo";
/// Nodes of a new cluster when no number is given.
pub(crate) const NODES: u16 = 5;
/// Nodes that found a cluster at most, and that vote at most.
pub(crate) const VOTERS: u8 = 5;
/// From here on there are many nodes.
pub(crate) const MANY: u16 = 50;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The directory of the cluster.
    pub(crate) dir: PathBuf,
    /// How many nodes; without a number, as many as there were, or five.
    pub(crate) nodes: Option<u16>,
    /// How many vote at most.
    pub(crate) voters: u8,
    /// Over how many zones; without a number, as it was, or none.
    pub(crate) zones: Option<u8>,
    /// Length of leases; without one, as it was, or 1 s, and 3 s with many nodes: here they share
    /// one machine's processors.
    pub(crate) ttl: Option<Ttl>,
    /// The election; without one, as it was, or `demo`.
    pub(crate) election: Option<ElectionName>,
}

/// Runs a local cluster until it is told to stop.
pub(crate) async fn run(plan: Plan, global: &Global, output: Output) -> Outcome {
    supervisor::run(plan, global, output).await
}
