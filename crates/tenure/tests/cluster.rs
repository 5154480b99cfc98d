//! Three nodes and two candidates in one process, over real sockets and disks.
#![allow(clippy::unwrap_used)] // a test stops where it fails

use std::net::TcpListener;

use core::time::Duration;
use tenure::{Elector, View};
use tenure_core::NodeName;
use tenure_quorum::node::{Node, NodeConfig, Start};

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
