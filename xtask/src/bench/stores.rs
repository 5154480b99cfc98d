//! `cargo xtask bench stores`: builds the test kit with optimisation and runs its bench.

use clap::Args;

use crate::failure::{Failure, Outcome};
use crate::install;

/// What to run.
#[derive(Args)]
pub(crate) struct StoresArgs {
    /// Rounds; in each, every contestant loses a holder by `kill -9` and one by SIGTERM
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Length of the leases, in milliseconds; whole seconds, for etcd
    #[arg(long, default_value_t = 2000)]
    ttl: u32,
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
    let mut cargo = install::cargo();
    cargo.args(["run", "--release", "--quiet", "-j2", "--package", "tenure-testkit"]);
    cargo.args(["--bin", "stores-bench", "--"]);
    cargo.arg(args.rounds.to_string()).arg(args.ttl.to_string());
    cargo.arg(if args.json { "json" } else { "text" });
    cargo.args(&args.only);
    match cargo.current_dir(install::workspace()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            "the bench of the stores failed",
            format!("it ended with {status}"),
            "see its words above",
        )),
        Err(error) => Err(Failure::new("cannot run cargo", error, "install Rust")),
    }
}
