//! `tenure evict`: the present tenure is revoked.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use tenure_core::{ElectionName, Token, ledger::Command};

use super::succession::Request;
use crate::{
    args,
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Failure, Outcome},
    output::{Output, human},
};

/// Revoke the present tenure, for a leader that does not react
///
/// The leader is told to stop. Its successor is elected when it has, when it is seen dead, or
/// when its lease can no longer be believed in: an eviction never makes two leaders.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure evict billing", "asks first"),
        ("tenure evict billing --ban 60s --yes", "it may not contend again for a minute"),
        ("tenure evict billing --if-token 42 --yes", "only that tenure"),
    ],
    &asking(&[
        (Exit::Yes, "that tenure is over"),
        (Exit::No, "nobody leads, or you said no"),
        (Exit::Conflict, "--if-token is stale"),
        (Exit::NotFound, "no such election"),
    ]),
))]
pub(crate) struct EvictArgs {
    /// The election
    election: ElectionName,
    /// For how long the evicted candidate may not contend
    #[arg(long, value_name = "DUR", value_parser = args::some_time)]
    ban: Option<Duration>,
    /// Only if the tenure with this token still lasts
    #[arg(long, value_name = "N")]
    if_token: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &EvictArgs, global: &Global, output: Output) -> Outcome {
    let election = args.election.clone();
    let mut if_token = args.if_token.map(Token::new);
    if !args.yes {
        let sighting = Asker::connect(global).await?.confirmed_view(&election).await?;
        if let Some(leader) = sighting.view.leader() {
            let name = human::name(leader);
            if !confirmed(&format!("Evict {name}, which leads {election}?"), output)? {
                return Ok(Exit::No);
            }
            // What was agreed to is this tenure, not the next one.
            if_token = if_token.or(Some(leader.token));
        }
    }
    let command = Command::Evict { election: election.clone(), if_token, ban: args.ban };
    let request = Request { election, command, cancel: false, vacancy_will_do: true };
    request.carry_out(global).await?.show(output)?;
    Ok(Exit::Yes)
}

/// Asks a person; refuses when there is none to ask.
pub(super) fn confirmed(question: &str, output: Output) -> Outcome<bool> {
    if output.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(
            "this needs a confirmation",
            "there is no terminal to ask on",
            "add --yes if you are sure",
        ));
    }
    let mut stderr = io::stderr().lock();
    let mut answer = String::new();
    write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Failure::io("cannot ask", &error, "add --yes if you are sure"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
