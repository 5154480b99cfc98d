//! `tenure watch`: what changes, as it changes.

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tenure_core::{
    ElectionName, Sighting, View,
    ledger::{Event, EventKind},
};
use tenure_quorum::{clock, wire::Push};

use crate::{
    ask::{self, Asker},
    cli::{Global, asking, epilogue},
    error::{Exit, Failure, Outcome},
    events::{Belief, ViewWord},
    output::{Output, human, human::Paint, json, time},
    store,
};

/// Follow elections: one line per change
///
/// The first line of each election says how it stands now. When the node that is asked does
/// not know any more who leads, it says so at once, and again when it knows.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure watch", "every election"),
        ("tenure watch billing mailer", "two of them"),
        ("tenure watch --prefix eu/ --json", "one JSON object per change"),
    ],
    &asking(&[(Exit::Interrupted, "interrupted")]),
))]
pub(crate) struct WatchArgs {
    /// The elections; without any, all
    elections: Vec<ElectionName>,
    /// All elections whose name begins with this, present and future
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: WatchArgs, global: &Global, output: Output) -> Outcome {
    if let Some(url) = store::url(global) {
        return on_store(url, args, global, output).await;
    }
    let asker = Asker::connect(global).await?;
    let prefix = match args.prefix {
        None if args.elections.is_empty() => Some(String::new()),
        other => other,
    };
    let mut watch = asker.watch(args.elections, prefix).await?;
    let mut seen = std::collections::BTreeMap::new();
    while let Some(push) = ask::next_push(&mut watch).await {
        let before = seen.insert(push.election.clone(), Belief::from(&push.sighting).view);
        for change in changes(&push, before) {
            let line = if output.json { change.json() } else { change.human(output.paint()) };
            output.data(&line)?;
        }
    }
    Err(ask::no_quorum("the connection to the node ended"))
}

/// Follows elections on a store that says who leads, and nothing else.
async fn on_store(url: &str, args: WatchArgs, global: &Global, output: Output) -> Outcome {
    if args.elections.is_empty() || args.prefix.is_some() {
        return Err(Failure::usage(
            "this store does not list its elections",
            "only a quorum of Tenure nodes can follow all elections, or those with a prefix",
            "name the elections: tenure watch ELECTION... --url URL",
        ));
    }
    let mut followed = tokio::task::JoinSet::new();
    for election in args.elections {
        let (elector, mut observer) = store::observe(url, &election, global).await?;
        followed.spawn(async move {
            let _open = elector;
            let mut before = None;
            while let Some(sighting) = observer.changed().await {
                let view = Belief::from(&sighting).view;
                let change = seen(&election, &sighting, before.replace(view));
                let line = if output.json { change.json() } else { change.human(output.paint()) };
                output.data(&line)?;
            }
            Err(ask::no_quorum("the store was closed"))
        });
    }
    followed.join_next().await.and_then(Result::ok).unwrap_or(Ok(Exit::Tool))
}

