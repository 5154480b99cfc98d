//! The shell around the registrar: runs its steps on a store of leases.

use std::{collections::VecDeque, sync::Arc};

use core::time::Duration;
use tenure_core::{
    ElectionName, Moment, RequestId, SessionId,
    backend::{Backend, Effect, News, Registrar, Report, Step, StoreError},
    ledger::Command,
    timing::Ttl,
};
use tokio::task::JoinSet;

use crate::system;

type Done = (u64, Result<Report, StoreError>);

/// The way to a store of leases.
#[derive(Debug)]
pub(super) struct StoreLine {
    backend: Arc<dyn Backend>,
    registrar: Registrar,
    running: JoinSet<Done>,
    news: VecDeque<News>,
    timeout: Duration,
}

impl StoreLine {
    /// A step that takes longer than `timeout`, or than the lease would last, has no answer.
    pub(super) fn new(backend: Arc<dyn Backend>, ttl: Ttl, timeout: Duration) -> Self {
        Self {
            backend,
            registrar: Registrar::new(ttl),
            running: JoinSet::new(),
            news: VecDeque::new(),
            timeout: timeout.min(ttl.get()),
        }
    }

    pub(super) async fn next(&mut self) -> Option<News> {
        if self.news.is_empty() {
            tokio::select! {
                Some(done) = self.running.join_next() => self.on_done(done),
                change = self.backend.changed() => self.registrar.changed(change, system::moment()),
            }
            self.act();
        }
        self.news.pop_front()
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok((number, result)) => {
                if let Err(error) = &result {
                    tracing::debug!(number, %error, "no answer from the store");
                }
                self.registrar.done(number, result, system::moment());
            }
            // Nothing aborts a step, so it has panicked: a lease must not be renewed by half.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn act(&mut self) {
        while let Some(effect) = self.registrar.poll() {
            match effect {
                Effect::Run { number, step } => {
                    let (backend, timeout) = (Arc::clone(&self.backend), self.timeout);
                    self.running.spawn(async move {
                        let result = tokio::time::timeout(timeout, run(&*backend, step)).await;
                        (number, result.unwrap_or_else(|_| Err(too_slow(timeout))))
                    });
                }
                Effect::Follow(election) => self.backend.follow(election),
                Effect::Unfollow(election) => self.backend.unfollow(&election),
                Effect::Say(news) => self.news.push_back(news),
            }
        }
    }

    pub(super) fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        self.registrar.ask(request, command, now);
        self.act();
    }

    pub(super) fn renew(&mut self, session: SessionId, renewal: u64) {
        self.registrar.renew(session, renewal);
        self.act();
    }

    pub(super) fn follow(&mut self, election: &ElectionName, now: Moment) {
        self.registrar.follow(election, now);
        self.act();
    }

    pub(super) fn unfollow(&mut self, election: &ElectionName) {
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
