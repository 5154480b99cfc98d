//! `tenure`: the command line of a leader-election system. Everything here is glue; what
//! leadership means lives in the libraries.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod ask;
mod cli;
mod command;
mod dev;
mod discover;
mod error;
mod events;
mod http;
mod limits;
mod log;
mod output;
mod parent;
mod proxy;
mod realtime;
mod run;
mod serve;
mod store;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use crate::{
    cli::Cli,
    error::{Exit, Failure},
    output::{Color, Output},
};

fn main() -> ExitCode {
    die_of_panics();
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == run::launch::WORD) {
        return run::launch::main(words);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misuse(&error),
    };
    let global = cli.global.settled();
    let output = Output { json: global.json, quiet: global.quiet, color: global.color };
    match command::run(cli.command, &global, output) {
        Ok(code) => code.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

/// A panic in any thread ends the process: half a node must not go on renewing leases. Its
/// death is proved to the others at once.
fn die_of_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// Help, the version, or a command line that makes no sense.
fn misuse(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if !error.use_stderr() {
        // Nobody can be told that the place to print help is gone.
        let _ = error.print();
        return Exit::Yes.into();
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !wants_json {
        let _ = error.print();
        return Exit::Usage.into();
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let told = |line: &&str| !line.is_empty() && !line.starts_with("For more information");
    let mut lines = lines.filter(told).filter(|line| !line.starts_with("Usage: "));
    let first =
        lines.next().unwrap_or_default().trim_start_matches("error: ").trim_end_matches(':');
    let (what, reason) = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ("a command is missing", ""),
        ErrorKind::ValueValidation => first.split_once("': ").unwrap_or((first, "")),
        _ => (first, ""),
    };
    let what = if reason.is_empty() { what.to_owned() } else { format!("{what}'") };
    let mut why: Vec<_> = [reason].into_iter().filter(|why| !why.is_empty()).chain(lines).collect();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        why = vec!["there is nothing to do without a command"];
    } else if why.is_empty() {
        why.push("this command does not take that");
    }
    let failure = Failure::usage(what, why.join("\n"), format!("{} --help", meant()));
    Output { json: wants_json, quiet: false, color: Color::Auto }.failure(&failure);
    Exit::Usage.into()
}

/// The command that was meant.
fn meant() -> String {
    let tree = cli::tree();
    let (mut command, mut path) = (&tree, String::from("tenure"));
    for argument in std::env::args().skip(1) {
        if let Some(child) = command.find_subcommand(&argument) {
            command = child;
            path = format!("{path} {argument}");
        }
    }
    path
}
