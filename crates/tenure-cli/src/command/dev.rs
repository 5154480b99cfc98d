//! `tenure dev`: a local cluster of real processes.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use tenure_core::{CandidateId, ElectionName, NodeName, timing::Ttl};

use super::block_on;
use crate::{
    args,
    cli::{Global, asking, epilogue},
    dev::{
        self, Plan, VOTERS,
        control::{self, Change, Request, Status, Target},
    },
    discover::dev_dir,
    error::{Exit, Failure, Outcome},
    limits, log,
    output::{Output, human, human::Paint, json},
};

/// Longest wait for a local cluster to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Run a cluster of real processes on this machine, with a live view
///
/// Every node is a process of its own and contends for one election. Kill some. Another
/// terminal finds the cluster by itself: try `tenure leader demo --all` there. The cluster ends
/// with this command; its data stays in the directory, and the next start goes on with it.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure dev", "five nodes and a live view"),
        ("tenure dev --nodes 3 --ttl 500ms --dir /tmp/three", ""),
        ("tenure dev --nodes 9 --zones 3", "voters are spread; see tenure cluster status"),
        ("tenure dev --json", "one JSON object per event instead of the view"),
        ("tenure dev kill leader", "from another terminal"),
    ],
    &asking(&[
        (Exit::Yes, "done; the cluster was stopped"),
        (Exit::No, "nobody leads that could be meant"),
        (Exit::Conflict, "a local cluster runs already in that directory"),
        (Exit::NotFound, "no local cluster runs, or it has no such node"),
        (Exit::Interrupted, "interrupted"),
    ]),
))]
pub(crate) struct DevArgs {
    /// How many nodes; the first five vote, the others are members [default: 5, or as many as
    /// there were]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    nodes: Option<u16>,
    /// How many nodes vote at most
    #[arg(long, value_name = "N", default_value_t = VOTERS,
          value_parser = clap::value_parser!(u8).range(1..=7))]
    voters: u8,
    /// Deal the nodes out to this many zones, z1, z2 and so on [default: none, or as it was]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=26))]
    zones: Option<u8>,
    /// Length of leases [default: 1s, or as it was]
    #[arg(long, value_name = "DUR", value_parser = args::ttl)]
    ttl: Option<Ttl>,
    /// The election all nodes contend for [default: demo, or as it was]
    #[arg(long, value_name = "NAME")]
    election: Option<ElectionName>,
    #[command(subcommand)]
    command: Option<DevCommand>,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Show the nodes, the leader and the last hand-overs
    #[command(after_help = example("status", ""))]
    Status,
    /// Start one more node; it joins without a vote first
    #[command(after_help = example("add", ""))]
    Add,
    /// Remove a node from the cluster for good
    #[command(after_help = example("remove", " n3"))]
    Remove {
        /// The node, like n3 or 3
        #[arg(value_parser = control::node)]
        node: NodeName,
    },
    /// Kill a node with SIGKILL, and say who leads then and after how long
    #[command(after_help = example("kill", " leader"))]
    Kill {
        /// leader, quorum-leader, or a node like n3
        #[arg(value_parser = control::target)]
        target: Target,
    },
    /// Stop a node with SIGSTOP, as if its machine hung
    #[command(after_help = example("pause", " leader"))]
    Pause {
        /// leader, quorum-leader, or a node like n3
        #[arg(value_parser = control::target)]
        target: Target,
    },
    /// Let a paused node go on with SIGCONT
    #[command(after_help = example("resume", " n3"))]
    Resume {
        /// The node, like n3 or 3
        #[arg(value_parser = control::node)]
        node: NodeName,
    },
    /// Start a node that is down; one that runs is killed first
    #[command(after_help = example("restart", " n3"))]
    Restart {
        /// The node, like n3 or 3
        #[arg(value_parser = control::node)]
        node: NodeName,
    },
    /// Have the leader step down
    #[command(after_help = example("resign", ""))]
    Resign,
    /// Have the leader hand over
    #[command(after_help = example("transfer", " --to n3"))]
    Transfer {
        /// To whom [default: the next node that runs]
        #[arg(long, value_name = "NODE", value_parser = control::node)]
        to: Option<NodeName>,
    },
    /// Stop all nodes and `tenure dev` itself; the data stays
    #[command(after_help = example("down", ""))]
    Down,
}

fn example(command: &str, rest: &str) -> String {
    epilogue(
        &[(&format!("tenure dev {command}{rest}"), "")],
        &asking(&[
            (Exit::Yes, "done"),
            (Exit::No, "nobody leads that could be meant"),
            (Exit::Conflict, "that cannot be done to this node now"),
            (Exit::NotFound, "no local cluster runs, or it has no such node"),
        ]),
    )
}

/// Runs the command.
pub(crate) fn run(args: DevArgs, global: &Global, output: Output) -> Outcome {
    let dir = dev_dir(global);
    let Some(command) = args.command else {
        limits::raise_open_files();
        let plan = Plan {
            dir,
            nodes: args.nodes,
            voters: args.voters,
            zones: args.zones,
            ttl: args.ttl,
            election: args.election,
        };
        return block_on(dev::run(plan, global, output));
    };
    if args.nodes.is_some() || args.zones.is_some() || args.ttl.is_some() || args.election.is_some()
    {
        return Err(Failure::usage(
            "--nodes, --zones, --ttl and --election are for starting a cluster",
            "the cluster runs already",
            "tenure dev add; or tenure dev down, then tenure dev with these flags",
        ));
    }
    log::start(global, "warn");
    let request = request(command)?;
    let timeout = global.timeout.unwrap_or(PATIENCE);
    let answer = block_on(control::call(&dir, &request, timeout))?;
    let is_running = show(&request, answer, output)?;
    Ok(if is_running { Exit::Yes } else { Exit::Unavailable })
}

