//! Watches over reconnects: nothing goes back, and nobody is silent.

use std::{collections::BTreeMap, time::Duration};

use tenure_core::{Revision, View};
use tokio::time::timeout;

use super::{Answering, Behaviour, connect, election, led, push, quick};
use crate::{
    client::{Watch, Watched},
    clock,
    transport::tests::{PATIENCE, eventually},
    wire::{NodeFrame, Push, Question, Reply},
};

/// Answers pings, and subscriptions with these pushes.
fn showing(pushes: Vec<Push>) -> Behaviour {
    Box::new(move |frame, to| match frame.question {
        Question::Ping => Some(Reply::Pong),
        Question::Subscribe { .. } => {
            for push in &pushes {
                to.send(NodeFrame::Push(Box::new(push.clone())));
            }
            Some(Reply::Subscribed)
        }
        _ => None,
    })
}

fn tell(node: &Answering, push: Push) {
    let clients = node.clients.lock().unwrap();
    clients.last().unwrap().send(NodeFrame::Push(Box::new(push)));
}

async fn next(watch: &mut Watch) -> Watched {
    timeout(PATIENCE, watch.next()).await.expect("news in time").expect("a client")
}

async fn next_push(watch: &mut Watch) -> Push {
    match next(watch).await {
        Watched::Push(push) => *push,
        lost @ Watched::Lost { .. } => panic!("{lost:?}"),
    }
}

#[tokio::test]
async fn a_watch_shows_how_it_stands_and_then_each_change() {
    let node = Answering::start(1, showing(vec![push("e", 3, led(3))]));
    let client = connect(&[&node], quick()).await;
    let mut watch = client.watch(vec![election("e")], None).await.unwrap();
    assert_eq!(next_push(&mut watch).await, push("e", 3, led(3)));
    tell(&node, push("other", 4, led(4)));
    tell(&node, push("e", 5, View::Vacant));
    assert_eq!(next_push(&mut watch).await, push("e", 5, View::Vacant));
}

#[tokio::test]
async fn a_prefix_covers_elections_that_come_later() {
    let node = Answering::start(1, showing(Vec::new()));
    let client = connect(&[&node], quick()).await;
    let mut watch = client.watch(Vec::new(), Some(String::from("jobs/"))).await.unwrap();
    eventually("the subscription", || node.heard().len() == 1).await;
    tell(&node, push("other", 4, led(4)));
    tell(&node, push("jobs/a", 5, led(5)));
    assert_eq!(next_push(&mut watch).await.election, election("jobs/a"));
}

#[tokio::test]
async fn after_a_reconnect_a_view_does_not_go_back() {
    let ahead = Answering::start(1, showing(vec![push("e", 9, led(9))]));
    let behind = Answering::start(2, showing(vec![push("e", 4, led(4))]));
    let client = connect(&[&ahead, &behind], quick()).await;
    let mut watch = client.watch(vec![election("e")], None).await.unwrap();
    assert_eq!(next_push(&mut watch).await.sighting.revision, Revision::new(9));
    ahead.stop().await;
    eventually("the new subscription", || behind.heard().len() == 1).await;
    // What the other node shows is older; that it does not know is news all the same.
    tell(&behind, push("e", 5, View::Unknown));
    let unknown = next_push(&mut watch).await;
    assert_eq!(unknown.sighting.view, View::Unknown);
    assert_eq!(unknown.sighting.revision, Revision::new(9));
    tell(&behind, push("e", 6, View::Vacant));
    tell(&behind, push("e", 9, led(9)));
    assert_eq!(next_push(&mut watch).await, push("e", 9, led(9)));
    tell(&behind, push("e", 10, View::Vacant));
    assert_eq!(next_push(&mut watch).await, push("e", 10, View::Vacant));
}

#[tokio::test]
async fn a_watch_is_told_when_nobody_is_heard_and_when_somebody_is_again() {
    let node = Answering::start(1, showing(vec![push("e", 3, led(3))]));
    let address = node.address.clone();
    let client = connect(&[&node], quick()).await;
    let both = vec![election("e"), election("never-heard-of")];
    let mut watch = client.watch(both, None).await.unwrap();
    assert_eq!(next_push(&mut watch).await.sighting.view, led(3));
    let stopped = clock::monotonic_nanos();
    node.stop().await;
    let mut unknown = BTreeMap::new();
    for _ in 0..2 {
        let push = next_push(&mut watch).await;
        assert_eq!(push.sighting.view, View::Unknown);
        assert!(push.sighting.reason.as_ref().unwrap().contains("no node was heard"));
        assert!(push.mono_ns > stopped, "it was learned after the node was gone");
        unknown.insert(push.election.to_string(), push.sighting);
    }
    assert_eq!(unknown["e"].revision, Revision::new(3));
    assert!(unknown["e"].age >= Duration::from_millis(300), "{:?}", unknown["e"].age);
    assert_eq!(unknown["never-heard-of"].revision, Revision::new(0));
    assert!(matches!(next(&mut watch).await, Watched::Lost { .. }));
    let mut late = client.watch(vec![election("e")], None).await.unwrap();
    assert_eq!(next_push(&mut late).await.sighting.view, View::Unknown);
    let _node = Answering::at(1, &address, showing(vec![push("e", 3, led(3))]));
    assert_eq!(next_push(&mut watch).await, push("e", 3, led(3)));
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_state_with_all_that_changed() {
    let node = Answering::start(1, showing(Vec::new()));
    let client = connect(&[&node], quick()).await;
    let mut watch = client.watch(vec![election("e"), election("end")], None).await.unwrap();
    let mut other = client.watch(vec![election("end")], None).await.unwrap();
    eventually("the subscriptions", || node.heard().len() == 2).await;
    for revision in 1..=600 {
        let mut push = push("e", revision, led(revision));
        push.events = vec![tenure_core::ledger::Event {
            revision: Revision::new(revision),
            at: tenure_core::WallTime::from_micros(1),
            kind: tenure_core::ledger::EventKind::Paused { election: election("e") },
        }];
        tell(&node, push);
    }
    tell(&node, push("end", 601, View::Vacant));
    next_push(&mut other).await;
    let push = next_push(&mut watch).await;
    assert_eq!(push.sighting.revision, Revision::new(600));
    let revisions: Vec<_> = push.events.iter().map(|event| event.revision.get()).collect();
    assert_eq!(revisions, (345..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watch_ends_with_its_client() {
    let node = Answering::start(1, showing(Vec::new()));
    let client = connect(&[&node], quick()).await;
    let mut watch = client.watch(vec![election("e")], None).await.unwrap();
    drop(client);
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap(), None);
}
