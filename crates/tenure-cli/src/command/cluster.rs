//! `tenure cluster`: the nodes of the quorum.

mod promote;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::json;
use tenure_core::{NodeName, Zone, ledger::Role};
use tenure_quorum::wire::{ClusterView, MemberView, Question, Reply};
use tokio::time::{Duration, Instant, sleep};

use super::evict::confirmed;
use crate::{
    args,
    ask::{self, Asker, LONG_PATIENCE, MemberWish, Wish},
    cli::{Global, asking, epilogue},
    error::{Exit, Failure, Outcome},
    events::role_word,
    output::{Output, human, human::Paint, json, time},
};

/// How often a change is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Show and change the nodes of the quorum
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure cluster status", "the nodes, as one of them knows them"),
        ("tenure cluster add n4=10.0.0.4:7400", "how to start another node"),
        ("tenure cluster remove n2", "for good"),
        ("tenure cluster promote n7 --instead-of n2", "say yourself who votes"),
        ("tenure cluster transfer --to n3", "give n3 the lead of the quorum"),
    ],
    &asking(&[(Exit::Yes, "done")]),
))]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show the nodes, as one of them knows them; needs no quorum
    #[command(after_help = epilogue(
        &[("tenure cluster status", ""), ("tenure cluster status --json", "one JSON object")],
        &asking(&[
            (Exit::Yes, "the quorum has a leader"),
            (Exit::Unavailable, "the node that was asked knows of no leader, or none answers"),
        ]),
    ))]
    Status,
    /// Say how to start another node of this cluster
    #[command(after_help = epilogue(
        &[("tenure cluster add n4=10.0.0.4:7400", "prints the command to run there")],
        &asking(&[
            (Exit::Yes, "printed"),
            (Exit::Conflict, "a node of that name or address is there already"),
        ]),
    ))]
    Add {
        /// Name and address of the new node
        #[arg(value_name = "NAME=HOST:PORT", value_parser = args::node_at)]
        node: (NodeName, String),
    },
    /// Remove a node for good
    #[command(after_help = epilogue(
        &[
            ("tenure cluster remove n2", "asks first"),
            ("tenure cluster remove n2 --yes", "does not ask"),
        ],
        &asking(&[
            (Exit::Yes, "it is not a member any more"),
            (Exit::No, "you said no"),
            (Exit::Conflict, "it cannot be removed, for example because it is the last voter"),
            (Exit::NotFound, "no such node"),
        ]),
    ))]
    Remove {
        /// The node
        node: NodeName,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give a node a vote, in the stead of another voter when there are enough
    ///
    /// Voters are chosen and replaced by themselves; this is for when you know better, say before a
    /// machine is serviced. The new one votes first; then the other one gives its vote up and goes
    /// on receiving the log.
    #[command(after_help = epilogue(
        &[
            ("tenure cluster promote n7", "the voter of the fullest zone makes room"),
            ("tenure cluster promote n7 --instead-of n2", "n2 makes room"),
        ],
        &asking(&[
            (Exit::Yes, "it votes, and nobody more than before does"),
            (Exit::Conflict, "it is silent, or the votes would be spread over zones worse"),
            (Exit::NotFound, "no such node"),
        ]),
    ))]
    Promote {
        /// The node that is to vote
        node: NodeName,
        /// The voter that makes room
        #[arg(long, value_name = "NODE")]
        instead_of: Option<NodeName>,
    },
    /// Give another node the lead of the quorum; leaders of elections stay
    #[command(after_help = epilogue(
        &[
            ("tenure cluster transfer --to n3", ""),
            ("tenure cluster transfer", "to the node that is asked"),
        ],
        &asking(&[(Exit::Yes, "it leads the quorum now"), (Exit::NotFound, "no such node")]),
    ))]
    Transfer {
        /// The node that is to lead; without it, the best one
        #[arg(long, value_name = "NODE")]
        to: Option<NodeName>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: ClusterArgs, global: &Global, output: Output) -> Outcome {
    let asker = Asker::connect(global).await?;
    let view = asker.cluster().await?;
    match args.command {
        ClusterCommand::Status => status(&view, output),
        ClusterCommand::Add { node } => add(&view, &node, output),
        ClusterCommand::Remove { node, yes } => remove(&asker, &view, node, yes, output).await,
        ClusterCommand::Promote { node, instead_of } => {
            promote::run(&asker, &view, node, instead_of, global, output).await
        }
        ClusterCommand::Transfer { to } => transfer(&asker, &view, to, global, output).await,
    }
}

