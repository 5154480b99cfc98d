//! `cargo xtask bench stores`: builds the test kit with optimisation and runs its bench.

use std::path::PathBuf;
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
    // It starts the candidates from the same directory.
    let bench = testkit("stores-bench", &["testkit-candidate"], !args.unoptimised)?;
    let mut bench = Command::new(bench);
    bench.arg(args.rounds.to_string()).arg(args.ttl.to_string());
    bench.arg(if args.json { "json" } else { "text" });
    ended("the bench of the stores", bench.args(&args.only))
}

/// Builds a program of the test kit, and others that it starts; gives its path.
pub(super) fn testkit(program: &str, others: &[&str], optimised: bool) -> Outcome<PathBuf> {
    eprintln!("building {program}");
    let mut build = install::cargo();
    build.args(["build", "--quiet", "-j2", "--package", "tenure-testkit", "--bin", program]);
    build.args(others.iter().flat_map(|other| ["--bin", other]));
    if optimised {
        // Whole-program optimisation is for memory; here it would only take minutes.
        build.args(["--release", "--config", "profile.release.lto=\"thin\""]);
    }
    ended("building the bench", &mut build)?;
    let profile = if optimised { "release" } else { "debug" };
    Ok(install::target().join(profile).join(program))
}

pub(super) fn ended(what: &str, command: &mut Command) -> Outcome {
    match command.current_dir(install::workspace()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            format!("{what} failed"),
            format!("it ended with {status}"),
            "see its words above",
        )),
        Err(error) => Err(Failure::new(format!("{what} cannot be started"), error, "install Rust")),
    }
}
