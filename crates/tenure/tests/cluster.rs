//! Three nodes and two candidates in one process, over real sockets and disks.
#![allow(clippy::unwrap_used)] // a test stops where it fails

use std::net::TcpListener;

use core::time::Duration;
use tenure::{Elector, Error, View};
use tenure_core::{NodeId, NodeName};
use tenure_quorum::{
    node::{Node, NodeConfig, Start},
    wire::{Question, Reply},
};

fn free_addresses(count: usize) -> Vec<String> {
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect()
}

async fn start(count: usize, root: &std::path::Path) -> Vec<Node> {
    let addresses = free_addresses(count);
    let peers: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(at, address)| (NodeName::new(format!("n{}", at + 1)).unwrap(), address.clone()))
        .collect();
    let mut nodes = Vec::new();
    for (name, address) in &peers {
        let start = Start::Found { peers: peers.clone(), cluster: None };
        let dir = root.join(name.as_str());
        let config = NodeConfig::new(name.clone(), dir, address.clone(), start);
        nodes.push(Node::start(config).await.unwrap());
    }
    nodes
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

#[tokio::test]
async fn a_candidate_leads_and_hands_over_when_it_resigns() {
    let root = tempfile::tempdir().unwrap();
    let nodes = start(3, root.path()).await;
    let url = format!("tenure://{},{}", nodes[0].address(), nodes[1].address());

    let first = within(Elector::builder().ttl(Duration::from_secs(1)).connect(&url)).await.unwrap();
    let mut one = first.campaign("demo", "one").value("here").start().unwrap();
    let leadership = within(one.elected()).await.unwrap();
    assert!(leadership.check().is_ok());

    let second = within(Elector::builder().on_node(&nodes[2])).await.unwrap();
    let mut observer = second.observe("demo").await.unwrap();
    loop {
        let sighting = within(observer.changed()).await.unwrap();
        if let View::Led(leader) = sighting.view {
            assert_eq!(leader.token, leadership.token());
            assert_eq!(leader.value.as_str(), "here");
            break;
        }
    }
    let token = leadership.token();
    leadership.resign();
    // The two electors of one process share their identity, so the second contends only now.
    let mut two = second.campaign("demo", "two").start().unwrap();
    let leadership = within(two.elected()).await.unwrap();
    assert!(leadership.token() > token);
}

#[tokio::test]
async fn a_held_lease_changes_its_length_both_ways() {
    let root = tempfile::tempdir().unwrap();
    let nodes = start(3, root.path()).await;
    let url = format!("tenure://{},{}", nodes[0].address(), nodes[1].address());
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(3));
    let elector = within(Elector::builder().ttl(long).connect(&url)).await.unwrap();
    let mut campaign = elector.campaign("demo", "one").start().unwrap();
    let leadership = within(campaign.elected()).await.unwrap();
    assert_eq!(leadership.ttl(), long);
    for ttl in [short, long] {
        elector.set_ttl(ttl..=ttl).unwrap();
        let known = leadership.ttl();
        assert_eq!(within(leadership.ttl_other_than(known)).await, ttl);
        assert_eq!(elector.ttl(), ttl);
        // What the quorum grants follows when it lengthens, and precedes when it shortens.
        let shown = async {
            loop {
                let sighting = elector.election("demo").leader().await.unwrap();
                if let Some(leader) = sighting.view.leader() {
                    assert_eq!(leader.token, leadership.token());
                    if leader.ttl.get() == ttl {
                        return;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        within(shown).await;
        assert!(leadership.check().is_ok());
    }
    // The renewals count with it by and by.
    let reaches = async {
        while leadership.remaining().unwrap() < long * 8 / 10 {
            tokio::task::yield_now().await;
        }
    };
    within(reaches).await;
}

/// The leader of the quorum and its term, as a node has them.
async fn standing(node: &Node) -> (Option<NodeId>, u64) {
    match within(node.client().ask(Question::Cluster)).await {
        Ok(Reply::Cluster(view)) => (view.status.leader, view.status.term),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn when_the_leader_of_the_quorum_has_stopped_another_one_leads_already() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes = start(3, root.path()).await;
    let (leader, term) = loop {
        if let (Some(leader), term) = standing(&nodes[0]).await {
            break (leader, term);
        }
        tokio::task::yield_now().await;
    };
    let at = nodes.iter().position(|node| node.id() == leader).unwrap();
    let ended = nodes.remove(at);
    tokio::task::spawn_blocking(move || ended.stop()).await.unwrap();
    let others = [standing(&nodes[0]).await, standing(&nodes[1]).await];
    let next = others.iter().find(|(next, _)| next.is_some_and(|next| next != leader));
    assert!(next.is_some_and(|(_, later)| *later == term + 1), "{term}: {others:?}");
}

#[tokio::test]
async fn bounds_that_cannot_be_used_are_refused() {
    let ms = Duration::from_millis;
    let builder = || Elector::builder().adaptive_ttl(ms(300)..=ms(2000));
    let error = within(builder().connect("mem://fixed")).await.unwrap_err();
    assert!(matches!(error, Error::FixedTtl { .. }), "{error}");
    assert!(error.to_string().contains("tenure://"), "{error}");
    let elector = within(Elector::connect("mem://fixed")).await.unwrap();
    assert!(matches!(elector.set_ttl(ms(300)..=ms(300)), Err(Error::FixedTtl { .. })));
    let backwards = Elector::builder().adaptive_ttl(ms(500)..=ms(300));
    let error = within(backwards.connect("mem://fixed")).await.unwrap_err();
    assert!(matches!(error, Error::TtlRange(_)), "{error}");
}
