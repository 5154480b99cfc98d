//! `tenure resign`: the leader steps down, whoever comes next.

use clap::Args;
use tenure_core::{ElectionName, Token, ledger::Command};

use super::succession::Request;
use crate::{
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    output::Output,
};

/// Ask the leader to step down in favour of the next in line
///
/// The leader stops its work first, then hands over and waits in the queue again. If it does
/// not within --timeout, the request is taken back.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure resign billing", "billing: b (token 42) -> c (token 47), after 12 ms"),
        ("tenure resign billing --if-token 42", "only if that tenure still lasts"),
    ],
    &asking(&[
        (Exit::Yes, "somebody else leads now"),
        (Exit::No, "nobody leads, or nobody is there to hand over to"),
        (Exit::Conflict, "--if-token is stale"),
        (Exit::NotFound, "no such election"),
    ]),
))]
pub(crate) struct ResignArgs {
    /// The election
    election: ElectionName,
    /// Only if the tenure with this token still lasts
    #[arg(long, value_name = "N")]
    if_token: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(args: &ResignArgs, global: &Global, output: Output) -> Outcome {
    let election = args.election.clone();
    let if_token = args.if_token.map(Token::new);
    let command = Command::Reserve { election: election.clone(), to: None, if_token };
    let request = Request { election, command, cancel: true, vacancy_will_do: false };
    request.carry_out(global).await?.show(output)?;
    Ok(Exit::Yes)
}
