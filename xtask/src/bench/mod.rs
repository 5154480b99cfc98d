//! Measurements: what they share is here.

mod elections;
mod etcd;
mod etcd_candidate;
mod failover;
mod floor;
mod floor_node;
mod ours;
mod peers;
mod process;
mod report;
mod scale;
mod stats;
mod stores;
mod table;
mod trouble;
mod wrapper;

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

use clap::{Args, Subcommand};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::failure::{Failure, Outcome};

/// The benches.
#[derive(Subcommand)]
pub(crate) enum BenchTask {
    /// kill -9 → the successor holds a committed grant, every node shows it:
    /// ours, etcd and the floor, interleaved in one run
    Failover(failover::FailoverArgs),
    /// Clusters of 3 to 1000 processes: time to form, cost at rest, kills, and how each grows
    Scale(scale::ScaleArgs),
    /// Kills, pauses, leaves and joins in a cluster that works: the share of time in which every
    /// live node knows the valid leader, and each gap
    Availability(trouble::AvailabilityArgs),
    /// All members of a cluster join at once, then every node is stopped and started again: how
    /// long, what the voters pay, what happens to leadership meanwhile
    Storm(trouble::StormArgs),
    /// kill -9 and SIGTERM of a holder → the next one leads, on every store, ours and with the
    /// store's usual client
    Stores(stores::StoresArgs),
    /// Thousands of elections on a few sessions: grants, cost at rest, and how fast somebody else
    /// leads all of them after kill -9; etcd and Redis with a tenth of it
    Elections(elections::ElectionsArgs),
    /// Ours beside etcd, ZooKeeper and Redis for the same work: until the last of a thousand
    /// watchers is told of a new leader, processor time of a grant and of a renewal
    Peers(peers::PeersArgs),
    /// What goes wrong with a command under flock, etcdctl lock and tenure run: overlaps, gaps,
    /// orphans, exit codes; start-up time and memory
    Wrapper(wrapper::WrapperArgs),
}

/// What this program is when a bench runs it once more.
#[derive(Subcommand)]
pub(crate) enum ChildTask {
    FloorNode(floor_node::NodeArgs),
    EtcdCandidate(etcd_candidate::CandidateArgs),
    Leashed(LeashedArgs),
    WrapperWorker(wrapper::WorkerArgs),
}

/// A program that must not outlive the bench.
#[derive(Args)]
pub(crate) struct LeashedArgs {
    /// The bench's process id
    parent: u32,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Runs one bench.
pub(crate) fn run(task: &BenchTask) -> Outcome {
    match task {
        BenchTask::Failover(args) => failover::run(args),
        BenchTask::Scale(args) => scale::run(args),
        BenchTask::Availability(args) => trouble::availability(args),
        BenchTask::Storm(args) => trouble::storm(args),
        BenchTask::Stores(args) => stores::run(args),
        BenchTask::Elections(args) => elections::run(args),
        BenchTask::Peers(args) => peers::run(args),
        BenchTask::Wrapper(args) => wrapper::run(args),
    }
}

/// Runs one child of a bench.
pub(crate) fn child(task: &ChildTask) -> Outcome {
    match task {
        ChildTask::FloorNode(args) => floor_node::run(args),
        ChildTask::EtcdCandidate(args) => etcd_candidate::run(args),
        ChildTask::Leashed(args) => leashed(args),
        ChildTask::WrapperWorker(args) => wrapper::work(args),
    }
}

/// Becomes the command, after asking the kernel to kill it with the bench.
fn leashed(args: &LeashedArgs) -> Outcome {
    let cannot = |why: std::io::Error| {
        Failure::new("cannot start a server of the bench", why, "check the command by hand")
    };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| cannot(error.into()))?;
    if parent_id() != args.parent {
        // The bench died before the kernel knew of the leash.
        return Ok(());
    }
    match args.command.split_first() {
        Some((program, rest)) => Err(cannot(Command::new(program).args(rest).exec())),
        None => Ok(()),
    }
}
