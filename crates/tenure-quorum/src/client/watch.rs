//! Following elections over all reconnects.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tenure_core::{ElectionName, Revision, Sighting, View};
use tokio::{sync::Notify, time::Instant};

use crate::{
    clock,
    wire::{Push, Question},
};

/// Changes of one election that wait for a slow reader; older ones are forgotten.
const EVENTS: usize = 256;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Watched {
    /// How an election stands. When the reader was slow, this holds the latest state and all
    /// that changed since the last one (at most 256 changes). Its revision never goes back.
    Push(Box<Push>),
    /// No node has been heard for longer than the limit. Before it, each election that this
    /// watch knows was pushed as `Unknown`. Pushes follow once a node is there again.
    Lost {
        /// Why, in words.
        why: String,
    },
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<ElectionName>,
    latest: BTreeMap<ElectionName, Push>,
    lost: Option<String>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, push: Push) {
        let mut waiting = self.lock();
        match waiting.latest.get_mut(&push.election) {
            Some(last) => {
                let mut events = std::mem::take(&mut last.events);
                *last = push;
                events.append(&mut last.events);
                events.drain(..events.len().saturating_sub(EVENTS));
                last.events = events;
            }
            None => {
                waiting.order.push_back(push.election.clone());
                waiting.latest.insert(push.election.clone(), push);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }
}

/// Follows elections until it is dropped; it ends by itself when the last [`super::Client`] is
/// dropped.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
}

impl Watch {
    /// The next news; none when the client has stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Watched> {
        loop {
            if let Some(news) = self.take() {
                return news;
            }
            self.queue.wake.notified().await;
        }
    }

    fn take(&mut self) -> Option<Option<Watched>> {
        let mut waiting = self.queue.lock();
        if let Some(election) = waiting.order.pop_front() {
            return waiting.latest.remove(&election).map(|push| Some(Watched::Push(push.into())));
        }
        if let Some(why) = waiting.lost.take() {
            return Some(Some(Watched::Lost { why }));
        }
        waiting.closed.then_some(None)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
    }
}

/// What a watch follows.
#[derive(Debug, Clone)]
pub(super) struct Interest {
    pub(super) elections: Vec<ElectionName>,
    pub(super) prefix: Option<String>,
}

impl Interest {
    fn covers(&self, election: &ElectionName) -> bool {
        self.elections.contains(election)
            || self.prefix.as_ref().is_some_and(|prefix| election.as_str().starts_with(prefix))
    }

    pub(super) fn question(&self) -> Question {
        Question::Subscribe {
            elections: self.elections.clone(),
            prefix: self.prefix.clone(),
            contends: false,
        }
    }
}

/// A watch as the client's task keeps it.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) interest: Interest,
    /// The last push of each election, without its events, and when it came.
    known: BTreeMap<ElectionName, (Push, Instant)>,
    queue: Arc<Queue>,
}

impl Following {
    pub(super) fn new(interest: Interest) -> (Self, Watch) {
        let queue = Arc::new(Queue::default());
        let watch = Watch { queue: queue.clone() };
        (Self { interest, known: BTreeMap::new(), queue }, watch)
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.queue.lock().closed
    }

    /// Passes a push on unless it says nothing new. A node that lags behind one that was heard
    /// before may say that it does not know, but not what was true earlier.
    pub(super) fn on_push(&mut self, push: &Push) {
        if !self.interest.covers(&push.election) {
            return;
        }
        let mut push = push.clone();
        if let Some((last, _)) = self.known.get(&push.election) {
            let seen = last.sighting.revision;
            if push.sighting.revision < seen {
                if push.sighting.view != View::Unknown {
                    return;
                }
                push.sighting.revision = seen;
            }
            if push.events.is_empty() && says_the_same(last, &push) {
                return;
            }
        }
        let events = std::mem::take(&mut push.events);
        self.known.insert(push.election.clone(), (push.clone(), Instant::now()));
        push.events = events;
        self.queue.put(push);
    }

    /// No node was heard for longer than the limit.
    pub(super) fn lose(&mut self, why: &str) {
        for election in &self.interest.elections {
            if !self.known.contains_key(election) {
                let blank = (blank(election.clone()), Instant::now());
                self.known.insert(election.clone(), blank);
            }
        }
        for (push, at) in self.known.values_mut() {
            push.sighting.view = View::Unknown;
            push.sighting.age += at.elapsed();
            push.sighting.reason = Some(why.to_owned());
            push.mono_ns = clock::monotonic_nanos();
            *at = Instant::now();
            self.queue.put(push.clone());
        }
        self.queue.lock().lost = Some(why.to_owned());
        self.queue.wake.notify_one();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_one();
    }
}

fn says_the_same(one: &Push, other: &Push) -> bool {
    let told = |push: &Push| (push.holder, push.handover, push.revoked, push.candidates);
    one.sighting.revision == other.sighting.revision
        && one.sighting.view == other.sighting.view
        && one.sighting.reason == other.sighting.reason
        && told(one) == told(other)
}

/// An election of which nothing was ever heard.
fn blank(election: ElectionName) -> Push {
    let sighting = Sighting {
        view: View::Unknown,
        revision: Revision::default(),
        age: Duration::ZERO,
        reason: None,
    };
    Push {
        election,
        sighting,
        holder: None,
        handover: false,
        revoked: false,
        candidates: 0,
        events: Vec::new(),
        mono_ns: 0,
    }
}
