//! The shell around the registrar: runs its steps on a store of leases.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use core::time::Duration;
use tenure_core::{
    ElectionName, Incarnation, Moment, RequestId, SessionId,
    backend::{
        Backend, Change, Effect, Hold, News, Registrar, Report, Slot, Step, StoreError, Word,
    },
    ledger::Command,
    timing::Ttl,
};
use tokio::{sync::oneshot, task::JoinSet};

use super::witness::Witness;
use crate::system;

type Done = (u64, Result<Report, StoreError>);

/// Questions that are under way at once. A store that answers them one after another, because
/// of its disk, say, must never have more of them before a renewal: a thousand campaigns that
/// begin together once cost the leases of those that were elected first.
const WINDOW: usize = 16;

/// The way to a store of leases.
#[derive(Debug)]
pub(super) struct StoreLine {
    backend: Arc<dyn Backend>,
    registrar: Registrar,
    running: JoinSet<Done>,
    /// Questions that may wait, and how many of them do not.
    waiting: VecDeque<(u64, Step)>,
    asked: BTreeSet<u64>,
    burials: JoinSet<ElectionName>,
    /// The refusal that was told last.
    refused: Option<String>,
    news: VecDeque<News>,
    timeout: Duration,
    witness: Witness,
    /// What this process contends for.
    contended: BTreeSet<ElectionName>,
}

