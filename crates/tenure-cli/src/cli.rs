//! The command line: one table of flags, nothing else.

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{args, command, error::Exit, output::Color};

/// Elects leaders, and keeps them elected
///
/// A cluster of processes agrees on one leader per election, notices its death at once, and
/// tells everybody. Begin with `tenure dev`: a cluster on this machine, for trying it out.
#[derive(Debug, Parser)]
#[command(
    name = "tenure",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = epilogue(
        &[
            ("tenure dev", "a cluster on this machine, with a live view"),
            ("tenure leader demo", "who leads"),
            ("tenure leader demo --all", "what every node believes"),
            ("tenure run demo -- ./job", "run a command only while leading"),
            ("tenure campaign demo", "contend, and hold leadership until ctrl-C"),
        ],
        &ALL_EXITS,
    )
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the cluster is: tenure://HOST:PORT[,HOST:PORT...]
    #[arg(short, long, env = "TENURE_URL", value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// Directory of a local cluster (see `tenure dev`) [env: TENURE_DIR=]
    // Read from the environment by `settled`, not by clap: `tenure man` has a --dir of its own.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Longest wait for an answer [default: 5s, or 10s where a leader must act]
    #[arg(
        long,
        env = "TENURE_TIMEOUT",
        value_name = "DUR",
        value_parser = args::some_time,
        global = true
    )]
    pub(crate) timeout: Option<Duration>,
    /// Print JSON, one object per line where things happen one by one
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print data and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log more; twice for even more. TENURE_LOG takes a filter like `tenure_quorum=debug`
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// When to colour; NO_COLOR is honoured
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN", global = true)]
    pub(crate) color: Color,
    /// How log lines on standard error look
    #[arg(
        long,
        env = "TENURE_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text,
        value_name = "FORMAT",
        global = true
    )]
    pub(crate) log_format: LogFormat,
}

impl Global {
    /// Fills in what the environment says and the command line does not.
    pub(crate) fn settled(mut self) -> Self {
        let dir = std::env::var_os("TENURE_DIR").filter(|dir| !dir.is_empty());
        self.dir = self.dir.or(dir.map(PathBuf::from));
        self.url = self.url.filter(|url| !url.is_empty());
        self
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(command::dev::DevArgs),
    Run(Box<command::run::RunArgs>),
    Lock(Box<command::run::LockArgs>),
    Campaign(command::campaign::CampaignArgs),
    Leader(command::leader::LeaderArgs),
    Watch(command::watch::WatchArgs),
    Ls(command::ls::LsArgs),
    Status(command::status::StatusArgs),
    History(command::history::HistoryArgs),
    Resign(command::resign::ResignArgs),
    Transfer(command::transfer::TransferArgs),
    Evict(command::evict::EvictArgs),
    Pause(command::pause::PauseArgs),
    Resume(command::pause::ResumeArgs),
    Node(Box<command::node::NodeArgs>),
    Cluster(command::cluster::ClusterArgs),
    Fence(command::fence::FenceArgs),
    Doctor(command::doctor::DoctorArgs),
    Completions(command::completions::CompletionsArgs),
    Man(command::man::ManArgs),
    Version(command::version::VersionArgs),
}

/// The whole command line, for completions and manual pages.
pub(crate) fn tree() -> clap::Command {
    Cli::command()
}

/// Every exit code there is.
pub(crate) const ALL_EXITS: [(Exit, &str); 9] = [
    (Exit::Yes, "yes, or done"),
    (Exit::No, "no: nobody leads, or nobody is there to hand over to"),
    (Exit::Usage, "the command line makes no sense"),
    (Exit::Unavailable, "no quorum, no answer in time, or an outcome that is not known: try again"),
    (Exit::Conflict, "somebody else was faster or has it already (--if-token, id, port)"),
    (Exit::Denied, "not allowed"),
    (Exit::NotFound, "no such election, candidate, node or cluster"),
    (Exit::Tool, "tenure itself failed; the message says why"),
    (Exit::Interrupted, "interrupted"),
];

/// Longer examples do not push the explanations of the others aside.
const LONG_EXAMPLE: usize = 48;

/// The end of a help text: examples, then exit codes.
pub(crate) fn epilogue(examples: &[(&str, &str)], exits: &[(Exit, &str)]) -> String {
    let exits: Vec<_> = exits.iter().map(|(exit, what)| (exit.code().to_string(), *what)).collect();
    let exits: Vec<_> = exits.iter().map(|(exit, what)| (exit.as_str(), *what)).collect();
    epilogue_of(examples, &exits)
}

/// The same for a command with exit codes of its own.
pub(crate) fn epilogue_of(examples: &[(&str, &str)], exits: &[(&str, &str)]) -> String {
    let lengths = examples.iter().map(|(line, _)| line.len());
    let width = lengths.filter(|length| *length <= LONG_EXAMPLE).max().unwrap_or(0);
    let mut text = String::from("Examples:\n");
    for (line, what) in examples {
        text.push_str(format!("  {line:<width$}  {what}").trim_end());
        text.push('\n');
    }
    text.push_str("\nExit codes:\n");
    for (exit, what) in exits {
        text.push_str(&format!("  {exit:>3}  {what}\n"));
    }
    text
}

/// Exit codes of a command that asks a cluster, after those of its own.
pub(crate) fn asking<'a>(own: &[(Exit, &'a str)]) -> Vec<(Exit, &'a str)> {
    let mut all = own.to_vec();
    all.push((Exit::Usage, "the command line makes no sense"));
    if own.iter().all(|(exit, _)| *exit != Exit::Unavailable) {
        all.push((Exit::Unavailable, "no quorum or no answer in time; a change may still happen"));
    }
    all.push((Exit::Tool, "tenure itself failed"));
    all.sort_by_key(|(exit, _)| exit.code());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flags_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_and_its_exit_codes() {
        fn look(command: &clap::Command, path: &str) {
            for child in command.get_subcommands() {
                let path = format!("{path} {}", child.get_name());
                let help = child.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{path}");
                assert!(help.contains("Exit codes:"), "{path}");
                assert!(help.contains(path.as_str()), "{path} is not in its own examples");
                look(child, &path);
            }
        }
        look(&tree(), "tenure");
    }
}
