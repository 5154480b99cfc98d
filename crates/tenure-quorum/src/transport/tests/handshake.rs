//! Strangers of every kind: refused, counted, and of no consequence to anybody else.

use std::time::{Duration, Instant};

use tenure_core::{ClusterId, Incarnation, NodeName};

use super::{
    CLUSTER, PATIENCE, Rig, Stranger, aside, client_hello, eventually, framed, identity, members,
    node_id,
};
use crate::{
    transport::{Reason, Settings, TransportEvent},
    wire::{Dialler, Greeting, HELLO_DEADLINE, Hello, MAGIC, Rejected},
};

fn node_hello(id: u64, incarnation: u64) -> Hello {
    Hello {
        dialler: Dialler::Node {
            id: node_id(id),
            name: NodeName::new(format!("n{id}")).unwrap(),
            directory: id * 100,
        },
        incarnation: Incarnation::from_random(incarnation),
        ..client_hello()
    }
}

/// What a stranger who says this is answered.
async fn answer_to(rig: &Rig, hello: Hello) -> Greeting {
    let address = rig.address;
    aside(move || {
        let mut stranger = Stranger::connect(address);
        stranger.hello(&hello);
        stranger.greeting()
    })
    .await
}

async fn counted(rig: &Rig, reason: Reason, count: u64) {
    let refusals = rig.transport.refusals();
    eventually(reason.name(), || refusals.count(reason) == count).await;
}

/// Says some bytes and waits until the node closes the connection.
async fn shut_out(rig: &Rig, bytes: Vec<u8>) -> Duration {
    let address = rig.address;
    aside(move || {
        let begun = Instant::now();
        let mut stranger = Stranger::connect(address);
        stranger.say(&bytes);
        stranger.wait_for_the_end();
        begun.elapsed()
    })
    .await
}

#[tokio::test]
async fn strangers_who_speak_badly_are_counted_and_disturb_nobody() {
    let (one, mut two) = Rig::pair().await;

    shut_out(&two, b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
    counted(&two, Reason::Garbage, 1).await;
    shut_out(&two, [&MAGIC[..], &[0, 0, 0, 3, 9, 9, 9]].concat()).await;
    counted(&two, Reason::Garbage, 2).await;
    shut_out(&two, [&MAGIC[..], &[0xff; 4]].concat()).await;
    counted(&two, Reason::Oversized, 1).await;
    // A megabyte of noise costs no more than its first four bytes.
    let address = two.address;
    aside(move || {
        let mut stranger = Stranger::connect(address);
        let noise = vec![0x5a; 1 << 20];
        let _ = std::io::Write::write_all(&mut stranger.0, &noise);
    })
    .await;
    counted(&two, Reason::Garbage, 3).await;
    // A connection that ends in the middle of its first message.
    aside(move || Stranger::connect(address).say(&[&MAGIC[..], &[0, 0, 0, 99, 1]].concat())).await;
    counted(&two, Reason::Vanished, 1).await;

    one.assert_reaches(&mut two).await;
}

#[tokio::test]
async fn silent_and_trickling_strangers_are_closed_at_the_deadline() {
    let (one, mut two) = Rig::pair().await;
    let silent = shut_out(&two, Vec::new()).await;
    assert!(silent >= HELLO_DEADLINE - Duration::from_millis(50), "{silent:?}");
    counted(&two, Reason::Silent, 1).await;
    let address = two.address;
    aside(move || {
        let mut stranger = Stranger::connect(address);
        let mut hello = MAGIC.to_vec();
        hello.extend(framed(&client_hello()));
        let begun = Instant::now();
        for byte in hello {
            if std::io::Write::write_all(&mut stranger.0, &[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        stranger.wait_for_the_end();
        assert!(begun.elapsed() < PATIENCE / 2);
    })
    .await;
    counted(&two, Reason::Silent, 2).await;
    one.assert_reaches(&mut two).await;
}

#[tokio::test]
async fn strangers_from_elsewhere_are_told_why() {
    let (one, mut two) = Rig::pair().await;
    two.transport.set_members(&members(4, Some(4)));

    let newer = Hello { protocol: 99, ..client_hello() };
    let greeting = answer_to(&two, newer).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::Protocol { ours: 1, theirs: 99 }));
    counted(&two, Reason::Protocol, 1).await;

    let theirs = ClusterId::new(0xbad);
    let foreign = Hello { cluster: Some(theirs), ..client_hello() };
    let greeting = answer_to(&two, foreign).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::Cluster { ours: CLUSTER, theirs }));
    counted(&two, Reason::Cluster, 1).await;

    let greeting = answer_to(&two, node_hello(4, 4)).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::NotMember { id: node_id(4) }));
    counted(&two, Reason::NotMember, 1).await;

    let mut forgetful = node_hello(3, 3);
    let name = NodeName::new("n3").unwrap();
    forgetful.dialler = Dialler::Node { id: node_id(3), name: name.clone(), directory: 999 };
    let greeting = answer_to(&two, forgetful).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::Directory { id: node_id(3), name }));
    counted(&two, Reason::Directory, 1).await;

    // Node 1 is connected; a second process with its id is refused, and so is our own id.
    let greeting = answer_to(&two, node_hello(1, 666)).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::Duplicate { id: node_id(1) }));
    let greeting = answer_to(&two, node_hello(2, 667)).await;
    assert_eq!(greeting, Greeting::Rejected(Rejected::Duplicate { id: node_id(2) }));
    counted(&two, Reason::Duplicate, 2).await;

    one.assert_reaches(&mut two).await;
}

