//! `cargo xtask test`: every check of the repository, one step after another.

use std::process::{Command, ExitStatus};
use std::time::Instant;

use clap::Args;

use crate::failure::{Failure, Outcome};
use crate::{install, tidy};

/// What to leave out.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Leave out the docs and the end-to-end tests with real processes and servers
    #[arg(long)]
    quick: bool,
    /// Run the remaining steps after one has failed
    #[arg(long)]
    keep_going: bool,
    /// Compile with this many jobs at a time
    #[arg(long, default_value_t = 2)]
    jobs: u16,
}

/// What needs no server and no cluster of processes: the end-to-end tests are the integration
/// tests of the binary's package.
const QUICK: &str = "not (package(tenure-cli) and kind(test)) and not package(tenure-testkit)";

/// One step: its name, and either a call of cargo or the tidy rules.
struct Step {
    name: &'static str,
    alone: String,
    work: Work,
}

enum Work {
    Cargo { args: Vec<String>, env: Option<(&'static str, &'static str)> },
    Tidy,
}

/// Runs the steps; the first failure ends the run unless told otherwise.
pub(crate) fn run(args: &TestArgs) -> Outcome {
    let started = Instant::now();
    println!("==> tools: git, rustfmt, clippy, nextest");
    install::git()?;
    install::components()?;
    install::nextest()?;
    if !args.quick {
        println!("==> servers of the stores");
        install::servers()?;
    }
    let steps = steps(args);
    let mut failed: Vec<&Step> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("==> [{}/{}] {}: {}", index + 1, steps.len(), step.name, step.alone);
        let begun = Instant::now();
        let verdict = step.run();
        let seconds = begun.elapsed().as_secs_f32();
        match verdict {
            Ok(()) => println!("<== {} ok, {seconds:.1} s", step.name),
            Err(why) => {
                println!("<== {} FAILED after {seconds:.1} s: {why}", step.name);
                failed.push(step);
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    if failed.is_empty() {
        println!("all {} steps passed in {:.1} s", steps.len(), started.elapsed().as_secs_f32());
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|step| step.name).collect();
    let alone: Vec<&str> = failed.iter().map(|step| step.alone.as_str()).collect();
    Err(Failure::new(
        format!("`cargo xtask test` failed at: {}", names.join(", ")),
        "see the output of that step above",
        format!("{} failed; run it alone: {}", names.join(", "), alone.join("   |   ")),
    ))
}

fn steps(args: &TestArgs) -> Vec<Step> {
    let jobs = format!("-j{}", args.jobs);
    let mut steps = vec![
        cargo("format", None, &["fmt", "--all", "--check"]),
        Step { name: "tidy", alone: "cargo xtask tidy".into(), work: Work::Tidy },
        cargo(
            "lint",
            None,
            &["clippy", "--workspace", "--all-targets", &jobs, "--", "-D", "warnings"],
        ),
    ];
    if !args.quick {
        steps.extend(mixes(&jobs));
    }
    if args.quick {
        steps.push(cargo("tests", None, &["nextest", "run", "--workspace", "-E", QUICK, &jobs]));
    } else {
        steps.push(cargo(
            "docs",
            Some(("RUSTDOCFLAGS", "-D warnings")),
            &["doc", "--workspace", "--no-deps", &jobs],
        ));
        steps.push(cargo("examples in docs", None, &["test", "--doc", "--workspace", &jobs]));
        steps.push(cargo("tests", None, &["nextest", "run", "--workspace", &jobs]));
    }
    steps
}

/// The library without any store, and with each alone. "All" is what the lints look at. Pairs
/// add nothing: no code of it asks for two features at once, as `cargo xtask tidy` makes sure,
/// so what a mix lacks is lacking with one of its features alone, and what clashes in it clashes
/// when all are on.
fn mixes(jobs: &str) -> Vec<Step> {
    let mixes = ["", "quorum", "redis", "etcd", "zookeeper", "postgres"];
    let check = |mix: &&str| {
        let features = format!("--features={mix}");
        let args = ["check", "-q", "-p", "tenure", "--no-default-features", &features, jobs];
        cargo("features", None, &args)
    };
    mixes.iter().map(check).collect()
}

fn cargo(name: &'static str, env: Option<(&'static str, &'static str)>, args: &[&str]) -> Step {
    let prefix = env.map(|(key, value)| format!("{key}='{value}' ")).unwrap_or_default();
    Step {
        name,
        alone: format!("{prefix}cargo {}", args.join(" ")),
        work: Work::Cargo { args: args.iter().map(ToString::to_string).collect(), env },
    }
}

impl Step {
    fn run(&self) -> Result<(), String> {
        match &self.work {
            Work::Tidy => tidy::check(),
            Work::Cargo { args, env } => {
                let mut command: Command = install::cargo();
                command.args(args).current_dir(install::workspace()).envs(*env);
                command.status().map_err(|error| error.to_string()).and_then(ended)
            }
        }
    }
}

fn ended(status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("cargo ended with {status}")) }
}
