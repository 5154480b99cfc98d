//! Questions and wishes over all that can happen to a connection.

use std::time::{Duration, Instant};

use tenure_core::{ClusterId, Incarnation, RequestId, SessionId, ledger::Outcome};
use tokio::time::timeout;

use super::{Answering, connect, helpful, pause, quick, replying};
use crate::{
    client::{Client, ClientError, ClientEvent, ClientOptions, Endpoint, Fate, Renewal},
    transport::{
        local_pair,
        tests::{CLUSTER, PATIENCE, Rig, eventually},
    },
    wire::{ClientFrame, NodeFrame, Question, Rejected, Reply},
};

#[tokio::test]
async fn a_question_is_answered_over_the_socket_file_of_the_same_machine() {
    let node = Answering::start(1, helpful());
    let client = connect(&[&node], quick()).await;
    let connected = client.connected().unwrap();
    assert!(connected.local && connected.cluster == CLUSTER);
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
    assert_eq!(client.wish(pause()).await.unwrap(), Outcome::Done);
    let session = SessionId { process: client.process(), number: 1 };
    assert_eq!(client.renew(session).await.unwrap(), Renewal::Renewed);
}

#[tokio::test]
async fn a_socket_file_and_plain_tcp_serve_as_well() {
    let node = Answering::start(1, helpful());
    let by_file = vec![Endpoint::Unix(node.socket.clone().into())];
    let client = Client::connect(by_file, quick()).await.unwrap();
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
    let client = connect(&[&node], ClientOptions { local_proof: false, ..quick() }).await;
    assert!(!client.connected().unwrap().local);
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
}

#[tokio::test]
async fn a_question_in_flight_moves_to_the_next_node_when_its_node_stops() {
    let (deaf, node) = (Answering::start(1, replying([])), Answering::start(2, helpful()));
    let client = connect(&[&deaf, &node], quick()).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.wish(pause()).await }
    });
    eventually("the wish", || deaf.heard().len() == 1).await;
    let asked = deaf.heard();
    let begun = Instant::now();
    deaf.stop().await;
    assert_eq!(asking.await.unwrap().unwrap(), Outcome::Done);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(asked, node.heard(), "the same request was repeated");
}

#[tokio::test]
async fn a_node_that_falls_silent_without_closing_is_left() {
    let deaf = Answering::start(1, Box::new(|_, _| None));
    let node = Answering::start(2, helpful());
    let client = connect(&[&deaf, &node], quick()).await;
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
    assert_eq!(client.connected().unwrap().id.get(), 2);
}

#[tokio::test]
async fn a_restarted_node_is_found_again() {
    let node = Answering::start(1, helpful());
    let address = node.address.clone();
    let client = connect(&[&node], quick()).await;
    node.stop().await;
    let _node = Answering::at(1, &address, helpful());
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
}

#[tokio::test]
async fn a_wish_without_an_answer_is_unknown_and_a_question_is_unavailable() {
    let node = Answering::start(1, replying([]));
    let client = connect(&[&node], quick()).await.with_timeout(Duration::from_millis(100));
    let error = client.wish(pause()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    assert_eq!(error.fate(), Fate::Unknown);
    let error = client.ask(Question::Confirm).await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_wish_that_never_left_is_known_not_to_have_been_sent() {
    let node = Answering::start(1, helpful());
    let client = connect(&[&node], quick()).await.with_timeout(Duration::from_millis(100));
    node.stop().await;
    eventually("the end", || client.connected().is_none()).await;
    let error = client.wish(pause()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert_eq!(error.fate(), Fate::NotSent);
}

#[tokio::test]
async fn a_wish_is_repeated_while_there_is_no_quorum() {
    let none = || Reply::Unavailable { why: String::from("no quorum: 1 of 3") };
    let node = Answering::start(1, replying([none(), none(), Reply::Outcome(Outcome::Done)]));
    let client = connect(&[&node], quick()).await;
    assert_eq!(client.wish(pause()).await.unwrap(), Outcome::Done);
    let heard = node.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|question| *question == heard[0]), "under one request id");
    let node = Answering::start(1, replying(std::iter::repeat_n(none(), 100)));
    let client = connect(&[&node], quick()).await.with_timeout(Duration::from_millis(300));
    let error = client.wish(pause()).await.unwrap_err();
    assert!(error.to_string().contains("no quorum: 1 of 3"), "{error}");
    assert_eq!(error.fate(), Fate::Unknown);
}

#[tokio::test]
async fn a_hand_over_of_the_quorum_is_never_sent_twice() {
    let (one, two) = (Answering::start(1, replying([])), Answering::start(2, helpful()));
    let client = connect(&[&one, &two], quick()).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.ask(Question::TransferQuorum { to: None }).await }
    });
    eventually("the question", || one.heard().len() == 1).await;
    one.stop().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    eventually("the other node", || client.connected().is_some()).await;
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
    assert_eq!(two.heard(), [Question::Confirm]);
}

#[tokio::test]
async fn a_denied_question_is_refused_with_the_reason() {
    let denied = Reply::Denied { why: String::from("not yours") };
    let node = Answering::start(1, replying([denied]));
    let client = connect(&[&node], quick()).await;
    let request = RequestId { process: Incarnation::from_random(1), number: 1 };
    let error = client.wish_as(request, pause()).await.unwrap_err();
    assert_eq!(error, ClientError::Refused { why: String::from("not yours") });
    assert_eq!(error.fate(), Fate::Refused);
}

