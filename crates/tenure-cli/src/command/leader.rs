//! `tenure leader`: who leads, as one node knows it or as every node believes.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tenure_core::{ElectionName, NodeName, Sighting, View};
use tenure_quorum::{
    client::Endpoint,
    clock,
    wire::{Question, Reply},
};

use crate::{
    args,
    ask::{self, Asker, PATIENCE},
    cli::{Global, asking, epilogue},
    discover::{self, Found},
    error::{Exit, Failure, Outcome},
    events::{Belief, ViewWord},
    limits,
    output::{Output, human, json, time},
    store,
};

/// Longest wait for one node's word when all are asked.
const ONE_NODE: Duration = Duration::from_secs(1);
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 64;

/// Print who leads an election
///
/// Asks one node, which answers only after a quorum has confirmed that what it shows is
/// current. Without a quorum nobody can say who leads, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure leader billing", "n2  token 42  for 3m 12s"),
        ("tenure leader billing -q", "n2"),
        ("tenure leader billing --wait 30s", "wait until somebody leads"),
        ("tenure leader billing --all", "what every live node believes"),
    ],
    &asking(&[
        (Exit::Yes, "somebody leads; with --all: all live nodes agree on it"),
        (Exit::No, "nobody leads"),
        (Exit::Unavailable, "not known: no quorum, no answer, or with --all nodes that disagree"),
        (Exit::Interrupted, "interrupted"),
    ]),
))]
pub(crate) struct LeaderArgs {
    /// The election
    election: ElectionName,
    /// Wait until somebody leads, at most this long if a time is given
    #[arg(long, value_name = "DUR", value_parser = args::some_time, conflicts_with = "all")]
    wait: Option<Option<Duration>>,
    /// Ask every live node what it believes; needs no quorum
    #[arg(long)]
    all: bool,
    /// Take one node's word for it, without a quorum
    #[arg(long, conflicts_with = "all")]
    local: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &LeaderArgs, global: &Global, output: Output) -> Outcome {
    if let Some(url) = store::url(global) {
        if args.all || args.local {
            return Err(Failure::usage(
                "this store has no nodes to ask one by one",
                "--all and --local are for a quorum of Tenure nodes",
                "tenure leader ELECTION --url URL",
            ));
        }
        let sighting = store::sighting(url, &args.election, args.wait, global).await?;
        return show(&args.election, &sighting, output);
    }
    if args.all {
        return everybody(&args.election, global, output).await;
    }
    let asker = Asker::connect(global).await?;
    let sighting = match args.wait {
        Some(limit) => wait(&asker, &args.election, limit).await?,
        None if args.local => asker.view(&args.election).await?,
        None => asker.confirmed_view(&args.election).await?,
    };
    show(&args.election, &sighting, output)
}

/// Follows the election until somebody leads.
async fn wait(
    asker: &Asker,
    election: &ElectionName,
    limit: Option<Duration>,
) -> Outcome<Sighting> {
    let mut watch = asker.watch(vec![election.clone()], None).await?;
    let mut last = None;
    let led = async {
        while let Some(push) = ask::next_push(&mut watch).await {
            if push.sighting.view.leader().is_some() {
                return Ok(push.sighting);
            }
            last = Some(push.sighting);
        }
        Err(ask::no_quorum("the connection ended"))
    };
    let Some(limit) = limit else { return led.await };
    match tokio::time::timeout(limit, led).await {
        Ok(sighting) => sighting,
        Err(_) => match last {
            Some(sighting) if sighting.view == View::Vacant => Ok(sighting),
            last => {
                let why = last.and_then(|sighting| sighting.reason);
                Err(ask::no_quorum(why.as_deref().unwrap_or("no answer in time")))
            }
        },
    }
}

