//! `tenure pause` and `tenure resume`: whether new leaders are granted.

use clap::Args;
use serde_json::json;
use tenure_core::{ElectionName, ledger::Command};

use crate::{
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    output::{Output, json},
};

/// Grant no new leader of an election; the present one stays
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[("tenure pause billing", "until tenure resume billing")],
    &asking(&[(Exit::Yes, "paused, or was already"), (Exit::NotFound, "no such election")]),
))]
pub(crate) struct PauseArgs {
    /// The election
    election: ElectionName,
}

/// Grant new leaders of a paused election again
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[("tenure resume billing", "the first in line leads if nobody does")],
    &asking(&[(Exit::Yes, "not paused any more"), (Exit::NotFound, "no such election")]),
))]
pub(crate) struct ResumeArgs {
    /// The election
    election: ElectionName,
}

/// Runs `tenure pause`.
pub(crate) async fn pause(args: &PauseArgs, global: &Global, output: Output) -> Outcome {
    let election = args.election.clone();
    Asker::connect(global).await?.command(Command::Pause { election }).await?;
    say(&args.election, true, output)
}

/// Runs `tenure resume`.
pub(crate) async fn resume(args: &ResumeArgs, global: &Global, output: Output) -> Outcome {
    let election = args.election.clone();
    Asker::connect(global).await?.command(Command::Resume { election }).await?;
    say(&args.election, false, output)
}

fn say(election: &ElectionName, paused: bool, output: Output) -> Outcome {
    if output.json {
        output.data(&json::text(&json!({ "election": election, "paused": paused })))?;
    } else if paused {
        output.talk(&format!("{election} is paused: no new leader until tenure resume {election}"));
    } else {
        output.talk(&format!("{election} is not paused"));
    }
    Ok(Exit::Yes)
}
