//! `tenure man`: manual pages, one per command.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::{Man, roff::Roff};

use crate::{
    cli::{self, ALL_EXITS, epilogue},
    error::{Exit, Failure, Outcome},
    output::Output,
};

/// Print the manual page of tenure, or write all pages to a directory
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure man | man -l -", "read the page of tenure"),
        ("tenure man transfer | man -l -", "read the page of one command"),
        ("tenure man --dir ~/.local/share/man/man1", "write all pages"),
    ],
    &[(Exit::Yes, "printed or written"), (Exit::Usage, "no such command")],
))]
pub(crate) struct ManArgs {
    /// The command whose page to print, like `transfer` or `cluster status`
    #[arg(conflicts_with = "dir")]
    command: Vec<String>,
    /// Write all pages to this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &ManArgs, output: Output) -> Outcome {
    let mut tree = cli::tree();
    tree.build();
    if let Some(dir) = &args.dir {
        let written = write_all(&tree, dir).map_err(|error| {
            let what = format!("cannot write manual pages to {}", dir.display());
            Failure::io(what, &error, "give another directory with --dir")
        })?;
        output.talk(&format!("wrote {written} pages to {}", dir.display()));
        return Ok(Exit::Yes);
    }
    let mut command = &tree;
    for word in &args.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            let what = format!("there is no command {}", args.command.join(" "));
            Failure::usage(what, format!("{word:?} is not one"), "tenure --help lists them")
        })?;
    }
    let text = page(command)
        .map_err(|error| Failure::io("cannot make the page", &error, "report this as a bug"))?;
    output.data(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Yes)
}

fn write_all(tree: &Command, dir: &std::path::Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let mut written = 0;
    let mut commands = vec![tree];
    while let Some(command) = commands.pop() {
        fs::write(dir.join(format!("{}.1", file_name(command))), page(command)?)?;
        written += 1;
        commands.extend(command.get_subcommands());
    }
    Ok(written)
}

fn file_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

/// One page: what clap knows, then the exit codes as a section of their own.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = help.split("\nExit codes:").next().unwrap_or_default();
    let examples = examples.trim_start_matches("Examples:\n").to_owned();
    let own_exits = help.split("\nExit codes:\n").nth(1).unwrap_or_default().to_owned();
    let man = Man::new(command.clone().after_help("").after_long_help(""));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    section("EXAMPLES", &examples, &mut text)?;
    section("EXIT STATUS", &own_exits, &mut text)?;
    let all: String =
        ALL_EXITS.iter().map(|(exit, what)| format!("{:>3}  {what}\n", exit.code())).collect();
    section("EXIT CODES OF ALL COMMANDS", &all, &mut text)?;
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// A section whose lines stay as they are.
fn section(title: &str, lines: &str, text: &mut Vec<u8>) -> io::Result<()> {
    if lines.trim().is_empty() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", [title]).control("nf", []);
    for line in lines.lines() {
        roff.text([clap_mangen::roff::roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples_and_exit_codes() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = cli::tree();
        tree.build();
        let written = write_all(&tree, dir.path()).unwrap();
        assert!(written >= 18, "{written}");
        for name in ["tenure", "tenure-leader", "tenure-cluster-status", "tenure-dev-kill"] {
            let text = fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            for heading in ["NAME", "SYNOPSIS", "EXAMPLES", "EXIT STATUS"] {
                assert!(text.contains(heading), "{name} has no {heading}");
            }
        }
    }
}