fn status(view: &ClusterView, output: Output) -> Outcome {
    let text = if output.json { json::text(&machine(view)) } else { person(view, output.paint()) };
    output.data(&text)?;
    if view.status.leader.is_some() {
        return Ok(Exit::Yes);
    }
    output.talk(&format!("{} knows of no leader of the quorum: nothing can be changed", view.node));
    Ok(Exit::Unavailable)
}

fn leader(view: &ClusterView) -> Option<&MemberView> {
    view.members.iter().find(|member| Some(member.id) == view.status.leader)
}

fn machine(view: &ClusterView) -> serde_json::Value {
    let members: Vec<_> = view
        .members
        .iter()
        .map(|member| {
            let peer = view.status.peers.iter().find(|peer| peer.id == member.id);
            json!({
                "id": member.id,
                "node": member.name,
                "addr": member.address,
                "role": member.role,
                "zone": member.zone,
                "retiring": member.retiring,
                "reachable": member.id == view.status.id || peer.is_some_and(|peer| peer.reachable),
                "matched": peer.and_then(|peer| peer.matched),
            })
        })
        .collect();
    json!({
        "cluster": view.cluster.to_string(),
        "node": view.node,
        "pid": view.pid,
        "software": view.software,
        "role": view.status.role,
        "term": view.status.term,
        "quorum_leader": leader(view).map(|member| &member.name),
        "committed": view.status.committed,
        "applied": view.status.applied,
        "last_index": view.status.last_index,
        "contact_age_ms": view.status.contact_age.map(time::millis),
        "election_timeout_ms": view.status.election_timeout.map(time::millis),
        "heartbeat_ms": view.status.heartbeat.map(time::millis),
        "revision": view.revision.get(),
        "sessions": view.sessions,
        "elections": view.elections,
        "at": time::rfc3339(view.at),
        "members": members,
        "warnings": warning(view).into_iter().collect::<Vec<_>>(),
        "refused": view.refused.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

fn person(view: &ClusterView, paint: Paint) -> String {
    let zoned = view.members.iter().any(|member| member.zone.is_some());
    let asked_leader = view.status.leader == Some(view.status.id);
    let rows: Vec<Vec<String>> = view
        .members
        .iter()
        .map(|member| {
            let is_leader = Some(member.id) == view.status.leader;
            let peer = view.status.peers.iter().find(|peer| peer.id == member.id);
            let heard = match peer {
                _ if member.id == view.status.id => "asked",
                Some(peer) if peer.reachable => "yes",
                // Members talk with one voter, learners with the leader of the quorum.
                _ if member.role == Role::Member => "-",
                _ if member.role == Role::Learner && !asked_leader => "-",
                Some(_) => "no",
                None => "-",
            };
            let mut row = vec![
                member.name.to_string(),
                member.address.clone(),
                match member.role {
                    Role::Voter if member.retiring => String::from("voter, gives its vote up"),
                    Role::Voter if is_leader => String::from("voter, leads the quorum"),
                    Role::Voter => String::from("voter"),
                    Role::Learner => String::from("learner"),
                    Role::Member => String::from("member"),
                },
                heard.to_owned(),
            ];
            if zoned {
                row.insert(2, member.zone.as_ref().map_or("-", Zone::as_str).to_owned());
            }
            row
        })
        .collect();
    let age = view
        .status
        .contact_age
        .map_or_else(|| String::from("never"), |age| format!("{} ago", time::span(age)));
    let head = format!(
        "cluster {}   as {} knows it ({}, term {}, revision {})   quorum heard {age}",
        view.cluster,
        view.node,
        role_word(view.status.role),
        view.status.term,
        view.revision,
    );
    let titles: &[&str] = match zoned {
        true => &["node", "address", "zone", "role", "heard"],
        false => &["node", "address", "role", "heard"],
    };
    let table = human::table(titles, &rows, paint);
    let pulse = view.status.election_timeout.map(|timeout| {
        let beat = view.status.heartbeat.map(|beat| format!(", heartbeat {}", time::span(beat)));
        format!(", election timeout {}{}", time::span(timeout), beat.unwrap_or_default())
    });
    let counts = format!(
        "{}, {}{}",
        human::count(usize::try_from(view.elections).unwrap_or(usize::MAX), "election"),
        human::count(usize::try_from(view.sessions).unwrap_or(usize::MAX), "session"),
        pulse.unwrap_or_default(),
    );
    let warning = warning(view).map(|why| format!("\n{}", paint.unsure(why))).unwrap_or_default();
    format!("{head}\n{table}\n{}{warning}", paint.dim(counts))
}

/// What is wrong with where the votes lie, if anything is.
fn warning(view: &ClusterView) -> Option<String> {
    let zones: BTreeSet<_> = view.members.iter().filter_map(|it| it.zone.as_ref()).collect();
    let voters = || view.members.iter().filter(|it| it.role == Role::Voter);
    let votes = |zone: &&Zone| voters().filter(|it| it.zone.as_ref() == Some(*zone)).count();
    let (zone, has) = zones.iter().map(|zone| (zone, votes(zone))).max_by_key(|(_, has)| *has)?;
    let all = voters().count();
    (zones.len() > 1 && has * 2 > all)
        .then(|| format!("zone {zone} has {has} of {all} votes: when it fails, there is no quorum"))
}

fn add(view: &ClusterView, (name, address): &(NodeName, String), output: Output) -> Outcome {
    let taken = |what: String| {
        let next = "choose another one; tenure cluster status shows the nodes";
        Err(Failure::new(Exit::Conflict, "cannot add that node", what, next))
    };
    for member in &view.members {
        if member.name == *name {
            return taken(format!("a node named {name} is a member already"));
        }
        if member.address == *address {
            return taken(format!("{} is at {address} already", member.name));
        }
    }
    let contacts: Vec<_> = view.members.iter().map(|member| member.address.as_str()).collect();
    let open = if args::is_loopback(address) { "" } else { " --insecure-listen" };
    let contacts = contacts.join(",");
    let command = format!("tenure node --id {name} --listen {address}{open} --join {contacts}");
    if output.json {
        output.data(&json::text(&json!({ "node": name, "addr": address, "run": command })))?;
    } else {
        output.talk(&format!("run this where {name} is to be; it joins without a vote first:"));
        output.data(&command)?;
    }
    Ok(Exit::Yes)
}

async fn remove(
    asker: &Asker,
    view: &ClusterView,
    node: NodeName,
    yes: bool,
    output: Output,
) -> Outcome {
    find(view, &node)?;
    if !yes && !confirmed(&format!("Remove {node} from the cluster for good?"), output)? {
        return Ok(Exit::No);
    }
    asker.wish(Wish::Member(MemberWish::Remove { name: node.clone() })).await?;
    if output.json {
        output.data(&json::text(&json!({ "removed": node })))?;
    } else {
        output.talk(&format!("{node} is not a member any more; its process can be stopped"));
    }
    Ok(Exit::Yes)
}

fn find<'a>(view: &'a ClusterView, node: &NodeName) -> Outcome<&'a MemberView> {
    view.members.iter().find(|member| member.name == *node).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no node {node}"),
            "it was never added, or is removed already",
            "tenure cluster status shows the nodes",
        )
    })
}