impl StoreLine {
    /// A step that takes longer than `timeout`, or than the lease would last, has no answer.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        ttl: Ttl,
        timeout: Duration,
        process: Incarnation,
    ) -> Self {
        Self {
            backend,
            registrar: Registrar::new(ttl),
            running: JoinSet::new(),
            waiting: VecDeque::new(),
            asked: BTreeSet::new(),
            burials: JoinSet::new(),
            refused: None,
            news: VecDeque::new(),
            timeout: timeout.min(ttl.get()),
            witness: Witness::new(process),
            contended: BTreeSet::new(),
        }
    }

    /// The death of this process proves that its work has stopped.
    pub(super) fn show_oneself(&self) {
        if let Err(error) = self.witness.show_oneself() {
            tracing::debug!(%error, "nobody can prove the death of this process");
        }
    }

    pub(super) async fn next(&mut self) -> Option<News> {
        if self.news.is_empty() {
            tokio::select! {
                Some(done) = self.running.join_next() => self.on_done(done),
                change = self.backend.changed() => self.registrar.changed(change, system::moment()),
                Some(buried) = self.burials.join_next() => self.on_buried(buried.ok()),
                holds = self.witness.death() => holds.into_iter().for_each(|hold| self.bury(hold)),
            }
            self.act();
        }
        self.news.pop_front()
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok((number, result)) => {
                self.asked.remove(&number);
                self.complain(number, &result);
                self.registrar.done(number, result, system::moment());
            }
            // Nothing aborts a step, so it has panicked: a lease must not be renewed by half.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// A refusal is repeated in the background; whoever looks for the reason finds it here.
    fn complain(&mut self, number: u64, result: &Result<Report, StoreError>) {
        match result {
            Err(StoreError::Refused { why }) if self.refused.as_ref() != Some(why) => {
                tracing::warn!(%why, "the store refuses; it is asked again and again");
                self.refused = Some(why.clone());
            }
            Err(error) => tracing::debug!(number, %error, "no answer from the store"),
            Ok(_) => self.refused = None,
        }
    }

    fn act(&mut self) {
        while let Some(effect) = self.registrar.poll() {
            match effect {
                Effect::Run { number, step } if may_wait(&step) => {
                    self.waiting.push_back((number, step));
                }
                Effect::Run { number, step } => self.begin(number, step),
                Effect::Follow(election) => self.backend.follow(election),
                Effect::Unfollow(election) => self.backend.unfollow(&election),
                Effect::Say(news) => {
                    if let News::Seen(word) = &news {
                        self.mind_holder(word);
                    }
                    self.news.push_back(news);
                }
            }
        }
        while self.asked.len() < WINDOW {
            let Some((number, step)) = self.waiting.pop_front() else { break };
            self.asked.insert(number);
            self.begin(number, step);
        }
    }

    fn begin(&mut self, number: u64, step: Step) {
        let (backend, timeout) = (Arc::clone(&self.backend), self.timeout);
        self.running.spawn(async move {
            let result = tokio::time::timeout(timeout, run(&*backend, step)).await;
            (number, result.unwrap_or_else(|_| Err(too_slow(timeout))))
        });
    }

    /// Whoever holds what this process follows is watched, if it runs on this machine.
    fn mind_holder(&mut self, word: &Word) {
        let held = word.seen.as_ref().and_then(|seen| seen.holder).zip(word.sighting.view.leader());
        let election = word.election.clone();
        match held {
            Some(((session, token), leader)) => {
                let hold = Hold { session, election, token, ttl: leader.ttl };
                if let Some(hold) = self.witness.sees(hold) {
                    self.bury(hold);
                }
            }
            None => self.witness.forget(&election),
        }
    }

    /// Ends a tenure whose holder is proved dead, for whoever waits for it; who only observes
    /// changes nothing.
    fn bury(&mut self, hold: Hold) {
        if !self.contended.contains(&hold.election) {
            return;
        }
        let (backend, timeout) = (Arc::clone(&self.backend), self.timeout);
        tracing::info!(election = %hold.election, token = %hold.token, "the holder has died");
        self.burials.spawn(async move {
            // Without an answer the lease runs out all the same.
            let buried = tokio::time::timeout(timeout, async {
                while backend.bury(hold.clone()).await.is_err() {
                    tokio::time::sleep(timeout / 16).await;
                }
            });
            let _ = buried.await;
            hold.election
        });
    }

    /// A store need not tell this process of what this process did.
    fn on_buried(&mut self, election: Option<ElectionName>) {
        let change = Change::Elections(election.into_iter().collect());
        self.registrar.changed(change, system::moment());
    }

    pub(super) fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        if let Command::Campaign { election, .. } = &command {
            self.contended.insert(election.clone());
        }
        self.registrar.ask(request, command, now);
        self.act();
    }

    pub(super) fn renew(&mut self, session: SessionId, renewal: u64) {
        self.registrar.renew(session, renewal);
        self.act();
    }

    pub(super) fn take(&self, slot: Slot, reply: oneshot::Sender<Result<Slot, StoreError>>) {
        let (backend, timeout) = (Arc::clone(&self.backend), self.timeout);
        tokio::spawn(async move {
            let taken = tokio::time::timeout(timeout, backend.take(slot)).await;
            // Whoever asked may have gone.
            let _ = reply.send(taken.unwrap_or_else(|_| Err(too_slow(timeout))));
        });
    }

    pub(super) fn follow(&mut self, election: &ElectionName, now: Moment) {
        self.registrar.follow(election, now);
        self.act();
    }

    pub(super) fn unfollow(&mut self, election: &ElectionName) {
        self.contended.remove(election);
        self.witness.forget(election);
        self.registrar.unfollow(election);
        self.act();
    }

    pub(super) fn tick(&mut self, now: Moment) {
        self.registrar.tick(now);
        self.act();
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        match self.news.is_empty() {
            true => self.registrar.next_deadline(),
            false => Some(Moment::default()),
        }
    }

    pub(super) fn has_open_requests(&self) -> bool {
        self.registrar.has_open_requests()
    }
}

/// Whether a step may wait for others. Renewals and releases do not.
fn may_wait(step: &Step) -> bool {
    matches!(step, Step::Acquire(_) | Step::Look(_) | Step::Withdraw { .. })
}

async fn run(backend: &dyn Backend, step: Step) -> Result<Report, StoreError> {
    Ok(match step {
        Step::Open { session, ttl } => backend.open(session, ttl).await.map(|()| Report::Done)?,
        Step::Close { session } => backend.close(session).await.map(|()| Report::Done)?,
        Step::Acquire(bid) => Report::Stood(vec![backend.acquire(bid).await?]),
        Step::Withdraw { session, election } => {
            backend.withdraw(session, election).await.map(|()| Report::Done)?
        }
        Step::Renew { session, holds } => Report::Lapsed(backend.renew(session, holds).await?),
        Step::Release { hold, successor } => {
            Report::Released(backend.release(hold, successor).await?)
        }
        Step::Look(elections) => Report::Stood(backend.look(elections).await?),
    })
}

fn too_slow(timeout: Duration) -> StoreError {
    StoreError::Unavailable { why: format!("nothing came within {timeout:?}") }
}