fn request(command: DevCommand) -> Outcome<Request> {
    Ok(match command {
        DevCommand::Status => Request::Status,
        DevCommand::Add => Request::Add,
        DevCommand::Remove { node } => Request::Remove { node },
        DevCommand::Kill { target } => Request::Kill { target },
        DevCommand::Pause { target } => Request::Pause { target },
        DevCommand::Resume { node } => Request::Resume { node },
        DevCommand::Restart { node } => Request::Restart { node },
        DevCommand::Resign => Request::Resign,
        DevCommand::Transfer { to } => {
            let to = to.map(|to| CandidateId::new(to.as_str())).transpose();
            let bad = |error| Failure::usage("no such candidate", error, "tenure dev status");
            Request::Transfer { to: to.map_err(bad)? }
        }
        DevCommand::Down => Request::Down,
    })
}

/// Prints an answer; whether all is well.
fn show(request: &Request, answer: Value, output: Output) -> Outcome<bool> {
    if output.json {
        output.data(&json::text(&answer))?;
        return Ok(true);
    }
    let odd =
        |error| Failure::new(Exit::Tool, "the answer was not understood", error, "tenure version");
    match request {
        Request::Status => {
            let status: Status = serde_json::from_value(answer).map_err(odd)?;
            output.data(&status_text(&status, output.paint()))?;
        }
        Request::Down => output.talk("the cluster is stopped; its data stays"),
        _ => {
            let change: Change = serde_json::from_value(answer).map_err(odd)?;
            output.data(&change_text(&change))?;
        }
    }
    Ok(true)
}

/// What was done and what came of it.
fn change_text(change: &Change) -> String {
    let mut lines = Vec::new();
    let node = change.node.as_ref().map(|node| format!(" {node}")).unwrap_or_default();
    let pid = change.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let did = match (change.did.as_str(), &change.node) {
        ("resigned", Some(node)) => format!("{node} stepped down"),
        ("transferred", Some(node)) => format!("{node} handed over"),
        (did, _) => format!("{did}{node}{pid}"),
    };
    lines.push(did);
    if let Some(leader) = &change.leader {
        let now = if change.took_ms.is_some() { "leads now" } else { "leads" };
        let mut line = format!("{} {now} with token {}", leader.id, leader.token);
        if let Some(took) = change.took_ms {
            line.push_str(&format!(", after {took:.1} ms"));
        }
        if let Some(all) = change.all_ms {
            line.push_str(&format!(" (every live node shows it after {all:.1} ms)"));
        }
        lines.push(line);
    }
    if let (Some(leader), Some(took)) = (&change.quorum_leader, change.quorum_ms) {
        lines.push(format!("{leader} leads the quorum now, after {took:.1} ms"));
    }
    lines.extend(change.note.clone());
    lines.join("\n")
}

fn status_text(status: &Status, paint: Paint) -> String {
    let dash = || String::from("-");
    let leader = match &status.leader {
        Some(leader) => format!("led by {}   token {}", paint.strong(&leader.id), leader.token),
        None => paint.unsure("no leader is shown"),
    };
    let head = format!(
        "{}   {leader}   ttl {} ms   {}",
        paint.strong(&status.election),
        status.ttl_ms,
        paint.dim(&status.dir)
    );
    let rows: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            let quorum = match &node.role {
                _ if status.quorum_leader.as_ref() == Some(&node.node) => String::from("leader"),
                Some(role) => role.clone(),
                None => dash(),
            };
            let sees = match (&node.leader, &node.view) {
                (Some(leader), _) => format!("{} token {}", leader.id, leader.token),
                (None, Some(view)) => view.clone(),
                (None, None) => dash(),
            };
            vec![
                node.node.to_string(),
                node.pid.map_or_else(dash, |pid| pid.to_string()),
                node.status.clone().unwrap_or_else(|| node.state.clone()),
                quorum,
                sees,
                node.addr.clone(),
            ]
        })
        .collect();
    let table =
        human::table(&["node", "pid", "process", "quorum", "sees", "address"], &rows, paint);
    let mut lines = vec![head, table];
    for handover in status.handovers.iter().rev().take(5) {
        let from = handover.from.as_ref().map(|from| format!("{from} -> ")).unwrap_or_default();
        let took = handover.took_ms.map(|took| format!("   after {took:.1} ms"));
        lines.push(format!(
            "{:<12}  {from}{}   token {}{}",
            handover.cause,
            handover.to,
            handover.token,
            took.unwrap_or_default()
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::control::LeaderReport;
    use tenure_core::Token;

    #[test]
    fn a_kill_is_told_in_two_lines() {
        let change = Change {
            did: "killed".into(),
            node: Some(NodeName::new("n1").unwrap()),
            pid: Some(4711),
            leader: Some(LeaderReport {
                id: CandidateId::new("n2").unwrap(),
                token: Token::new(9),
            }),
            took_ms: Some(4.25),
            all_ms: Some(6.0),
            ..Change::default()
        };
        insta::assert_snapshot!(change_text(&change), @r"
        killed n1 (pid 4711)
        n2 leads now with token 9, after 4.2 ms (every live node shows it after 6.0 ms)
        ");
    }

    #[test]
    fn a_kill_without_a_quorum_says_why_nobody_follows() {
        let change = Change {
            did: "killed".into(),
            node: Some(NodeName::new("n1").unwrap()),
            note: Some("no new leader: 2 of 5 voters answer".into()),
            ..Change::default()
        };
        insta::assert_snapshot!(change_text(&change), @r"
        killed n1
        no new leader: 2 of 5 voters answer
        ");
    }
}
