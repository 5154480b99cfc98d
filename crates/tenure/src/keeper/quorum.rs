//! Requests to a quorum: what is open is sent again, unchanged, until it is answered.

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;
use tenure_core::{
    ElectionName, Moment, RequestId, SessionId, View,
    backend::{News, Slot, StoreError, Word},
    candidate::Seen,
    ledger::{Command, Outcome},
};
use tenure_quorum::{
    client::{Client, ClientEvent},
    wire::{ClientFrame, NodeFrame, Push, Question, Reply},
};
use tenure_replica::Wish;
use tokio::sync::{mpsc::Receiver, oneshot};

use crate::system;

/// A request without an answer is sent again after this long on the same connection.
const REPEAT: Duration = Duration::from_secs(1);
/// A node that could not answer is asked again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// What a posted frame asked.
#[derive(Debug)]
enum Posted {
    Request(RequestId),
    Renewal(SessionId, u64),
    Subscription,
}

#[derive(Debug)]
struct Open {
    request: RequestId,
    command: Command,
    send_at: Moment,
}

/// The ordered stream to and from whichever node is connected.
#[derive(Debug)]
pub(super) struct QuorumLine {
    client: Client,
    events: Receiver<ClientEvent>,
    numbers: u64,
    posted: BTreeMap<u64, Posted>,
    /// Requests by their number: their order is that in which they were made.
    open: BTreeMap<u64, Open>,
    followed: BTreeSet<ElectionName>,
}

impl QuorumLine {
    pub(super) fn new(client: Client) -> Self {
        let events = client.subscribe_raw();
        Self {
            client,
            events,
            numbers: 0,
            posted: BTreeMap::new(),
            open: BTreeMap::new(),
            followed: BTreeSet::new(),
        }
    }

    /// The next news. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        match self.events.recv().await {
            Some(ClientEvent::Frame(frame)) => self.on_frame(frame),
            Some(ClientEvent::Connected(_)) => {
                self.begin_again();
                None
            }
            Some(ClientEvent::Disconnected { why }) => {
                tracing::debug!(%why, "connection lost");
                self.posted.clear();
                None
            }
            Some(ClientEvent::Refused { why }) => {
                tracing::warn!(%why, "no node takes this process");
                None
            }
            None => {
                // Too slow a reader is let go of; what was missed is asked for again.
                tokio::time::sleep(RETRY).await;
                self.events = self.client.subscribe_raw();
                self.begin_again();
                None
            }
        }
    }

    fn on_frame(&mut self, frame: NodeFrame) -> Option<News> {
        let (number, reply) = match frame {
            NodeFrame::Push(push) => return Some(News::Seen(word(*push).into())),
            NodeFrame::Answer { number, reply } => (number, reply),
        };
        match (self.posted.remove(&number), reply) {
            (Some(Posted::Request(request)), Reply::Outcome(outcome)) => {
                self.open.remove(&request.number);
                Some(News::Outcome(request, outcome))
            }
            (Some(Posted::Request(request)), reply) => {
                tracing::debug!(%request, ?reply, "no outcome yet");
                if let Some(open) = self.open.get_mut(&request.number) {
                    open.send_at = system::moment() + RETRY;
                }
                None
            }
            (Some(Posted::Renewal(session, renewal)), Reply::Renewed) => {
                Some(News::Renewed(session, renewal))
            }
            (Some(Posted::Renewal(session, _)), Reply::Gone) => Some(News::Gone(session)),
            // A renewal without an answer is not repeated: the next one follows soon.
            _ => None,
        }
    }

    /// On a fresh connection: first follow, so that no grant is missed, then ask again.
    fn begin_again(&mut self) {
        self.posted.clear();
        self.subscribe(self.followed.iter().cloned().collect());
        let now = system::moment();
        for open in self.open.values_mut() {
            open.send_at = now;
        }
        self.tick(now);
    }

    pub(super) fn take(&self, slot: Slot, reply: oneshot::Sender<Result<Slot, StoreError>>) {
        let client = self.client.clone();
        tokio::spawn(async move {
            let Slot { election, name, token } = slot;
            let command = Command::Take { election: election.clone(), token, slot: name };
            let taken = match client.wish(Wish::Command(command)).await {
                Ok(Outcome::Taken { slot, token }) => Ok(Slot { election, name: slot, token }),
                Ok(Outcome::Refused(refusal)) => {
                    Err(StoreError::Refused { why: refusal.to_string() })
                }
                Ok(other) => Err(StoreError::Refused { why: format!("it answered {other:?}") }),
                Err(error) => Err(StoreError::Unavailable { why: error.to_string() }),
            };
            // Whoever asked may have gone.
            let _ = reply.send(taken);
        });
    }

    pub(super) fn follow(&mut self, election: &ElectionName, _now: Moment) {
        if self.followed.insert(election.clone()) {
            self.subscribe(vec![election.clone()]);
        }
    }

    pub(super) fn unfollow(&mut self, election: &ElectionName) {
        self.followed.remove(election);
    }

    fn subscribe(&mut self, elections: Vec<ElectionName>) {
        if !elections.is_empty() {
            let question = Question::Subscribe { elections, prefix: None };
            self.post(question, Posted::Subscription);
        }
    }

    pub(super) fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        self.open.insert(request.number, Open { request, command, send_at: now });
        self.tick(now);
    }

    /// Sends what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        let due = self.open.values_mut().filter(|open| open.send_at <= now);
        let due: Vec<_> = due
            .map(|open| {
                open.send_at = now + REPEAT;
                (open.request, open.command.clone())
            })
            .collect();
        for (request, command) in due {
            let question = Question::Wish { request, wish: Wish::Command(command) };
            self.post(question, Posted::Request(request));
        }
    }

    pub(super) fn renew(&mut self, session: SessionId, renewal: u64) {
        self.post(Question::Renew { session }, Posted::Renewal(session, renewal));
    }

    fn post(&mut self, question: Question, what: Posted) {
        self.numbers += 1;
        let number = self.numbers;
        match self.client.post(ClientFrame { number, question }) {
            Ok(()) => _ = self.posted.insert(number, what),
            // Without a connection it is sent when there is one again.
            Err(error) => tracing::debug!(%error, "not sent"),
        }
    }

    pub(super) fn has_open_requests(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.open.values().map(|open| open.send_at).min()
    }
}

fn word(push: Push) -> Word {
    let token = push.sighting.view.leader().map(|leader| leader.token);
    // A node that knows nothing says nothing about who holds it.
    let seen = (push.sighting.view != View::Unknown).then(|| Seen {
        revision: push.sighting.revision,
        holder: push.holder.zip(token),
        handover: push.handover,
        revoked: push.revoked,
    });
    Word { election: push.election, sighting: push.sighting, seen }
}