async fn transfer(
    asker: &Asker,
    view: &ClusterView,
    to: Option<NodeName>,
    global: &Global,
    output: Output,
) -> Outcome {
    let target = to.as_ref().map(|to| find(view, to)).transpose()?.map(|member| member.id);
    let before = view.status.leader;
    if target.is_some() && target == before {
        return say_lead(view, output);
    }
    match asker.ask(Question::TransferQuorum { to }).await? {
        Reply::Accepted => {}
        other => return Err(ask::unexpected(&other)),
    }
    let patience = global.timeout.unwrap_or(LONG_PATIENCE);
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let now = asker.cluster().await?;
        let leads = now.status.leader;
        if leads.is_some() && leads != before && (target.is_none() || leads == target) {
            return say_lead(&now, output);
        }
        sleep(LOOK).await;
    }
    Err(Failure::new(
        Exit::Unavailable,
        format!("the lead of the quorum did not move within {patience:?}"),
        "the node has no vote, lags behind, or cannot be reached",
        "tenure cluster status",
    ))
}

fn say_lead(view: &ClusterView, output: Output) -> Outcome {
    let name = leader(view).map(|member| &member.name);
    if output.json {
        let line = json!({ "quorum_leader": name, "term": view.status.term });
        output.data(&json::text(&line))?;
    } else if let Some(name) = name {
        output.talk(&format!("{name} leads the quorum in term {}", view.status.term));
    }
    Ok(Exit::Yes)
}