fn show(election: &ElectionName, sighting: &Sighting, output: Output) -> Outcome {
    let now = clock::wall();
    if output.json {
        output.data(&json::text(&json!({
            "election": election,
            "view": Belief::from(sighting).view,
            "leader": sighting.view.leader().map(json::leader),
            "revision": sighting.revision.get(),
            "age_ms": age_ms(sighting),
            "reason": sighting.reason,
        })))?;
    }
    match &sighting.view {
        View::Led(leader) => {
            if output.quiet && !output.json {
                output.data(leader.id.as_str())?;
            } else if !output.json {
                let paint = output.paint();
                output.data(&format!(
                    "{}  token {}  for {}",
                    paint.strong(human::name(leader)),
                    leader.token,
                    time::span(now.since(leader.since)),
                ))?;
            }
            Ok(Exit::Yes)
        }
        View::Vacant => {
            output.talk(&format!("{election} is vacant: nobody leads"));
            Ok(Exit::No)
        }
        View::Unknown => {
            let why = sighting.reason.as_deref().unwrap_or("the node knows of no quorum");
            output.talk(&format!("who leads {election} is not known: {why}"));
            Ok(Exit::Unavailable)
        }
    }
}

/// Milliseconds since this was the latest word of the quorum; none when it never was.
fn age_ms(sighting: &Sighting) -> Option<u64> {
    (sighting.age != Duration::MAX).then(|| time::millis(sighting.age))
}

/// What one node believes.
#[derive(Debug, Serialize)]
struct Word {
    node: NodeName,
    #[serde(flatten)]
    belief: Belief,
    age_ms: Option<u64>,
}

/// A node to ask, and how to reach it.
#[derive(Debug, Clone)]
struct Target {
    node: NodeName,
    endpoints: Vec<Endpoint>,
}

async fn everybody(election: &ElectionName, global: &Global, output: Output) -> Outcome {
    let found = discover::cluster(global)?;
    limits::raise_open_files();
    let timeout = global.timeout.unwrap_or(ONE_NODE);
    let mut targets = targets(&found, global).await?.into_iter();
    let mut asked = tokio::task::JoinSet::new();
    let mut words = Vec::new();
    let mut down = Vec::new();
    loop {
        for target in targets.by_ref().take(AT_ONCE - asked.len()) {
            let election = election.clone();
            asked.spawn(async move {
                let word = ask_one(&target, election, timeout).await;
                (target.node, word)
            });
        }
        let Some(answer) = asked.join_next().await else { break };
        match answer {
            Ok((_, Ok(word))) => words.push(word),
            Ok((node, Err(failure))) => down.push((node, failure)),
            Err(_) => {}
        }
    }
    words.sort_by(|a, b| a.node.cmp(&b.node));
    down.sort_by(|a, b| a.0.cmp(&b.0));
    print_all(election, &words, &down, output)?;
    Ok(verdict(&words))
}

/// Every node that is known: to a dev directory, or to any node that answers. Neither needs a
/// quorum.
async fn targets(found: &Found, global: &Global) -> Outcome<Vec<Target>> {
    let mut targets: Vec<Target> = found
        .nodes
        .iter()
        .filter(|node| node.pid.is_some())
        .map(|node| Target { node: node.node.clone(), endpoints: discover::endpoints_of(node) })
        .collect();
    let timeout = global.timeout.unwrap_or(PATIENCE);
    let members = match Asker::connect_to(found, timeout).await {
        Ok(asker) => asker.cluster().await.map(|view| view.members),
        Err(failure) => Err(failure),
    };
    match members {
        Ok(members) => {
            for member in members {
                if found.nodes.iter().all(|node| node.node != member.name) {
                    let endpoints = vec![Endpoint::Tcp(member.address)];
                    targets.push(Target { node: member.name, endpoints });
                }
            }
        }
        Err(failure) if targets.is_empty() => return Err(failure),
        Err(_) => {}
    }
    Ok(targets)
}

async fn ask_one(target: &Target, election: ElectionName, timeout: Duration) -> Outcome<Word> {
    let found = Found { endpoints: target.endpoints.clone(), nodes: Vec::new() };
    let asker = Asker::connect_to(&found, timeout).await?;
    let reply = asker.ask(Question::View { election }).await?;
    // A client may go on to another node; that one's word is not this one's.
    if let Some(answers) = asker.node().filter(|answers| *answers != target.node) {
        let why = format!("its place is taken by {answers}");
        return Err(Failure::new(Exit::Unavailable, "another node answers", why, "try again"));
    }
    match reply {
        Reply::View(sighting) => Ok(Word {
            node: target.node.clone(),
            belief: Belief::from(&sighting),
            age_ms: age_ms(&sighting),
        }),
        other => Err(ask::unexpected(&other)),
    }
}

