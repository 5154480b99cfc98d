//! Requests to a quorum: what is open is sent again, unchanged, until it is answered.

mod outgoing;

use std::collections::BTreeMap;

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
use outgoing::Outgoing;

/// Elections that one frame subscribes to: names have at most a few hundred bytes.
const IN_ONE_FRAME: usize = 256;
/// A node that could not answer is asked again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// What a posted frame asked, when it was no request: those are named by their own number.
#[derive(Debug)]
enum Posted {
    Renewal(SessionId, u64),
    Subscription,
}

/// The ordered stream to and from whichever node is connected.
#[derive(Debug)]
pub(super) struct QuorumLine {
    client: Client,
    events: Receiver<ClientEvent>,
    numbers: u64,
    posted: BTreeMap<u64, Posted>,
    outgoing: Outgoing,
    /// What is followed, and whether an observer wants to see it.
    followed: BTreeMap<ElectionName, bool>,
    /// Followed since frames were last sent: one frame for all that are observed, one for others.
    to_follow: [Vec<ElectionName>; 2],
}

impl QuorumLine {
    pub(super) fn new(client: Client) -> Self {
        let events = client.subscribe_raw();
        Self {
            client,
            events,
            numbers: 0,
            posted: BTreeMap::new(),
            outgoing: Outgoing::default(),
            followed: BTreeMap::new(),
            to_follow: Default::default(),
        }
    }

    /// The next news. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        match self.events.recv().await {
            Some(event) => self.on_event(event),
            None => {
                // Too slow a reader is let go of; what was missed is asked for again.
                tokio::time::sleep(RETRY).await;
                self.events = self.client.subscribe_raw();
                self.begin_again();
                None
            }
        }
    }

    /// What has arrived already, if anything has.
    pub(super) fn next_now(&mut self) -> Option<Option<News>> {
        let event = self.events.try_recv().ok()?;
        Some(self.on_event(event))
    }

    fn on_event(&mut self, event: ClientEvent) -> Option<News> {
        match event {
            ClientEvent::Frame(frame) => return self.on_frame(frame),
            ClientEvent::Connected(_) => self.begin_again(),
            ClientEvent::Disconnected { why } => {
                tracing::debug!(%why, "connection lost");
                self.posted.clear();
            }
            ClientEvent::Refused { why } => tracing::warn!(%why, "no node takes this process"),
        }
        None
    }

    fn on_frame(&mut self, frame: NodeFrame) -> Option<News> {
        let (number, reply) = match frame {
            NodeFrame::Push(push) => return Some(News::Seen(word(*push).into())),
            NodeFrame::Answer { number, reply } => (number, reply),
        };
        if let Some(request) = request_number(number) {
            return self.on_reply(request, reply);
        }
        match (self.posted.remove(&number), reply) {
            (Some(Posted::Renewal(session, renewal)), Reply::Renewed) => {
                Some(News::Renewed(session, renewal))
            }
            (Some(Posted::Renewal(session, _)), Reply::Gone) => Some(News::Gone(session)),
            // A renewal without an answer is not repeated: the next one follows soon.
            _ => None,
        }
    }

    fn on_reply(&mut self, number: u64, reply: Reply) -> Option<News> {
        let now = system::moment();
        if let Reply::Outcome(outcome) = reply {
            // It may have been asked twice, and be answered twice.
            return Some(News::Outcome(self.outgoing.answered(number, now)?, outcome));
        }
        tracing::debug!(number, ?reply, "no outcome yet");
        self.outgoing.postpone(number, now + RETRY);
        None
    }

    /// On a fresh connection: first follow, so that no grant is missed, then ask again.
    fn begin_again(&mut self) {
        self.posted.clear();
        self.to_follow = Default::default();
        for (election, observed) in &self.followed {
            self.to_follow[usize::from(*observed)].push(election.clone());
        }
        let now = system::moment();
        self.outgoing.send_all(now);
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

    pub(super) fn follow(&mut self, election: &ElectionName, observed: bool) {
        let known = self.followed.get(election).copied();
        if known.is_none_or(|known| observed && !known) {
            self.followed.insert(election.clone(), observed);
            self.to_follow[usize::from(observed)].push(election.clone());
        }
    }

    pub(super) fn unfollow(&mut self, election: &ElectionName) {
        self.followed.remove(election);
    }

    pub(super) fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        self.outgoing.add(request, command, now);
    }

    /// Sends what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        let [contended, observed] = std::mem::take(&mut self.to_follow);
        for (elections, contends) in [(contended, true), (observed, false)] {
            for elections in elections.chunks(IN_ONE_FRAME) {
                let elections = elections.to_vec();
                let question = Question::Subscribe { elections, prefix: None, contends };
                self.post(question, Posted::Subscription);
            }
        }
        while let Some((request, command)) = self.outgoing.next_due(now) {
            let question = Question::Wish { request, wish: Wish::Command(command) };
            self.send(ClientFrame { number: frame_number(request.number), question });
        }
    }

    pub(super) fn renew(&mut self, session: SessionId, renewal: u64) {
        self.post(Question::Renew { session }, Posted::Renewal(session, renewal));
    }

    fn post(&mut self, question: Question, what: Posted) {
        self.numbers += 1;
        let number = self.numbers * 2 + 1;
        if self.send(ClientFrame { number, question }) {
            self.posted.insert(number, what);
        }
    }

    /// Without a connection it is sent when there is one again.
    fn send(&self, frame: ClientFrame) -> bool {
        let sent = self.client.post(frame);
        sent.inspect_err(|error| tracing::debug!(%error, "not sent")).is_ok()
    }

    pub(super) fn has_open_requests(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.outgoing.next_deadline()
    }
}

/// Requests have even numbers, everything else odd ones: the answer to a request that was sent
/// twice names it, whichever of the two is answered.
fn frame_number(request: u64) -> u64 {
    request * 2
}

fn request_number(frame: u64) -> Option<u64> {
    frame.is_multiple_of(2).then_some(frame / 2)
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
