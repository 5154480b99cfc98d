//! `cargo xtask sim`: builds the simulator with optimisation and passes its arguments on.

use std::process::Command;

use clap::Args;

use crate::failure::{Failure, Outcome};
use crate::install;

/// What to run; see `--help`.
#[derive(Args)]
pub(crate) struct SimArgs {
    /// Run this many seeds
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replay one seed with a readable trace
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Hunt for this long
    #[arg(long)]
    minutes: Option<u64>,
    /// Plant each known bug and see whether it is caught
    #[arg(long)]
    mutants: bool,
    /// Plant this bug
    #[arg(long)]
    mutant: Option<String>,
    /// Only over this modelled store (an unknown name lists them)
    #[arg(long)]
    store: Option<String>,
    /// Report for programs
    #[arg(long)]
    json: bool,
    /// No trace in a replay
    #[arg(long)]
    quiet: bool,
    /// No hunt: healthy clusters with so many sessions, and what grows with them, for example
    /// 1000,10000,100000
    #[arg(long, conflicts_with_all = ["seeds", "minutes", "seed", "mutants"])]
    sessions: Option<String>,
    /// Threads that share the seeds
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

/// Runs the simulator.
pub(crate) fn run(args: &SimArgs) -> Outcome {
    let mut cargo = install::cargo();
    cargo.args(["run", "--quiet", "--profile", "sim", "--package", "tenure-sim", "--"]);
    if let Some(sessions) = &args.sessions {
        cargo.args(["scale", "--sessions", sessions]);
        cargo.args(args.json.then_some("--json"));
        return ended(&mut cargo);
    }
    let numbers = [
        ("--seeds", args.seeds),
        ("--from", Some(args.from)),
        ("--seed", args.seed),
        ("--minutes", args.minutes),
        ("--threads", Some(args.threads)),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            cargo.arg(name).arg(number.to_string());
        }
    }
    let flags = [("--mutants", args.mutants), ("--quiet", args.quiet), ("--json", args.json)];
    for (name, wanted) in flags {
        if wanted {
            cargo.arg(name);
        }
    }
    for (name, value) in [("--store", &args.store), ("--mutant", &args.mutant)] {
        if let Some(value) = value {
            cargo.args([name, value]);
        }
    }
    ended(&mut cargo)
}

fn ended(cargo: &mut Command) -> Outcome {
    let status = cargo.current_dir(install::workspace()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            "the simulation failed",
            format!("it ended with {status}"),
            "see its words above; a seed that it names is replayed by: cargo xtask sim --seed N",
        )),
        Err(error) => Err(Failure::new("the simulation did not run", error, "see cargo's output")),
    }
}
