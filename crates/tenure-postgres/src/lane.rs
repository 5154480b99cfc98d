//! A connection that is made again whenever it is needed and gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tenure_core::backend::{ConnectError, StoreError};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Row;

use crate::link::{Dial, Link, Param};

/// Waits between attempts to connect: a server that is in trouble forks a process for each.
const SHORTEST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Statements of one kind, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Lane {
    dial: Arc<Dial>,
    listens: bool,
    patience: Duration,
    state: Mutex<State>,
    /// Held from question to answer, unless the connection is known to be ours alone: PgBouncer
    /// 1.18 gives a server's connection to the next client after the first of several answers,
    /// which then gets the others.
    turn: Mutex<()>,
    direct: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    failure: Option<Failure>,
}

/// It could not be connected, and is not tried again for a while.
#[derive(Debug)]
struct Failure {
    rest: Duration,
    until: Instant,
    error: ConnectError,
}

impl Lane {
    /// After so much `patience` a silent connection is given up.
    pub(crate) fn new(dial: &Arc<Dial>, listens: bool, patience: Duration) -> Self {
        Self {
            dial: Arc::clone(dial),
            listens,
            patience,
            state: Mutex::default(),
            turn: Mutex::default(),
            direct: AtomicBool::new(false),
        }
    }

    /// No pooler is in between: from now on several statements may be under way at once.
    pub(crate) fn is_direct(&self) {
        self.direct.store(true, Ordering::Relaxed);
    }

    async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.direct.load(Ordering::Relaxed) {
            true => None,
            false => Some(self.turn.lock().await),
        }
    }

    /// The connection; made if there is none.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, ConnectError> {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_up()) {
            return Ok(Arc::clone(link));
        }
        state.link = None;
        let rest = match &state.failure {
            Some(failure) if failure.until > Instant::now() => return Err(failure.error.clone()),
            Some(failure) => (failure.rest * 2).min(LONGEST_REST),
            None => SHORTEST_REST,
        };
        match self.dial.link(self.listens).await {
            Ok(link) => {
                let link = Arc::new(link);
                *state = State { link: Some(Arc::clone(&link)), failure: None };
                Ok(link)
            }
            Err(error) => {
                let until = Instant::now() + rest;
                state.failure = Some(Failure { rest, until, error: error.clone() });
                Err(error)
            }
        }
    }

    /// Asks one statement.
    pub(crate) async fn ask(
        &self,
        statement: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let _turn = self.turn().await;
        let link = self.link().await.map_err(unreached)?;
        link.ask(statement, params, self.patience).await
    }

    /// Asks two statements in this order, and does not wait in between if it need not.
    pub(crate) async fn ask_both(
        &self,
        (first, params): (&str, &[Param<'_>]),
        (second, more): (&str, &[Param<'_>]),
    ) -> (Result<Vec<Row>, StoreError>, Result<Vec<Row>, StoreError>) {
        let turn = self.turn().await;
        let link = match self.link().await {
            Ok(link) => link,
            Err(error) => return (Err(unreached(error.clone())), Err(unreached(error))),
        };
        if turn.is_some() {
            let first = link.ask(first, params, self.patience).await;
            return (first, link.ask(second, more, self.patience).await);
        }
        // `biased`: the first is sent first.
        tokio::join!(
            biased;
            link.ask(first, params, self.patience),
            link.ask(second, more, self.patience)
        )
    }
}

fn unreached(error: ConnectError) -> StoreError {
    match error {
        ConnectError::Unusable { why, .. } => StoreError::Refused { why },
        error => StoreError::Unavailable { why: error.to_string() },
    }
}
