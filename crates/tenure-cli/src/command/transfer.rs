//! `tenure transfer`: the leader hands over to a named candidate.

use clap::Args;
use tenure_core::{CandidateId, ElectionName, Token, ledger::Command};

use super::succession::Request;
use crate::{
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Failure, Outcome},
    output::Output,
};

/// Ask the leader to hand over to a candidate of your choice
///
/// The leader stops its work first. If it does not within --timeout (10s), the request is taken
/// back.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure transfer billing --to c", "billing: b (token 42) -> c (token 47), after 12 ms"),
        ("tenure transfer billing --to c --if-token 42 --timeout 30s", ""),
    ],
    &asking(&[
        (Exit::Yes, "that candidate leads now"),
        (Exit::No, "nobody leads"),
        (Exit::Conflict, "--if-token is stale, or somebody else was elected meanwhile"),
        (Exit::NotFound, "no such election or candidate"),
    ]),
))]
pub(crate) struct TransferArgs {
    /// The election
    election: ElectionName,
    /// Who is to lead
    #[arg(long, value_name = "CANDIDATE")]
    to: CandidateId,
    /// Only if the tenure with this token still lasts
    #[arg(long, value_name = "N")]
    if_token: Option<u64>,
}

/// Runs the command.
pub(crate) async fn run(args: &TransferArgs, global: &Global, output: Output) -> Outcome {
    let TransferArgs { election, to, if_token } = args;
    let sighting = Asker::connect(global).await?.confirmed_view(election).await?;
    if sighting.view.leader().is_some_and(|leader| leader.id == *to) {
        output.talk(&format!("{to} leads {election} already"));
        return Ok(Exit::Yes);
    }
    let command = Command::Reserve {
        election: election.clone(),
        to: Some(to.clone()),
        if_token: if_token.map(Token::new),
    };
    let election = election.clone();
    let request = Request { election, command, cancel: true, vacancy_will_do: false };
    let succession = request.carry_out(global).await?;
    succession.show(output)?;
    match &succession.after {
        Some(leader) if leader.id == *to => Ok(Exit::Yes),
        _ => Err(Failure::new(
            Exit::Conflict,
            format!("somebody else than {to} was elected"),
            format!("{to} stopped contending, or died, while the leader handed over"),
            format!("tenure status {}", args.election),
        )),
    }
}
