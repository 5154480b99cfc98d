//! The way to the store, whichever it is.

use tenure_core::{
    ElectionName, Moment, RequestId, SessionId,
    backend::{News, Slot, StoreError},
    ledger::Command,
};
use tokio::sync::oneshot;

#[cfg(feature = "quorum")]
use super::quorum::QuorumLine;
use super::store::StoreLine;

/// One ordered stream of wishes to a store, and of news from it.
#[derive(Debug)]
pub(super) enum Line {
    #[cfg(feature = "quorum")]
    Quorum(Box<QuorumLine>),
    Store(Box<StoreLine>),
}

macro_rules! either {
    ($line:expr, $inner:ident => $call:expr) => {
        match $line {
            #[cfg(feature = "quorum")]
            Line::Quorum($inner) => $call,
            Line::Store($inner) => $call,
        }
    };
}

impl Line {
    /// The next news, if what happened is any. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        either!(self, line => line.next().await)
    }

    /// What has arrived already, if anything has; whether it is news or not.
    pub(super) fn next_now(&mut self) -> Option<Option<News>> {
        match self {
            #[cfg(feature = "quorum")]
            Self::Quorum(line) => line.next_now(),
            Self::Store(_) => None,
        }
    }

    /// A command, until it is answered.
    pub(super) fn ask(&mut self, request: RequestId, command: Command, now: Moment) {
        either!(self, line => line.ask(request, command, now));
    }

    /// A renewal, once.
    pub(super) fn renew(&mut self, session: SessionId, renewal: u64) {
        either!(self, line => line.renew(session, renewal));
    }

    /// Takes a slot; the reply comes when the store has answered.
    pub(super) fn take(&self, slot: Slot, reply: oneshot::Sender<Result<Slot, StoreError>>) {
        either!(self, line => line.take(slot, reply));
    }

    /// Follows an election that is contended for, or one that an observer wants to see.
    pub(super) fn follow(&mut self, election: &ElectionName, observed: bool, now: Moment) {
        match self {
            #[cfg(feature = "quorum")]
            Self::Quorum(line) => line.follow(election, observed),
            Self::Store(line) => line.follow(election, now),
        }
    }

    pub(super) fn unfollow(&mut self, election: &ElectionName) {
        either!(self, line => line.unfollow(election));
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Moment) {
        either!(self, line => line.tick(now));
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        either!(self, line => line.next_deadline())
    }

    pub(super) fn has_open_requests(&self) -> bool {
        either!(self, line => line.has_open_requests())
    }
}