fn print_all(
    election: &ElectionName,
    words: &[Word],
    down: &[(NodeName, Failure)],
    output: Output,
) -> Outcome<()> {
    if output.json {
        return output.data(&json::text(&words));
    }
    let rows: Vec<_> = words.iter().map(row).collect();
    let head = ["node", "view", "leader", "token", "revision", "age", "reason"];
    output.data(&human::table(&head, &rows, output.paint()))?;
    for (node, failure) in down {
        output.talk(&format!("{node} does not answer: {}", failure.why));
    }
    match verdict(words) {
        Exit::Yes => {}
        Exit::No => output.talk(&format!("{election} is vacant: nobody leads")),
        _ => {
            let what = "the nodes do not agree on who leads";
            output.talk(&format!("{what} {election}, or do not know"));
        }
    }
    Ok(())
}

fn row(word: &Word) -> Vec<String> {
    let dash = || String::from("-");
    let leader = word.belief.leader.as_ref();
    vec![
        word.node.to_string(),
        word.belief.view.as_str().to_owned(),
        leader.map_or_else(dash, |leader| leader.id.to_string()),
        leader.map_or_else(dash, |leader| leader.token.to_string()),
        word.belief.revision.to_string(),
        word.age_ms.map_or_else(dash, |age| time::span(Duration::from_millis(age))),
        word.belief.reason.clone().unwrap_or_default(),
    ]
}

/// Yes when all agree on one leader, no when all see nobody, not known otherwise.
fn verdict(words: &[Word]) -> Exit {
    let Some(first) = words.first() else { return Exit::Unavailable };
    let agree = words.iter().all(|word| {
        word.belief.view == first.belief.view && word.belief.leader == first.belief.leader
    });
    match (agree, first.belief.view) {
        (true, ViewWord::Led) => Exit::Yes,
        (true, ViewWord::Vacant) => Exit::No,
        _ => Exit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Short;
    use tenure_core::{CandidateId, Token};

    fn word(node: &str, view: ViewWord, token: Option<u64>) -> Word {
        let leader = token
            .map(|token| Short { id: CandidateId::new("b").unwrap(), token: Token::new(token) });
        let reason = (view == ViewWord::Unknown).then(|| String::from("no quorum: 2 of 5"));
        let belief = Belief { view, leader, revision: 9, reason };
        Word { node: NodeName::new(node).unwrap(), belief, age_ms: Some(12) }
    }

    #[test]
    fn only_agreement_is_an_answer() {
        let led = |node, token| word(node, ViewWord::Led, Some(token));
        let vacant = |node| word(node, ViewWord::Vacant, None);
        let unknown = |node| word(node, ViewWord::Unknown, None);
        assert_eq!(verdict(&[led("n1", 7), led("n2", 7)]), Exit::Yes);
        assert_eq!(verdict(&[led("n1", 7), led("n2", 8)]), Exit::Unavailable);
        assert_eq!(verdict(&[led("n1", 7), unknown("n2")]), Exit::Unavailable);
        assert_eq!(verdict(&[vacant("n1"), vacant("n2")]), Exit::No);
        assert_eq!(verdict(&[unknown("n1")]), Exit::Unavailable);
        assert_eq!(verdict(&[]), Exit::Unavailable);
    }

    #[test]
    fn the_json_of_one_node_is_flat() {
        assert_eq!(
            json::text(&word("n1", ViewWord::Led, Some(7))),
            concat!(
                r#"{"node":"n1","view":"led","leader":{"id":"b","token":7},"#,
                r#""revision":9,"age_ms":12}"#
            )
        );
        assert_eq!(
            json::text(&word("n1", ViewWord::Unknown, None)),
            concat!(
                r#"{"node":"n1","view":"unknown","leader":null,"revision":9,"#,
                r#""reason":"no quorum: 2 of 5","age_ms":12}"#
            )
        );
    }
}
