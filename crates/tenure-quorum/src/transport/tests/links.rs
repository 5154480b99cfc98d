//! Links between nodes: order, ends, reconnects, and what is lost when.

use std::{collections::BTreeMap, time::Duration};

use tenure_core::Incarnation;
use tokio::time::{Instant, sleep, timeout};

use super::{Rig, eventually, identity, node_id, number_of, numbered};
use crate::transport::{Reason, Settings, TransportEvent};

#[tokio::test]
async fn frames_arrive_in_order_also_when_the_driver_is_slow() {
    let (one, mut two) = Rig::pair().await;
    let count = 3000;
    for number in 0..count {
        one.transport.send(node_id(2), &numbered(1, 2, number));
    }
    for expected in 0..count {
        assert_eq!(two.frame_number().await, expected);
        if expected % 1000 == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn frames_that_were_pushed_leave_together() {
    let (one, mut two) = Rig::pair().await;
    let link = one.transport.link(node_id(2)).unwrap();
    for number in 0..200 {
        link.push(&numbered(1, 2, number));
    }
    let nothing = timeout(Duration::from_millis(50), two.frame_number()).await;
    assert!(nothing.is_err(), "pushed frames wait for the flush");
    link.flush();
    for expected in 0..200 {
        assert_eq!(two.frame_number().await, expected);
    }
}

#[tokio::test]
async fn a_connection_is_not_read_further_while_the_driver_holds_its_frames() {
    let (one, mut two) = Rig::pair().await;
    let mut big = numbered(1, 2, 0);
    big.body = tenure_replica::PeerBody::Wishes(vec![tenure_replica::NamedWish {
        request: tenure_core::RequestId { process: Incarnation::from_random(1), number: 1 },
        at: tenure_core::WallTime::from_micros(0),
        wish: tenure_replica::Wish::Member(tenure_replica::MemberWish::Add {
            name: tenure_core::NodeName::new("x").unwrap(),
            address: "a".repeat(1 << 20),
            directory: 1,
            zone: None,
        }),
    }]);
    for _ in 0..16 {
        one.transport.send(node_id(2), &big);
    }
    let mut held = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_millis(300), two.events.recv()).await {
        held.extend(matches!(event, TransportEvent::PeerFrame { .. }).then_some(event));
    }
    assert!((2..=4).contains(&held.len()), "{} MiB were taken in", held.len());
    held.clear();
    let mut more = 0;
    while more < 8 {
        more += u32::from(matches!(two.next().await, TransportEvent::PeerFrame { .. }));
    }
}

#[tokio::test]
async fn the_end_comes_after_the_last_frame() {
    let (one, mut two) = Rig::pair().await;
    two.transport.set_peers(BTreeMap::new());
    for number in 0..100 {
        one.transport.send(node_id(2), &numbered(1, 2, number));
    }
    // Every frame fits into the socket, so all have left this process by now.
    drop(one);
    let mut seen = 0;
    loop {
        match two.next().await {
            TransportEvent::PeerFrame { frame, .. } => {
                assert_eq!(number_of(&frame), seen);
                seen += 1;
            }
            TransportEvent::PeerDown { id, incarnation, proven } => {
                assert_eq!((id, incarnation), (node_id(1), Incarnation::from_random(1000)));
                assert!(!proven, "this very process is alive");
                break;
            }
            _ => {}
        }
    }
    assert_eq!(seen, 100);
}

#[tokio::test]
async fn nodes_of_one_machine_go_over_to_the_socket_file_and_hold_a_pidfd() {
    let (one, two) = Rig::pair().await;
    assert!(one.transport.would_prove(node_id(2)));
    assert!(two.transport.would_prove(node_id(1)));
}

#[tokio::test]
async fn without_local_proof_nodes_stay_with_tcp() {
    let settings = Settings { local_proof: false, ..Settings::default() };
    let mut one = Rig::with(identity(1, 1), settings.clone(), "127.0.0.1:0");
    let mut two = Rig::with(identity(2, 2), settings, "127.0.0.1:0");
    one.dial(&two);
    two.up(1).await;
    one.assert_reaches(&mut two).await;
    assert!(!two.transport.would_prove(node_id(1)));
    assert!(!one.transport.would_prove(node_id(2)));
}

#[tokio::test]
async fn a_restarted_node_is_back_at_once() {
    let (mut one, two) = Rig::pair().await;
    let address = two.address.to_string();
    drop(two);
    let down =
        |event: &TransportEvent| matches!(event, TransportEvent::PeerDown { .. }).then_some(());
    one.until(down).await;
    let begun = Instant::now();
    let mut two = Rig::with(identity(2, 2002), Settings::default(), &address);
    one.up(2).await;
    one.assert_reaches(&mut two).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_that_somebody_else_answers_is_not_used() {
    let (mut one, other) = (Rig::start(1), Rig::start(3));
    one.transport.set_peers(BTreeMap::from([(node_id(2), other.address.to_string())]));
    let refusals = one.transport.refusals();
    eventually("a wrong answer", || refusals.count(Reason::Misdialled) > 0).await;
    assert!(!one.transport.link(node_id(2)).unwrap().is_up());
}

#[tokio::test]
async fn a_changed_address_is_dialled_and_a_dropped_peer_is_let_go() {
    let mut one = Rig::start(1);
    one.transport.set_peers(BTreeMap::from([(node_id(2), String::from("127.0.0.1:1"))]));
    let mut two = Rig::start(2);
    one.dial(&two);
    one.assert_reaches(&mut two).await;
    one.transport.set_peers(BTreeMap::new());
    let down =
        |event: &TransportEvent| matches!(event, TransportEvent::PeerDown { .. }).then_some(());
    two.until(down).await;
    one.until(down).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up() {
    let settings =
        Settings { limit: Duration::from_millis(200), local_proof: false, ..Settings::default() };
    let mut one = Rig::with(identity(1, 1), settings.clone(), "127.0.0.1:0");
    let mut two = Rig::with(identity(2, 2), settings, "127.0.0.1:0");
    one.dial(&two);
    one.assert_reaches(&mut two).await;
    let begun = Instant::now();
    let down =
        |event: &TransportEvent| matches!(event, TransportEvent::PeerDown { .. }).then_some(());
    two.until(down).await;
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
    assert_eq!(two.transport.refusals().count(Reason::Silent), 1);
    // It comes back by itself.
    one.assert_reaches(&mut two).await;
}

#[tokio::test]
async fn a_name_is_resolved_and_a_bad_one_tried_again() {
    let mut one = Rig::start(1);
    let mut two = Rig::start(2);
    let address = format!("localhost:{}", two.address.port());
    one.transport.set_peers(BTreeMap::from([(node_id(2), address)]));
    one.assert_reaches(&mut two).await;
}

#[tokio::test]
async fn a_node_that_dials_is_dialled_back_at_once() {
    let mut waited = Duration::ZERO;
    for round in 1..=4 {
        let place = Rig::with(identity(2, round), Settings::default(), "127.0.0.1:0");
        let address = place.address.to_string();
        drop(place);
        let mut one = Rig::start(1);
        one.transport.set_peers(BTreeMap::from([(node_id(2), address.clone())]));
        // By now the pauses between the attempts have grown to half a second.
        sleep(Duration::from_secs(1)).await;
        let mut two = Rig::with(identity(2, 100 + round), Settings::default(), &address);
        two.dial(&one);
        one.up(2).await;
        let begun = Instant::now();
        one.linked(2).await;
        waited += begun.elapsed();
    }
    // Without being woken it would wait for a quarter of a second on average, each time.
    assert!(waited < Duration::from_millis(300), "{waited:?}");
}
