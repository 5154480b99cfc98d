//! Whatever connects to the port of a node and is no part of the cluster.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use crate::support::{Cluster, DEMO, PATIENCE, cluster::Plan};

fn connect(cluster: &Cluster, name: &str) -> TcpStream {
    let stream = TcpStream::connect(cluster.address(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads until the node closes the connection.
fn is_closed(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the node kept the connection: {error}"),
    }
}

fn refused(cluster: &Cluster, name: &str) -> Value {
    let status = cluster.tenure_at(name, "cluster status --json").ok().json();
    status["refused"].clone()
}

#[test]
fn garbage_costs_a_node_nothing_but_a_counter() {
    let cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let mark = cluster.journal.mark();
    let node = cluster.another(&[]);
    let before = refused(&cluster, &node);

    let garbage: [&[u8]; 3] = [b"GET / HTTP/1.1\r\n\r\n", &[0; 64], b"TNR1\0\0\0\x05hello"];
    for bytes in garbage {
        let mut stream = connect(&cluster, &node);
        stream.write_all(bytes).unwrap();
        is_closed(&stream);
    }
    // The length alone is enough.
    let mut long = connect(&cluster, &node);
    long.write_all(b"TNR1\xff\xff\xff\xff").unwrap();
    is_closed(&long);
    // Nothing at all, and a greeting that never ends.
    let silent = connect(&cluster, &node);
    let mut slow = connect(&cluster, &node);
    slow.write_all(b"TNR1\0\0\0\x40").unwrap();
    is_closed(&silent);
    is_closed(&slow);
    // Gone before a word.
    drop(connect(&cluster, &node));
    // Many at once, all silent.
    let crowd: Vec<_> = (0..400).map(|_| connect(&cluster, &node)).collect();
    cluster.tenure_at(&node, &format!("leader {DEMO}")).ok();
    cluster.tenure_at(&node, &format!("resume {DEMO}")).ok();
    drop(crowd);

    let after = refused(&cluster, &node);
    let count = |value: &Value, reason: &str| value[reason].as_u64().unwrap_or(0);
    for (reason, least) in [("garbage", 3), ("oversized", 1), ("silent", 2), ("crowded", 1)] {
        let grown = count(&after, reason) - count(&before, reason);
        assert!(grown >= least, "{reason}: {before} became {after}");
    }
    let lines = cluster.journal.lines();
    let noticed = lines[mark..].iter().find(|line| {
        ["lost", "elected", "role"].contains(&&*line.event) || line.text("view") == "unknown"
    });
    assert!(noticed.is_none(), "{noticed:?}");
    cluster.everybody_says(&leader);
}

#[test]
fn what_a_client_may_not_say_is_denied() {
    use tenure_core::{
        ElectionName, Incarnation, SessionId, Token,
        ledger::{Command, SessionEnd},
    };
    use tenure_quorum::client::{Client, ClientError, ClientOptions, parse_url};
    use tenure_replica::{MemberWish, Wish};

    let cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let foreign = SessionId { process: Incarnation::from_random(7), number: 1 };
    let election = ElectionName::new(DEMO).unwrap();
    let token = Token::new(leader.token);
    let forbidden = [
        // The clocks belong to the quorum.
        Wish::Command(Command::FinishEviction { election: election.clone(), token }),
        Wish::Command(Command::CloseSession {
            session: foreign,
            reason: SessionEnd::Expired { silent: PATIENCE },
        }),
        // Another process's session.
        Wish::Command(Command::Resign { session: foreign, election, token }),
        // Votes are given by the quorum.
        Wish::Member(MemberWish::Promote { id: tenure_core::NodeId::new(1).unwrap() }),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoints = parse_url(&cluster.url()).unwrap();
        let client = Client::connect(endpoints, ClientOptions::default()).await.unwrap();
        for wish in forbidden {
            let denied = client.wish(wish.clone()).await;
            assert!(matches!(denied, Err(ClientError::Refused { .. })), "{wish:?}: {denied:?}");
        }
    });
    cluster.everybody_says(&leader);
}
