//! `tenure cluster promote`: an operator says who votes.

use serde_json::json;
use tenure_core::{NodeName, ledger::Role};
use tenure_quorum::wire::ClusterView;
use tokio::time::{Duration, Instant, sleep};

use super::find;
use crate::{
    ask::{Asker, LONG_PATIENCE, MemberWish, Wish},
    cli::Global,
    error::{Exit, Failure, Outcome},
    output::{Output, json},
};

/// How often it is asked again for what was not possible yet.
const AGAIN: Duration = Duration::from_millis(100);

/// Asks until the node votes and whoever makes room does not vote any more.
pub(super) async fn run(
    asker: &Asker,
    before: &ClusterView,
    node: NodeName,
    instead_of: Option<NodeName>,
    global: &Global,
    output: Output,
) -> Outcome {
    find(before, &node)?;
    if let Some(other) = &instead_of {
        find(before, other)?;
    }
    let patience = global.timeout.unwrap_or(LONG_PATIENCE);
    let begun = Instant::now();
    let wish = MemberWish::Vote { name: node.clone(), instead_of };
    let mut last = None;
    loop {
        let now = asker.cluster().await?;
        let votes = find(&now, &node)?.role == Role::Voter;
        if votes && now.members.iter().all(|member| !member.retiring) {
            return say(before, &now, &node, output);
        }
        if begun.elapsed() >= patience {
            let refused = last.filter(|_| !votes);
            return Err(refused.unwrap_or_else(|| late(&now, &node, votes, patience)));
        }
        let asked = match votes {
            true => Ok(()),
            false => asker.wish(Wish::Member(wish.clone())).await.map(drop),
        };
        last = asked.err();
        if let Some(failure) = last.take_if(|failure| failure.exit != Exit::Unavailable)
            // It may have got its vote since it was looked at.
            && find(&asker.cluster().await?, &node)?.role != Role::Voter
        {
            return Err(failure);
        }
        sleep(AGAIN).await;
    }
}

fn say(before: &ClusterView, now: &ClusterView, node: &NodeName, output: Output) -> Outcome {
    let voted = |member: &&NodeName| {
        before.members.iter().any(|it| it.name == **member && it.role == Role::Voter)
    };
    let relieved = now.members.iter().filter(|member| member.role != Role::Voter);
    let relieved = relieved.map(|member| &member.name).find(voted);
    if output.json {
        output.data(&json::text(&json!({ "promoted": node, "instead_of": relieved })))?;
    } else {
        let room = relieved.map(|other| format!(", and {other} does not any more"));
        output.talk(&format!("{node} votes{}", room.unwrap_or_default()));
    }
    Ok(Exit::Yes)
}

fn late(now: &ClusterView, node: &NodeName, votes: bool, patience: Duration) -> Failure {
    let retiring = now.members.iter().find(|member| member.retiring);
    let (what, why) = match (votes, retiring) {
        (true, Some(other)) => (
            format!("{node} votes, but {} has not given its vote up", other.name),
            String::from("without it there would be no quorum of live voters now"),
        ),
        _ => (
            format!("{node} does not vote yet"),
            format!("it has not caught up with the log within {patience:?}"),
        ),
    };
    Failure::new(Exit::Unavailable, what, why, "it goes on; look again: tenure cluster status")
}
