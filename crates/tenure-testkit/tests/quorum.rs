//! Tenure's own quorum: three nodes in this process.

use std::{path::Path, time::Duration};

use tenure_core::NodeName;
use tenure_quorum::node::{Node, NodeConfig, Start};
use tenure_testkit::{
    servers::free_port,
    suite::{Store, conforms, holds_a_crowd, holds_a_thousand},
};

async fn start(root: &Path) -> Vec<Node> {
    let name = |at: usize| NodeName::new(format!("n{at}")).expect("a name");
    let address = |_| format!("127.0.0.1:{}", free_port().expect("a port"));
    let peers: Vec<_> = (1..=3).map(|at| (name(at), address(at))).collect();
    let mut nodes = Vec::new();
    for (name, address) in &peers {
        let start = Start::Found { peers: peers.clone(), cluster: None };
        let dir = root.join(name.as_str());
        let config = NodeConfig::new(name.clone(), dir, address.clone(), start);
        nodes.push(Node::start(config).await.expect("a node"));
    }
    nodes
}

/// Runs the nodes on a thread of their own for as long as the test lasts: the suite blocks its
/// own. Gives the URL of the quorum.
fn run(root: &Path) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    let root = root.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let nodes = start(&root).await;
            let addresses: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
            tell.send(format!("tenure://{}", addresses.join(","))).expect("a test that waits");
            core::future::pending::<()>().await;
        });
    });
    told.recv().expect("nodes that start")
}

#[tokio::test]
async fn a_quorum_conforms() {
    let root = tempfile::tempdir().expect("a directory");
    let url = run(root.path());
    let ttl = Duration::from_millis(800);
    let store = Store { url, ttl, expires: true, shared: true };
    conforms(&store, Path::new(env!("CARGO_BIN_EXE_testkit-candidate"))).await;
}

#[tokio::test]
async fn a_crowd_at_a_quorum() {
    let root = tempfile::tempdir().expect("a directory");
    let url = run(root.path());
    let store = Store { url, ttl: Duration::from_secs(4), expires: true, shared: true };
    holds_a_crowd(&store, 200).await;
    holds_a_thousand(&store).await;
}
