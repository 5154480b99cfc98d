//! Tenure's own quorum: three nodes in this process.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use tenure_core::NodeName;
use tenure_quorum::node::{Node, NodeConfig, Start};
use tenure_testkit::{
    proxy::Proxy,
    servers::free_port,
    stall::steadily,
    suite::{Store, a_bad_line_makes_no_second_leader, conforms, holds_a_crowd, holds_a_thousand},
};

/// Where the nodes listen, and where they say that they do.
#[derive(Clone)]
struct Places {
    listen: BTreeMap<NodeName, String>,
    advertise: BTreeMap<NodeName, String>,
    /// Between the two, when they differ.
    line: Option<Arc<Proxy>>,
}

fn ports() -> BTreeMap<NodeName, u16> {
    let name = |at| NodeName::new(format!("n{at}")).expect("a name");
    (1..=3).map(|at| (name(at), free_port().expect("a port"))).collect()
}

fn addresses(ports: &BTreeMap<NodeName, u16>) -> BTreeMap<NodeName, String> {
    ports.iter().map(|(name, port)| (name.clone(), format!("127.0.0.1:{port}"))).collect()
}

fn plain() -> Places {
    let listen = addresses(&ports());
    Places { advertise: listen.clone(), listen, line: None }
}

/// Clients reach every node over one line that can go bad, and learn of no other way from any of
/// them; the nodes reach each other without it.
fn behind_a_line() -> Places {
    let ports = ports();
    let first = ports.values().next().expect("a node");
    let line = Proxy::before(*first).expect("a proxy");
    let also = |port| line.also_before(port).expect("a port");
    let before = |port: u16| if port == *first { line.port() } else { also(port) };
    let fronts = ports.iter().map(|(name, port)| (name.clone(), before(*port))).collect();
    Places { listen: addresses(&ports), advertise: addresses(&fronts), line: Some(Arc::new(line)) }
}

async fn start(root: &Path, places: &Places) -> Vec<Node> {
    let peers: Vec<_> = places.advertise.clone().into_iter().collect();
    let mut nodes = Vec::new();
    for (name, listen) in &places.listen {
        let start = Start::Found { peers: peers.clone(), cluster: None };
        let config = NodeConfig {
            advertise: places.advertise.get(name).cloned(),
            dial: places.listen.clone(),
            ..NodeConfig::new(name.clone(), root.join(name.as_str()), listen.clone(), start)
        };
        nodes.push(Node::start(config).await.expect("a node"));
    }
    nodes
}

/// Runs the nodes on a thread of their own for as long as the test lasts: the suite blocks its
/// own. Gives the URL of the quorum.
fn run(root: &Path, places: &Places) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    let (root, places) = (root.to_owned(), places.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let nodes = start(&root, &places).await;
            let addresses: Vec<_> = nodes.iter().map(|node| node.address().to_owned()).collect();
            tell.send(format!("tenure://{}", addresses.join(","))).expect("a test that waits");
            core::future::pending::<()>().await;
        });
    });
    told.recv().expect("nodes that start")
}

#[tokio::test]
async fn a_quorum_conforms() {
    let root = tempfile::tempdir().expect("a directory");
    let url = run(root.path(), &plain());
    let ttl = Duration::from_millis(800);
    let store = Store { url, ttl, expires: true, shared: true };
    conforms(&store, Path::new(env!("CARGO_BIN_EXE_testkit-candidate"))).await;
}

#[tokio::test]
async fn a_crowd_at_a_quorum() {
    let root = tempfile::tempdir().expect("a directory");
    let url = run(root.path(), &plain());
    let store = Store { url, ttl: Duration::from_secs(4), expires: true, shared: true };
    holds_a_crowd(&store, 200).await;
    holds_a_thousand(&store).await;
}

#[test]
fn a_bad_line_to_a_quorum() {
    let program = Path::new(env!("CARGO_BIN_EXE_testkit-candidate"));
    // Long enough for what a proxy and a busy disk add.
    let ttl = Duration::from_secs(2);
    steadily(ttl, |_| {
        let root = tempfile::tempdir().expect("a directory");
        let places = behind_a_line();
        let url = run(root.path(), &places);
        let store = Store { url, ttl, expires: true, shared: true };
        let line = places.line.as_ref().expect("a line");
        a_bad_line_makes_no_second_leader(&store, program, "bad-line", line);
    });
}