/// What changed, as far as two sightings tell.
fn seen(election: &ElectionName, sighting: &Sighting, before: Option<ViewWord>) -> Change {
    let push = Push {
        election: election.clone(),
        sighting: sighting.clone(),
        holder: None,
        handover: false,
        revoked: false,
        candidates: 0,
        events: Vec::new(),
        mono_ns: clock::monotonic_nanos(),
    };
    let known = !matches!(before, None | Some(ViewWord::Unknown));
    let event = match &sighting.view {
        View::Led(_) if known => "elected",
        View::Vacant if known => "ended",
        _ => return knowledge(&push, before),
    };
    let text = human::sighting(sighting, clock::wall(), Paint::default());
    Change { text, ..bare(&push, event) }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Change {
    v: u32,
    event: String,
    at: String,
    election: ElectionName,
    revision: u64,
    view: ViewWord,
    leader: Option<Value>,
    previous: Option<Value>,
    reason: Option<String>,
    gap_ms: Option<u64>,
    candidates: u32,
    /// What a person reads; machines have the fields.
    #[serde(skip)]
    text: String,
}

/// The lines that one push makes, given what was believed before it.
fn changes(push: &Push, before: Option<ViewWord>) -> Vec<Change> {
    if push.events.is_empty() {
        return vec![knowledge(push, before)];
    }
    push.events.iter().map(|event| happened(push, event)).collect()
}

/// A line with what all have.
fn bare(push: &Push, event: &str) -> Change {
    Change {
        v: json::VERSION,
        event: event.to_owned(),
        at: time::rfc3339(clock::wall()),
        election: push.election.clone(),
        revision: push.sighting.revision.get(),
        view: Belief::from(&push.sighting).view,
        leader: push.sighting.view.leader().map(json::leader),
        previous: None,
        reason: push.sighting.reason.clone(),
        gap_ms: None,
        candidates: push.candidates,
        text: String::new(),
    }
}

/// How an election stands, when it is first seen or when a node begins or ceases to know.
fn knowledge(push: &Push, before: Option<ViewWord>) -> Change {
    let event = match (before, &push.sighting.view) {
        (None, _) => "now",
        (_, View::Unknown) => "quorum_lost",
        (Some(ViewWord::Unknown), _) => "quorum_restored",
        (Some(_), _) => "now",
    };
    let text = human::sighting(&push.sighting, clock::wall(), Paint::default());
    Change { text, ..bare(push, event) }
}

/// Something that happened.
fn happened(push: &Push, event: &Event) -> Change {
    let kind = serde_json::to_value(&event.kind).unwrap_or_default();
    let name = kind.get("event").and_then(Value::as_str).unwrap_or_default();
    let line = Change {
        at: time::rfc3339(event.at),
        revision: event.revision.get(),
        reason: None,
        text: sentence(&event.kind),
        ..bare(push, name)
    };
    match &event.kind {
        EventKind::Elected { leader, previous, reason, gap, candidates, .. } => Change {
            view: ViewWord::Led,
            leader: Some(json::leader(leader)),
            previous: previous.as_ref().map(|id| serde_json::json!({ "id": id })),
            reason: reason.map(|reason| reason.as_str().to_owned()),
            gap_ms: gap.map(time::millis),
            candidates: *candidates,
            ..line
        },
        EventKind::Ended { candidate, token, reason, .. } => Change {
            previous: Some(serde_json::json!({ "id": candidate, "token": token })),
            reason: Some(reason.as_str().to_owned()),
            ..line
        },
        _ => line,
    }
}

fn sentence(kind: &EventKind) -> String {
    match kind {
        EventKind::Elected { leader, reason, gap, .. } => {
            let mut text = format!("{} leads with token {}", human::name(leader), leader.token);
            if let Some(reason) = reason {
                text.push_str(&format!(", {} before", reason.as_str()));
            }
            if let Some(gap) = gap {
                text.push_str(&format!(", gap {}", time::span(*gap)));
            }
            text
        }
        EventKind::Ended { candidate, token, reason, .. } => {
            format!("{candidate} does not lead any more (token {token}, {})", reason.as_str())
        }
        EventKind::CandidateJoined { candidate, .. } => format!("{candidate} contends"),
        EventKind::CandidateLeft { candidate, .. } => format!("{candidate} left"),
        EventKind::Stood { candidate, .. } => format!("{candidate} changed its standing"),
        EventKind::HandoverAsked { token, to, .. } => match to {
            Some(to) => format!("the leader (token {token}) is asked to hand over to {to}"),
            None => format!("the leader (token {token}) is asked to hand over"),
        },
        EventKind::HandoverCancelled { token, .. } => {
            format!("the leader (token {token}) may stay")
        }
        EventKind::Revoked { candidate, token, .. } => {
            format!("{candidate} is evicted (token {token})")
        }
        EventKind::BanLifted { candidate, .. } => format!("{candidate} may contend again"),
        EventKind::Proclaimed { value, .. } => format!("the leader proclaims {value}"),
        EventKind::Paused { .. } => String::from("paused: no new leader is granted"),
        EventKind::Resumed { .. } => String::from("resumed"),
        other => format!("{other:?}"),
    }
}

impl Change {
    fn json(&self) -> String {
        json::text(self)
    }

    fn human(&self, paint: Paint) -> String {
        let clock = self.at.get(11..23).unwrap_or(&self.at);
        let text = match self.event.as_str() {
            "elected" | "quorum_restored" => paint.good(&self.text),
            "ended" | "revoked" | "quorum_lost" => paint.unsure(&self.text),
            _ => self.text.clone(),
        };
        format!("{}  {}  {text}", paint.dim(clock), paint.strong(&self.election))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenure_core::{
        CandidateId, Leader, Revision, SessionId, Sighting, Token, WallTime, ledger::EndReason,
        timing::Ttl,
    };

    fn leader() -> Leader {
        Leader {
            id: CandidateId::new("b").unwrap(),
            value: tenure_core::Value::new("10.0.0.2:8080").unwrap(),
            token: Token::new(42),
            ttl: Ttl::new(Duration::from_secs(5)).unwrap(),
            since: WallTime::from_micros(1_795_240_990_214_567),
        }
    }

    fn push(view: View, events: Vec<Event>) -> Push {
        let reason = (view == View::Unknown).then(|| String::from("no quorum"));
        Push {
            election: ElectionName::new("billing").unwrap(),
            sighting: Sighting { view, revision: Revision::new(918), age: Duration::ZERO, reason },
            holder: None,
            handover: false,
            revoked: false,
            candidates: 3,
            events,
            mono_ns: 1,
        }
    }

    fn elected() -> Push {
        let session = SessionId { process: tenure_core::Incarnation::from_random(1), number: 1 };
        let kind = EventKind::Elected {
            election: ElectionName::new("billing").unwrap(),
            leader: leader(),
            session,
            previous: Some(CandidateId::new("a").unwrap()),
            reason: Some(EndReason::Expired),
            gap: Some(Duration::from_millis(5218)),
            candidates: 3,
        };
        let event = Event { revision: Revision::new(918), at: leader().since, kind };
        push(View::Led(leader()), vec![event])
    }

    #[test]
    fn an_election_is_told_in_full() {
        let line = changes(&elected(), None).pop().unwrap();
        insta::assert_snapshot!(line.json(), @r#"{"v":1,"event":"elected","at":"2026-11-21T06:03:10.214Z","election":"billing","revision":918,"view":"led","leader":{"id":"b","since":"2026-11-21T06:03:10.214Z","token":42,"ttl_ms":5000,"value":"10.0.0.2:8080"},"previous":{"id":"a"},"reason":"expired","gap_ms":5218,"candidates":3}"#);
        insta::assert_snapshot!(line.human(Paint::default()), @"06:03:10.214  billing  b (10.0.0.2:8080) leads with token 42, expired before, gap 5.2 s");
    }

    #[test]
    fn losing_and_regaining_the_quorum_are_events() {
        let word = |view, before| changes(&push(view, Vec::new()), before).pop().unwrap().event;
        assert_eq!(word(View::Vacant, None), "now");
        assert_eq!(word(View::Unknown, Some(ViewWord::Led)), "quorum_lost");
        assert_eq!(word(View::Vacant, Some(ViewWord::Unknown)), "quorum_restored");
    }
}