#[tokio::test]
async fn members_and_nodes_that_were_added_later_are_let_in() {
    let rig = Rig::start(2);
    rig.transport.set_members(&members(3, None));
    for id in [1, 3, 9] {
        let greeting = answer_to(&rig, node_hello(id, id)).await;
        assert!(matches!(greeting, Greeting::Welcome(_)), "node {id}: {greeting:?}");
    }
    assert!(rig.transport.refusals().counts().is_empty());
}

#[tokio::test]
async fn a_node_that_was_removed_loses_its_connection_and_is_told() {
    let (mut one, mut two) = Rig::pair().await;
    two.transport.set_members(&members(3, Some(1)));
    let why = one
        .until(|event| match event {
            TransportEvent::Rejected { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert_eq!(why, Rejected::NotMember { id: node_id(1) });
    let gone =
        |event: &TransportEvent| matches!(event, TransportEvent::PeerDown { .. }).then_some(());
    two.until(gone).await;
}

#[tokio::test]
async fn too_many_clients_are_refused_and_the_nodes_still_come_in() {
    let settings = Settings { max_clients: 2, ..Settings::default() };
    let mut full = Rig::with(identity(2, 2), settings, "127.0.0.1:0");
    let address = full.address;
    let guests = aside(move || {
        let mut guests: Vec<_> = (0..3).map(|_| Stranger::connect(address)).collect();
        guests.iter_mut().for_each(|guest| guest.hello(&client_hello()));
        let greetings: Vec<_> = guests.iter_mut().map(Stranger::greeting).collect();
        let refused = Greeting::Rejected(Rejected::Full { max: 2 });
        assert_eq!(greetings.iter().filter(|greeting| **greeting == refused).count(), 1);
        guests
    })
    .await;
    counted(&full, Reason::Full, 1).await;
    let mut one = Rig::start(1);
    one.dial(&full);
    full.up(1).await;
    one.assert_reaches(&mut full).await;
    // A place is free again once a client has gone.
    drop(guests);
    let gone =
        |event: &TransportEvent| matches!(event, TransportEvent::ClientDown { .. }).then_some(());
    full.until(gone).await;
    full.until(gone).await;
    assert!(matches!(answer_to(&full, client_hello()).await, Greeting::Welcome(_)));
}

#[tokio::test]
async fn a_crowd_of_silent_strangers_keeps_nobody_out() {
    let settings = Settings { max_strangers: 4, ..Settings::default() };
    let rig = Rig::with(identity(2, 2), settings, "127.0.0.1:0");
    let address = rig.address;
    let crowd =
        aside(move || (0..30).map(|_| Stranger::connect(address)).collect::<Vec<_>>()).await;
    counted(&rig, Reason::Crowded, 26).await;
    assert!(matches!(answer_to(&rig, client_hello()).await, Greeting::Welcome(_)));
    drop(crowd);
}

#[tokio::test]
async fn a_second_process_with_one_id_is_not_let_in_after_the_first_but_a_restarted_one_is() {
    let (mut one, mut two) = Rig::pair().await;
    let mut twin = Rig::with(identity(1, 4242), Settings::default(), "127.0.0.1:0");
    twin.dial(&two);
    let why = twin
        .until(|event| match event {
            TransportEvent::Rejected { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert_eq!(why, Rejected::Duplicate { id: node_id(1) });
    one.assert_reaches(&mut two).await;
    two.assert_reaches(&mut one).await;
    // The first one goes: the other takes its place within moments.
    two.transport.set_peers(std::collections::BTreeMap::new());
    drop(one);
    two.up(1).await;
    twin.assert_reaches(&mut two).await;
}
