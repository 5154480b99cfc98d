//! Drives the workspace: `cargo xtask test`, `cargo xtask tidy`,
//! `cargo xtask bench failover`. It builds, runs and measures the other
//! packages; none of them links it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod failure;
mod install;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tests and benches of the Tenure workspace")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, docs, tidiness, unit, property and end-to-end tests
    Test(test::TestArgs),
    /// The rules of the repository alone
    Tidy(tidy::TidyArgs),
    /// Simulated clusters, many seeds or one
    Sim(sim::SimArgs),
    /// Measurements
    #[command(subcommand)]
    Bench(bench::BenchTask),
    /// A child process of a bench (not for people)
    #[command(subcommand, hide = true)]
    Child(bench::ChildTask),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Bench(task) => bench::run(&task),
        Task::Child(task) => bench::child(&task),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
