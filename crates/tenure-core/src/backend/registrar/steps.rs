//! What the registrar asks of the shell, and what it remembers of what is under way.

use alloc::{string::String, vec::Vec};

use super::super::{Bid, Hold, Holding, News};
use crate::{
    CandidateId, ElectionName, Moment, RequestId, SessionId, ledger::Refusal, timing::Ttl,
};

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Run a step, without waiting for others, and report it with
    /// [`super::Registrar::done`] under this number. A step that has no answer in time is
    /// reported as [`super::super::StoreError::Unavailable`].
    Run {
        /// Names the step.
        number: u64,
        /// What to do.
        step: Step,
    },
    /// [`super::super::Backend::follow`] this election.
    Follow(ElectionName),
    /// [`super::super::Backend::unfollow`] it.
    Unfollow(ElectionName),
    /// Tell the contender and the observers.
    Say(News),
}

/// One operation of a [`super::super::Backend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// [`super::super::Backend::open`], reported with [`Report::Done`].
    Open {
        /// The session.
        session: SessionId,
        /// Its lease.
        ttl: Ttl,
    },
    /// [`super::super::Backend::close`], reported with [`Report::Done`].
    Close {
        /// The session.
        session: SessionId,
    },
    /// [`super::super::Backend::acquire`], reported with one [`Report::Stood`].
    Acquire(Bid),
    /// [`super::super::Backend::withdraw`], reported with [`Report::Done`].
    Withdraw {
        /// The candidate's session.
        session: SessionId,
        /// The contest.
        election: ElectionName,
    },
    /// [`super::super::Backend::renew`], reported with [`Report::Lapsed`].
    Renew {
        /// The session.
        session: SessionId,
        /// What it holds.
        holds: Vec<Hold>,
    },
    /// [`super::super::Backend::release`], reported with [`Report::Released`].
    Release {
        /// The tenure that ends.
        hold: Hold,
        /// Who is next, if the store can see to it.
        successor: Option<CandidateId>,
    },
    /// [`super::super::Backend::look`], reported with [`Report::Stood`].
    Look(Vec<ElectionName>),
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It is done.
    Done,
    /// How the elections stand, in the order asked.
    Stood(Vec<Holding>),
    /// What the session does not hold (any more) of what was to be renewed.
    Lapsed(Vec<ElectionName>),
    /// Whether it was held with that token.
    Released(bool),
}

/// A step that has not been reported.
#[derive(Debug)]
pub(super) enum UnderWay {
    Open {
        request: RequestId,
        session: SessionId,
    },
    Close {
        request: Option<RequestId>,
        session: SessionId,
        until: Moment,
    },
    Renew {
        session: SessionId,
        holds: Vec<Hold>,
    },
    Acquire(Bid),
    /// A withdrawal or a release.
    Ending(Bid),
    Look(Vec<ElectionName>),
}

pub(super) fn unsupported(what: &str) -> Refusal {
    Refusal::Unsupported { what: String::from(what) }
}
