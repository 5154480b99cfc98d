//! `tenure history`: the tenures of an election that are over.

use clap::Args;
use serde_json::json;
use tenure_core::{ElectionName, WallTime, ledger::PastTenure};
use tenure_quorum::clock;

use crate::{
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    output::{Output, human, human::Paint, json, time},
};

/// List past tenures of an election: who, until when, why it ended, and the gap before it
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure history billing", "the latest first"),
        ("tenure history billing --json", "one JSON object per tenure, the latest last"),
    ],
    &asking(&[
        (Exit::Yes, "listed, even if there is none"),
        (Exit::NotFound, "no such election"),
    ]),
))]
pub(crate) struct HistoryArgs {
    /// The election
    election: ElectionName,
    /// Take one node's word for it, without a quorum
    #[arg(long)]
    local: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &HistoryArgs, global: &Global, output: Output) -> Outcome {
    let asker = Asker::connect(global).await?;
    if !args.local {
        asker.confirm().await?;
    }
    let detail = asker.detail(&args.election).await?;
    if output.json {
        for past in &detail.history {
            output.data(&json::text(&machine(past)))?;
        }
    } else if detail.history.is_empty() {
        output.talk(&format!("{} has no past tenures yet", args.election));
    } else {
        output.data(&table(&detail.history, clock::wall(), output.paint()))?;
    }
    Ok(Exit::Yes)
}

/// One tenure for machines.
pub(super) fn machine(past: &PastTenure) -> serde_json::Value {
    json!({
        "id": past.candidate,
        "token": past.token,
        "started": time::rfc3339(past.started),
        "ended": time::rfc3339(past.ended),
        "reason": past.reason.as_str(),
        "gap_ms": past.gap.map(time::millis),
    })
}

fn table(history: &[PastTenure], now: WallTime, paint: Paint) -> String {
    let rows: Vec<_> = history
        .iter()
        .rev()
        .map(|past| {
            vec![
                past.token.to_string(),
                past.candidate.to_string(),
                time::clock(past.started, now),
                time::span(past.ended.since(past.started)),
                past.gap.map_or_else(|| String::from("-"), time::span),
                past.reason.as_str().to_owned(),
            ]
        })
        .collect();
    human::table(&["token", "leader", "from", "for", "gap before", "ended"], &rows, paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenure_core::{CandidateId, Token, ledger::EndReason};

    #[test]
    fn the_latest_comes_first() {
        let past = |id: &str, token, from: u64, reason, gap| PastTenure {
            candidate: CandidateId::new(id).unwrap(),
            token: Token::new(token),
            started: WallTime::from_micros(from * 1_000_000),
            ended: WallTime::from_micros((from + 5) * 1_000_000),
            reason,
            gap,
        };
        let gap = Some(Duration::from_millis(8));
        let history =
            [past("a", 41, 10, EndReason::Expired, None), past("b", 42, 15, EndReason::Died, gap)];
        let now = WallTime::from_micros(60_000_000);
        insta::assert_snapshot!(table(&history, now, Paint::default()), @r"
        token  leader  from       for  gap before  ended
        42     b       00:00:15Z  5 s  8.0 ms      died
        41     a       00:00:10Z  5 s  -           expired
        ");
    }
}
