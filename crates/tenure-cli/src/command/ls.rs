//! `tenure ls`: the elections there are.

use clap::Args;
use serde_json::json;
use tenure_quorum::{clock, wire::ElectionLine};

use crate::{
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    events::Belief,
    output::{Output, human, human::Paint, json, time},
};

/// List elections and who leads them
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure ls", "all elections"),
        ("tenure ls eu/", "those whose name begins with eu/"),
        ("tenure ls --json", "one JSON array"),
    ],
    &asking(&[(Exit::Yes, "listed, even if there is none")]),
))]
pub(crate) struct LsArgs {
    /// Beginning of their names
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Take one node's word for it, without a quorum
    #[arg(long)]
    local: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &LsArgs, global: &Global, output: Output) -> Outcome {
    let asker = Asker::connect(global).await?;
    if !args.local {
        asker.confirm().await?;
    }
    show(&asker.list(&args.prefix).await?, output)?;
    Ok(Exit::Yes)
}

/// Prints elections, one line each.
pub(super) fn show(lines: &[ElectionLine], output: Output) -> Outcome<()> {
    if output.json {
        let lines: Vec<_> = lines.iter().map(machine).collect();
        return output.data(&json::text(&lines));
    }
    if lines.is_empty() {
        output.talk("no elections yet; tenure campaign NAME starts one");
        return Ok(());
    }
    output.data(&table(lines, output.paint()))
}

/// One election for machines.
pub(super) fn machine(line: &ElectionLine) -> serde_json::Value {
    json!({
        "election": line.election,
        "view": Belief::from(&line.sighting).view,
        "leader": line.sighting.view.leader().map(json::leader),
        "revision": line.sighting.revision.get(),
        "reason": line.sighting.reason,
        "candidates": line.candidates,
        "paused": line.paused,
    })
}

fn table(lines: &[ElectionLine], paint: Paint) -> String {
    let now = clock::wall();
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let leader = line.sighting.view.leader();
            let dash = || String::from("-");
            vec![
                line.election.to_string(),
                leader.map_or_else(
                    || format!("({})", Belief::from(&line.sighting).view.as_str()),
                    human::name,
                ),
                leader.map_or_else(dash, |leader| leader.token.to_string()),
                leader.map_or_else(dash, |leader| time::span(now.since(leader.since))),
                line.candidates.to_string(),
                if line.paused { String::from("paused") } else { String::new() },
            ]
        })
        .collect();
    human::table(&["election", "leader", "token", "for", "candidates", ""], &rows, paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenure_core::{ElectionName, Revision, Sighting, View};

    #[test]
    fn what_nobody_leads_is_said_in_brackets() {
        let line = ElectionLine {
            election: ElectionName::new("billing").unwrap(),
            sighting: Sighting {
                view: View::Vacant,
                revision: Revision::new(3),
                age: Duration::ZERO,
                reason: None,
            },
            candidates: 2,
            paused: true,
        };
        insta::assert_snapshot!(table(&[line], Paint::default()), @r"
        election  leader    token  for  candidates
        billing   (vacant)  -      -    2           paused
        ");
    }
}
