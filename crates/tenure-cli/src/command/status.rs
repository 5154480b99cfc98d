//! `tenure status`: one election in full, or all in short.

use clap::Args;
use serde_json::json;
use tenure_core::{ElectionName, View, WallTime, ledger::PastTenure};
use tenure_quorum::{clock, wire::ElectionDetail};

use super::{history, ls};
use crate::{
    ask::Asker,
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    output::{Output, human, human::Paint, json, time},
};

/// Past tenures that fit on one line.
const LAST: usize = 3;

/// Show an election in full: its leader, who waits, and what was
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure status billing", "leader, candidates in their order, last tenures"),
        ("tenure status", "all elections, one line each"),
        ("tenure status billing --json", ""),
    ],
    &asking(&[
        (Exit::Yes, "somebody leads; without an election: listed"),
        (Exit::No, "nobody leads"),
        (Exit::NotFound, "no such election"),
    ]),
))]
pub(crate) struct StatusArgs {
    /// The election; without one, all
    election: Option<ElectionName>,
    /// Take one node's word for it, without a quorum
    #[arg(long)]
    local: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &StatusArgs, global: &Global, output: Output) -> Outcome {
    let asker = Asker::connect(global).await?;
    if !args.local {
        asker.confirm().await?;
    }
    let Some(election) = &args.election else {
        ls::show(&asker.list("").await?, output)?;
        return Ok(Exit::Yes);
    };
    let detail = asker.detail(election).await?;
    let text = if output.json {
        json::text(&machine(&detail))
    } else {
        person(&detail, clock::wall(), output.paint())
    };
    output.data(&text)?;
    Ok(match detail.line.sighting.view {
        View::Led(_) => Exit::Yes,
        View::Vacant => Exit::No,
        View::Unknown => Exit::Unavailable,
    })
}

fn machine(detail: &ElectionDetail) -> serde_json::Value {
    let waiting: Vec<_> = detail
        .waiting
        .iter()
        .map(|candidate| {
            json!({
                "id": candidate.id,
                "value": candidate.value,
                "eligible": candidate.eligible,
                "priority": candidate.priority,
                "rank": candidate.rank,
            })
        })
        .collect();
    let mut value = ls::machine(&detail.line);
    if let Some(object) = value.as_object_mut() {
        let handover = detail.handover.as_ref().map(|to| json!({ "to": to }));
        object.insert("handover".into(), json!(handover));
        object.insert("revoked".into(), json!(detail.revoked));
        object.insert("waiting".into(), json!(waiting));
        object.insert("banned".into(), json!(detail.banned));
        object.insert("gap_ms".into(), json!(detail.gap.map(time::millis)));
        let history: Vec<_> = detail.history.iter().map(history::machine).collect();
        object.insert("history".into(), json!(history));
    }
    value
}

fn person(detail: &ElectionDetail, now: WallTime, paint: Paint) -> String {
    let line = &detail.line;
    let mut first = format!(
        "{}   {}",
        paint.strong(&line.election),
        human::sighting(&line.sighting, now, paint)
    );
    if let Some(leader) = line.sighting.view.leader() {
        first.push_str(&format!("   lease {}", time::span(leader.ttl.get())));
    }
    let mut lines = vec![first];
    if line.paused {
        lines.push(format!("  {}", paint.unsure("paused: no new leader is granted")));
    }
    if let Some(to) = &detail.handover {
        let to = to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        lines.push(format!("  {}", paint.unsure(format!("asked to hand over{to}"))));
    }
    if detail.revoked {
        lines.push(format!("  {}", paint.bad("evicted; waiting until it has stopped")));
    }
    for (index, candidate) in detail.waiting.iter().enumerate() {
        let head = if index == 0 { "waiting" } else { "" };
        let able = if candidate.eligible { "" } else { "   not eligible" };
        lines.push(format!(
            "  {head:<8}  {}   priority {}   rank {}{able}",
            candidate.id, candidate.priority, candidate.rank
        ));
    }
    if !detail.banned.is_empty() {
        let names: Vec<_> = detail.banned.iter().map(ToString::to_string).collect();
        lines.push(format!("  banned    {}", names.join("  ")));
    }
    let last: Vec<_> =
        detail.history.iter().rev().take(LAST).map(|past| brief(past, now)).collect();
    if !last.is_empty() {
        lines.push(format!("  {}    {}", paint.dim("before"), last.join(&paint.dim("  |  "))));
    }
    lines.join("\n")
}

fn brief(past: &PastTenure, now: WallTime) -> String {
    format!(
        "{} {} until {} {}",
        past.token,
        past.candidate,
        time::clock(past.ended, now),
        past.reason.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenure_core::{
        CandidateId, Leader, Revision, Sighting, Token, Value, ledger::EndReason, timing::Ttl,
    };
    use tenure_quorum::wire::{ElectionLine, WaitingCandidate};

    const NOW: u64 = 1_795_240_990_000_000;

    fn detail() -> ElectionDetail {
        let id = |name: &str| CandidateId::new(name).unwrap();
        let leader = Leader {
            id: id("b"),
            value: Value::new("10.0.0.2:8080").unwrap(),
            token: Token::new(42),
            ttl: Ttl::new(Duration::from_secs(5)).unwrap(),
            since: WallTime::from_micros(NOW - 3_000_000),
        };
        let sighting = Sighting {
            view: View::Led(leader),
            revision: Revision::new(44),
            age: Duration::ZERO,
            reason: None,
        };
        let election = ElectionName::new("billing").unwrap();
        ElectionDetail {
            line: ElectionLine { election, sighting, candidates: 2, paused: false },
            handover: None,
            revoked: false,
            waiting: vec![WaitingCandidate {
                id: id("c"),
                value: Value::default(),
                eligible: true,
                priority: 0,
                rank: 0,
            }],
            banned: Vec::new(),
            gap: Some(Duration::from_millis(12)),
            history: vec![PastTenure {
                candidate: id("a"),
                token: Token::new(41),
                started: WallTime::from_micros(NOW - 9_000_000),
                ended: WallTime::from_micros(NOW - 3_000_000),
                reason: EndReason::Expired,
                gap: None,
            }],
        }
    }

    #[test]
    fn an_election_fits_on_a_few_lines() {
        let now = WallTime::from_micros(NOW);
        insta::assert_snapshot!(person(&detail(), now, Paint::default()), @r"
        billing   led by b (10.0.0.2:8080)   token 42   for 3 s   lease 5 s
          waiting   c   priority 0   rank 0
          before    41 a until 06:03:07Z expired
        ");
    }

    #[test]
    fn machines_get_everything() {
        let value = machine(&detail());
        for key in ["election", "view", "leader", "waiting", "history", "handover", "gap_ms"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["history"][0]["token"], 41);
    }
}
