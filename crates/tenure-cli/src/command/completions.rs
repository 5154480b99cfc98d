//! `tenure completions`: what a shell needs to complete command lines.

use clap::Args;
use clap_complete::Shell;

use crate::{
    cli::{self, epilogue},
    error::{Exit, Failure, Outcome},
};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("source <(tenure completions bash)", "in this shell"),
        ("tenure completions zsh > ~/.zfunc/_tenure", ""),
        ("tenure completions fish > ~/.config/fish/completions/tenure.fish", ""),
    ],
    &[(Exit::Yes, "printed"), (Exit::Usage, "no such shell")],
))]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut cli::tree(), "tenure", &mut text);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text).map_err(|error| match error
        .kind()
    {
        std::io::ErrorKind::BrokenPipe => Failure::unread(),
        _ => Failure::io("cannot print completions", &error, "look at where they go"),
    })?;
    Ok(Exit::Yes)
}
