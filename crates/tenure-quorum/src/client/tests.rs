//! Clients against the real listener, with a small answering loop behind it.

mod asking;
mod watching;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tenure_core::{
    CandidateId, ElectionName, Leader, Revision, Sighting, Token, Value, View, WallTime,
    ledger::{Command, Outcome},
    timing::Ttl,
};
use tenure_replica::Wish;
use tokio::task::JoinHandle;

use super::{Client, ClientOptions, Endpoint};
use crate::{
    transport::{
        ClientSender, Settings, TransportEvent,
        tests::{Rig, identity},
    },
    wire::{ClientFrame, NodeFrame, Push, Question, Reply},
};

/// What a node of these tests does with a question.
type Behaviour = Box<dyn FnMut(&ClientFrame, &ClientSender) -> Option<Reply> + Send>;

/// A node that answers as it is told.
struct Answering {
    address: String,
    socket: String,
    heard: Arc<Mutex<Vec<Question>>>,
    clients: Arc<Mutex<Vec<ClientSender>>>,
    task: JoinHandle<()>,
}

impl Answering {
    fn start(id: u64, behaviour: Behaviour) -> Self {
        Self::at(id, "127.0.0.1:0", behaviour)
    }

    fn at(id: u64, address: &str, mut behaviour: Behaviour) -> Self {
        let rig = Rig::with(identity(id, id * 10), Settings::default(), address);
        let address = rig.address.to_string();
        let socket = rig.transport.socket().unwrap().to_owned();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let clients = Arc::new(Mutex::new(Vec::new()));
        let (list, connected) = (heard.clone(), clients.clone());
        let task = tokio::spawn(async move {
            // The whole of it, or the listener would go at once.
            let rig = &mut { rig };
            let mut known = std::collections::BTreeMap::new();
            while let Some(event) = rig.events.recv().await {
                match event {
                    TransportEvent::ClientUp { client, to, .. } => {
                        known.insert(client, to.clone());
                        connected.lock().unwrap().push(to);
                    }
                    TransportEvent::ClientFrame { client, frame, .. } => {
                        let to = &known[&client];
                        let number = frame.number;
                        if !matches!(frame.question, Question::Ping | Question::Voters) {
                            list.lock().unwrap().push(frame.question.clone());
                        }
                        if let Some(reply) = behaviour(&frame, to) {
                            to.send(NodeFrame::Answer { number, reply });
                        }
                    }
                    _ => {}
                }
            }
        });
        Self { address, socket, heard, clients, task }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address.clone())
    }

    fn heard(&self) -> Vec<Question> {
        self.heard.lock().unwrap().clone()
    }

    /// Ends the node and all its connections.
    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Closes the connections of all clients.
    fn hang_up(&self) {
        self.clients.lock().unwrap().drain(..).for_each(|client| client.close());
    }
}

/// Answers pings and wishes.
fn helpful() -> Behaviour {
    Box::new(|frame, _| match frame.question {
        Question::Ping => Some(Reply::Pong),
        Question::Wish { .. } => Some(Reply::Outcome(Outcome::Done)),
        Question::Renew { .. } => Some(Reply::Renewed),
        Question::Confirm => Some(Reply::Confirmed),
        Question::Subscribe { .. } => Some(Reply::Subscribed),
        _ => None,
    })
}

/// Answers pings, and questions with these replies in turn; then with nothing.
fn replying(replies: impl IntoIterator<Item = Reply>) -> Behaviour {
    let mut replies: VecDeque<_> = replies.into_iter().collect();
    Box::new(move |frame, _| match frame.question {
        Question::Ping => Some(Reply::Pong),
        Question::Voters => None,
        _ => replies.pop_front(),
    })
}

fn quick() -> ClientOptions {
    ClientOptions {
        timeout: Duration::from_millis(1500),
        silence: Duration::from_millis(400),
        ..ClientOptions::default()
    }
}

async fn connect(nodes: &[&Answering], options: ClientOptions) -> Client {
    let endpoints = nodes.iter().map(|node| node.endpoint()).collect();
    Client::connect(endpoints, options).await.unwrap()
}

fn election(name: &str) -> ElectionName {
    ElectionName::new(name).unwrap()
}

fn pause() -> Wish {
    Wish::Command(Command::Pause { election: election("e") })
}

fn led(revision: u64) -> View {
    View::Led(Leader {
        id: CandidateId::new("c").unwrap(),
        value: Value::default(),
        token: Token::new(revision),
        ttl: Ttl::new(Duration::from_secs(1)).unwrap(),
        since: WallTime::from_micros(1),
    })
}

fn push(name: &str, revision: u64, view: View) -> Push {
    Push {
        election: election(name),
        sighting: Sighting {
            view,
            revision: Revision::new(revision),
            age: Duration::ZERO,
            reason: None,
        },
        holder: None,
        handover: false,
        revoked: false,
        candidates: 1,
        events: Vec::new(),
        mono_ns: 0,
    }
}
