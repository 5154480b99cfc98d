//! Clients that do not read, and full queues.

use tenure_core::{ElectionName, Revision, Sighting, View};

use super::{Rig, Stranger, aside, client_hello, eventually, framed, node_id, number_of, numbered};
use crate::{
    transport::{
        Broadcast, ClientSender, Reason, TransportEvent, local_pair, sender::CLIENT_BOUND,
    },
    wire::{ClientFrame, Greeting, NodeFrame, Push, Question, Reply},
};

async fn client(rig: &mut Rig) -> (u64, ClientSender) {
    rig.until(|event| match event {
        TransportEvent::ClientUp { client, to, .. } => Some((*client, to.clone())),
        _ => None,
    })
    .await
}

fn push(number: u64) -> NodeFrame {
    NodeFrame::Push(Box::new(Push {
        election: ElectionName::new(format!("e{number}")).unwrap(),
        sighting: Sighting {
            view: View::Vacant,
            revision: Revision::new(number),
            age: std::time::Duration::ZERO,
            reason: Some("x".repeat(4096)),
        },
        holder: None,
        handover: false,
        revoked: false,
        candidates: 0,
        events: Vec::new(),
        mono_ns: 0,
    }))
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_the_others_go_on() {
    let mut rig = Rig::start(1);
    let address = rig.address;
    let connect = move || {
        let mut stranger = Stranger::connect(address);
        stranger.hello(&client_hello());
        assert!(matches!(stranger.greeting(), Greeting::Welcome(_)));
        stranger
    };
    let _slow = aside(connect).await;
    let (slow_key, slow) = client(&mut rig).await;
    let mut quick = aside(connect).await;
    let (_, quick_sender) = client(&mut rig).await;
    for number in 0..6000 {
        slow.send(push(number));
    }
    let down = rig
        .until(|event| match event {
            TransportEvent::ClientDown { client } => Some(*client),
            _ => None,
        })
        .await;
    assert_eq!(down, slow_key);
    assert_eq!(rig.transport.refusals().count(Reason::SlowClient), 1);
    quick_sender.push(&Broadcast::new(push(1)));
    quick_sender.flush();
    aside(move || {
        let frame: NodeFrame = tenure_replica::decode(&quick.message()).unwrap();
        assert_eq!(frame, push(1));
    })
    .await;
}

#[tokio::test]
async fn a_client_gets_every_frame_when_it_reads() {
    let mut rig = Rig::start(1);
    let address = rig.address;
    let reading = tokio::spawn(aside(move || {
        let mut stranger = Stranger::connect(address);
        stranger.hello(&client_hello());
        stranger.greeting();
        for number in 0..2000 {
            let frame: NodeFrame = tenure_replica::decode(&stranger.message()).unwrap();
            assert_eq!(frame, push(number));
        }
    }));
    let (_, sender) = client(&mut rig).await;
    for number in 0..2000 {
        sender.send(push(number));
        if number % 500 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }
    reading.await.unwrap();
}

#[tokio::test]
async fn a_client_that_misspeaks_later_is_dropped_and_counted() {
    let mut rig = Rig::start(1);
    let address = rig.address;
    aside(move || {
        let mut stranger = Stranger::connect(address);
        stranger.hello(&client_hello());
        stranger.greeting();
        stranger.say(&framed(&ClientFrame { number: 1, question: Question::Ping }));
        stranger.say(&[0xff; 8]);
        stranger.wait_for_the_end();
    })
    .await;
    let (key, _) = client(&mut rig).await;
    let asked = rig.next().await;
    assert!(matches!(asked, TransportEvent::ClientFrame { client, .. } if client == key));
    assert!(matches!(rig.next().await, TransportEvent::ClientDown { client } if client == key));
    assert_eq!(rig.transport.refusals().count(Reason::Oversized), 1);
}

#[tokio::test]
async fn a_full_link_loses_the_oldest_frames_and_keeps_the_order() {
    let (one, mut two) = Rig::pair().await;
    // Nothing is read while this loop runs, so the socket and then the queue fill up.
    let count = 60_000;
    for number in 0..count {
        one.transport.send(node_id(2), &numbered(1, 2, number));
    }
    let mut last = None;
    let mut seen = 0;
    while last != Some(count - 1) {
        let number = match two.next().await {
            TransportEvent::PeerFrame { frame, .. } => number_of(&frame),
            _ => continue,
        };
        assert!(last < Some(number), "{last:?} then {number}");
        last = Some(number);
        seen += 1;
    }
    assert!(seen < count, "nothing was lost although nobody read");
}

#[tokio::test]
async fn a_snapshot_longer_than_the_queue_gets_through() {
    let (one, mut two) = Rig::pair().await;
    let mut huge = numbered(1, 2, 0);
    huge.body = tenure_replica::PeerBody::Wishes(vec![tenure_replica::NamedWish {
        request: tenure_core::RequestId {
            process: tenure_core::Incarnation::from_random(1),
            number: 1,
        },
        at: tenure_core::WallTime::from_micros(0),
        wish: tenure_replica::Wish::Member(tenure_replica::MemberWish::Add {
            name: tenure_core::NodeName::new("x").unwrap(),
            address: "a".repeat(40 << 20),
            directory: 1,
            zone: None,
        }),
    }]);
    one.transport.send(node_id(2), &huge);
    one.transport.send(node_id(2), &numbered(1, 2, 5));
    let arrived = two
        .until(|event| match event {
            TransportEvent::PeerFrame { frame, .. } => Some(frame.clone()),
            _ => None,
        })
        .await;
    assert!(arrived == huge);
    assert_eq!(two.frame_number().await, 5);
}

#[tokio::test]
async fn a_client_in_the_process_says_and_hears_the_same_frames() {
    let mut rig = Rig::start(1);
    let (mut end, ends) = local_pair(rig.transport.incarnation());
    rig.transport.attach(ends);
    let (key, to) = client(&mut rig).await;
    let frame = ClientFrame { number: 5, question: Question::Ping };
    end.questions.send(frame.clone()).await.unwrap();
    match rig.next().await {
        TransportEvent::ClientFrame { client, frame: heard, .. } => {
            assert_eq!((client, heard), (key, frame));
        }
        other => panic!("{other:?}"),
    }
    let answer = NodeFrame::Answer { number: 5, reply: Reply::Pong };
    to.send(answer.clone());
    assert_eq!(end.frames.recv().await, Some(answer.clone()));
    // It does not read: its channel ends after what was sent.
    for _ in 0..70_000 {
        to.send(answer.clone());
    }
    let mut heard = 0;
    while end.frames.recv().await.is_some() {
        heard += 1;
    }
    assert_eq!(heard, CLIENT_BOUND.packets);
    drop(end);
    let down = rig.next().await;
    assert!(matches!(down, TransportEvent::ClientDown { client } if client == key), "{down:?}");
    eventually("the count", || rig.transport.refusals().count(Reason::SlowClient) == 1).await;
}
