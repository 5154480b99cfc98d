//! `cargo xtask bench stores`: builds the test kit with optimisation and runs its bench.

use std::process::Command;

use clap::Args;

use crate::failure::{Failure, Outcome};
use crate::install;

/// What to run.
#[derive(Args)]
pub(crate) struct StoresArgs {
    /// Rounds; in each, every contestant loses a holder by `kill -9` and one by SIGTERM, at
    /// moments spread over a ttl
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Length of the leases, in milliseconds; whole seconds, for etcd
    #[arg(long, default_value_t = 2000)]
    ttl: u32,
    /// Build without optimisation: quicker to begin, and good enough for times of a second
    #[arg(long)]
    unoptimised: bool,
    /// Only these stores: redis, etcd, zookeeper, postgres, file
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the bench.
pub(crate) fn run(args: &StoresArgs) -> Outcome {
    install::servers()?;
    install::python()?;
    // All programs, not the bench alone: it starts the candidates from the same directory.
    let profile: &[&str] = if args.unoptimised { &[] } else { &["--release"] };
    let package = ["-j2", "--package", "tenure-testkit"];
    let mut build = install::cargo();
    build.args(["build", "--quiet", "--bins"]).args(profile).args(package);
    ended("building the bench", &mut build)?;
    let mut bench = install::cargo();
    bench.args(["run", "--quiet", "--bin", "stores-bench"]).args(profile).args(package);
    bench.arg("--").arg(args.rounds.to_string()).arg(args.ttl.to_string());
    bench.arg(if args.json { "json" } else { "text" });
    ended("the bench of the stores", bench.args(&args.only))
}

fn ended(what: &str, cargo: &mut Command) -> Outcome {
    match cargo.current_dir(install::workspace()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            format!("{what} failed"),
            format!("it ended with {status}"),
            "see its words above",
        )),
        Err(error) => Err(Failure::new("cannot run cargo", error, "install Rust")),
    }
}
