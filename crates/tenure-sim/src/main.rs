//! `cargo xtask sim` runs this: a hunt over many seeds, or one seed with its trace.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod growth;
mod hunts;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use args::{Args, USAGE};
use tenure_sim::{Outcome, run, run_store};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("scale") {
        return growth::run(std::env::args().skip(2));
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let good = match args.seed {
        Some(seed) => one(seed, &args),
        None if args.mutants => hunts::mutants(&args),
        None => hunts::many(&args),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one seed and shows what happened.
fn one(seed: u64, args: &Args) -> bool {
    let readable = !args.quiet && !args.json;
    let outcome = match args.store {
        Some(store) => run_store(store, seed, args.store_mutant, readable),
        None => run(seed, args.mutant, readable),
    };
    if args.json {
        println!("{}", outcome.to_json());
    } else {
        show(&outcome);
    }
    outcome.violation.is_none()
}

fn show(outcome: &Outcome) {
    let Outcome { seed, events, hash, trace, .. } = outcome;
    let verdict = match &outcome.violation {
        Some(violation) => format!("BROKEN: {violation}"),
        None => String::from("all invariants held"),
    };
    let replay = outcome.replay();
    // Whoever reads the trace may have seen enough of it.
    let _ = write!(
        io::stdout(),
        "{trace}seed {seed}: {events} events, hash {hash:016x}\n{verdict}\nreplay: {replay}\n"
    );
}
