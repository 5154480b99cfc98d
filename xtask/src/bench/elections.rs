//! `cargo xtask bench elections`: builds the program and the test kit, and runs its bench.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::ours::Ours;
use super::stores::{ended, testkit};
use crate::failure::Outcome;
use crate::install;

/// What to run.
#[derive(Args)]
pub(crate) struct ElectionsArgs {
    /// Elections in all, asked for at once; etcd and Redis get a tenth
    #[arg(long, default_value_t = 4000)]
    elections: u32,
    /// Sessions that hold them
    #[arg(long, default_value_t = 4)]
    sessions: u32,
    /// Length of the leases, in milliseconds; whole seconds, for etcd
    #[arg(long, default_value_t = 4000)]
    ttl: u32,
    /// Only these: tenure, etcd, redis
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure the nodes of this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the bench.
pub(crate) fn run(args: &ElectionsArgs) -> Outcome {
    install::servers()?;
    let bench = testkit("elections-bench", &[], true)?;
    let tenure = match &args.tenure {
        Some(tenure) => tenure.clone(),
        None => Ours::build()?,
    };
    let mut bench = Command::new(bench);
    bench.arg(tenure);
    for number in [args.elections, args.sessions, args.ttl] {
        bench.arg(number.to_string());
    }
    bench.arg(if args.json { "json" } else { "text" });
    ended("the bench of elections", bench.args(&args.only))
}