#[tokio::test]
async fn another_cluster_is_refused_at_once_and_nobody_at_all_after_the_timeout() {
    let node = Answering::start(1, helpful());
    let theirs = ClusterId::new(5);
    let options = ClientOptions { cluster: Some(theirs), ..quick() };
    let begun = Instant::now();
    let error = Client::connect(vec![node.endpoint()], options).await.unwrap_err();
    let why = Rejected::Cluster { ours: CLUSTER, theirs };
    assert!(matches!(&error, ClientError::Rejected { why: told, .. } if *told == why), "{error}");
    assert!(begun.elapsed() < Duration::from_millis(700));

    let options = ClientOptions { timeout: Duration::from_millis(300), ..quick() };
    let nobody = vec![Endpoint::Tcp(String::from("127.0.0.1:1"))];
    let error = Client::connect(nobody, options).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(Client::connect(Vec::new(), quick()).await.unwrap_err(), ClientError::NoEndpoint);
}

#[tokio::test]
async fn a_blackholed_endpoint_costs_one_attempt() {
    // Listens and never accepts: the connection is made by the kernel, and nobody speaks.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Answering::start(1, helpful());
    let endpoints = vec![Endpoint::Tcp(hole.local_addr().unwrap().to_string()), node.endpoint()];
    let options = ClientOptions {
        attempt: Duration::from_millis(200),
        timeout: Duration::from_secs(10),
        ..quick()
    };
    let client = Client::connect(endpoints, options).await.unwrap();
    assert_eq!(client.connected().unwrap().id.get(), 1);
}

#[tokio::test]
async fn posted_frames_and_their_answers_pass_by_the_own_questions() {
    let node = Answering::start(1, helpful());
    let client = connect(&[&node], quick()).await;
    let mut events = client.subscribe_raw();
    let mut next = async || timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(next().await, ClientEvent::Connected(_)));
    let session = SessionId { process: client.process(), number: 1 };
    client.post(ClientFrame { number: 7, question: Question::Renew { session } }).unwrap();
    client.ask(Question::Confirm).await.unwrap();
    let answer = NodeFrame::Answer { number: 7, reply: Reply::Renewed };
    assert_eq!(next().await, ClientEvent::Frame(answer));
    node.hang_up();
    assert!(matches!(next().await, ClientEvent::Disconnected { .. }));
    assert!(matches!(next().await, ClientEvent::Connected(_)));
    let reserved = ClientFrame { number: u64::MAX, question: Question::Ping };
    assert!(matches!(client.post(reserved), Err(ClientError::Refused { .. })));
    node.stop().await;
    assert!(matches!(next().await, ClientEvent::Disconnected { .. }));
    let error = client.post(ClientFrame { number: 8, question: Question::Ping }).unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent);
}

#[tokio::test]
async fn a_client_in_the_process_of_its_node_needs_no_socket() {
    let mut rig = Rig::start(1);
    let (end, ends) = local_pair(rig.transport.incarnation());
    let client = Client::local(end);
    rig.transport.attach(ends);
    let node = tokio::spawn(async move {
        let mut to = None;
        for _ in 0..3 {
            match rig.next().await {
                crate::transport::TransportEvent::ClientUp { to: sender, .. } => to = Some(sender),
                crate::transport::TransportEvent::ClientFrame { frame, .. } => {
                    let number = frame.number;
                    let sender: &crate::transport::ClientSender = to.as_ref().unwrap();
                    sender.send(NodeFrame::Answer { number, reply: Reply::Confirmed });
                }
                other => panic!("{other:?}"),
            }
        }
        rig
    });
    assert_eq!(client.ask(Question::Confirm).await.unwrap(), Reply::Confirmed);
    let mut raw = client.subscribe_raw();
    client.post(ClientFrame { number: 1, question: Question::Confirm }).unwrap();
    let answer = NodeFrame::Answer { number: 1, reply: Reply::Confirmed };
    assert_eq!(raw.recv().await, Some(ClientEvent::Frame(answer)));
    drop(node.await.unwrap());
    assert!(matches!(raw.recv().await, Some(ClientEvent::Disconnected { .. })));
    let late = client.with_timeout(Duration::from_millis(50));
    assert_eq!(late.wish(pause()).await.unwrap_err().fate(), Fate::NotSent);
}

#[tokio::test]
async fn a_withdrawn_question_leaves_nothing_behind() {
    let node = Answering::start(1, replying([]));
    let client = connect(&[&node], quick()).await;
    let withdrawn = timeout(Duration::from_millis(50), client.wish(pause())).await;
    assert!(withdrawn.is_err());
    node.hang_up();
    let mut raw = client.subscribe_raw();
    while !matches!(raw.recv().await, Some(ClientEvent::Connected(_))) {}
    let kept = timeout(Duration::from_millis(100), client.ask(Question::Confirm)).await;
    assert!(kept.is_err());
    let wishes = node.heard().iter().filter(|it| matches!(it, Question::Wish { .. })).count();
    assert!(wishes <= 2, "{wishes}");
}
