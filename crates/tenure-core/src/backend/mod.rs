//! The port through which elections are held on stores that know only leases: Redis, etcd,
//! ZooKeeper, PostgreSQL, a directory.
//!
//! A store crate implements [`Backend`]: a handful of operations, each one round trip, each
//! repeatable, none with a policy of its own. What to ask when, what an answer means, and what
//! may be believed is decided by two machines that are the same for all stores:
//! the contender ([`crate::candidate`]) and, between it and the store, the [`Registrar`], which
//! answers a contender's commands from a store that has no queue, no sessions table and no log.

mod capabilities;
mod hints;
mod place;
mod record;
mod registrar;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, future::Future, pin::Pin, time::Duration};

pub use capabilities::{Capabilities, Guarantee};
pub use hints::Hints;
pub use place::host_and_port;
pub use record::Record;
pub use registrar::{Effect, Registrar, Report, Step};

use crate::{
    CandidateId, ElectionName, Incarnation, Leader, RequestId, Revision, SessionId, Sighting,
    Token, Value, candidate::Seen, ledger::Outcome, timing::Ttl,
};

/// An operation on its way.
///
/// Cancel safety: dropping it leaves the outcome unknown, never half done.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store that can hold elections.
///
/// Several operations may be under way at once: a renewal must never wait for another answer.
/// Every operation may be repeated, and may take effect after its future was dropped.
///
/// **A session that is not renewed must run out.** A contender forgets a session whose end the
/// store did not confirm, and a process that dies says nothing: what either of them left behind
/// (a lease, a place in a queue) has to end by itself about a ttl after its last renewal.
pub trait Backend: fmt::Debug + Send + Sync {
    /// What this store, as configured, can promise.
    fn capabilities(&self) -> &Capabilities;

    /// Opens a session: from its receipt the store keeps it for at least `ttl`.
    fn open(&self, session: SessionId, ttl: Ttl) -> Answer<'_, ()>;

    /// Ends a session and everything it holds or waits for. Nothing runs under it any more.
    fn close(&self, session: SessionId) -> Answer<'_, ()>;

    /// Contends: takes the election when it is free, and joins its queue when the store has
    /// one. Whoever holds it already gets the same token again and at least a whole ttl from
    /// the receipt.
    fn acquire(&self, bid: Bid) -> Answer<'_, Holding>;

    /// Leaves the queue of an election that this session does not hold.
    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()>;

    /// Extends the session and these holds for at least a whole ttl from the receipt; names
    /// those that this session does not hold (any more).
    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>>;

    /// Ends a tenure whose work has stopped, in favour of a candidate if the store can do that.
    /// False when the session did not hold it with this token.
    fn release(&self, hold: Hold, successor: Option<CandidateId>) -> Answer<'_, bool>;

    /// Ends a tenure of another process that is proved dead, as its own release would have done;
    /// with it may go whatever else that session had. A store that cannot do that does nothing:
    /// the lease runs out.
    fn bury(&self, _hold: Hold) -> Answer<'_, ()> {
        Box::pin(core::future::ready(Ok(())))
    }

    /// How these elections stand, in the same order.
    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>>;

    /// Takes a slot of an election's work for a leader: records it, durably, unless the same
    /// or a later one is recorded, in the order of their bytes. Gives what is recorded then:
    /// who finds the own slot and token there has taken it, however often it asked.
    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        let why = alloc::format!("{} cannot record {}", self.capabilities().store, slot.name);
        Box::pin(core::future::ready(Err(StoreError::Refused { why })))
    }

    /// From now on, [`Backend::changed`] tells about this election too.
    fn follow(&self, election: ElectionName);

    /// Nobody cares about it any more.
    fn unfollow(&self, election: &ElectionName);

    /// The next hint that something may have changed. A store that cannot push never answers;
    /// the Registrar's own clocks find every change all the same, only later.
    ///
    /// Cancel safety: safe, a hint that arrives meanwhile is given by the next call.
    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>>;
}

/// A candidacy, as a store must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bid {
    /// The candidate's session.
    pub session: SessionId,
    /// The contest.
    pub election: ElectionName,
    /// The name under which it contends.
    pub candidate: CandidateId,
    /// What observers are told about it.
    pub value: Value,
    /// Length of its lease.
    pub ttl: Ttl,
}

/// A tenure that a session holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Who holds it.
    pub session: SessionId,
    /// The contest.
    pub election: ElectionName,
    /// Its fencing token.
    pub token: Token,
    /// Length of its lease.
    pub ttl: Ttl,
}

/// A slot of an election's work, one tick of a schedule, say: whoever takes it does that work,
/// and nobody does it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The contest.
    pub election: ElectionName,
    /// The slot. A later one is higher in the order of its bytes, as dates are.
    pub name: Value,
    /// The tenure that takes it.
    pub token: Token,
}

impl Slot {
    /// What is recorded once somebody has asked for this one, `before` being recorded.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.name >= self.name => before,
            _ => self,
        }
    }

    /// As one line, for stores that keep a text.
    #[must_use]
    pub fn to_text(&self) -> String {
        alloc::format!("{} {}", self.token, self.name)
    }

    /// From such a line; none when it is something else.
    #[must_use]
    pub fn from_text(election: &ElectionName, text: &str) -> Option<Self> {
        let (token, name) = text.split_once(' ')?;
        let (token, name) = (Token::new(token.parse().ok()?), Value::new(name).ok()?);
        Some(Self { election: election.clone(), name, token })
    }
}

/// How an election stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who holds it.
    pub holder: Option<(SessionId, Leader)>,
    /// Never goes back, and never below the token of a tenure that is or was held.
    pub revision: Revision,
    /// Place in the queue of whoever asked, from 1; stores without a queue say 1.
    pub position: u32,
    /// After this long it is worth asking again, for example because the lease has run out by
    /// then. None when the store tells of every change.
    pub again: Option<Duration>,
}

impl Holding {
    /// The token, when this session holds it.
    #[must_use]
    pub fn token_of(&self, session: SessionId) -> Option<Token> {
        self.holder.as_ref().filter(|(holder, _)| *holder == session).map(|(_, led)| led.token)
    }
}

/// A hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These elections may have changed.
    Elections(Vec<ElectionName>),
    /// Any election may have changed; hints may have been missed.
    Everything,
    /// The session is gone.
    Gone(SessionId),
}

/// Why an operation has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store could not be asked, or its answer did not come: what became of the operation
    /// is unknown.
    #[error("the store gives no answer: {why}")]
    Unavailable {
        /// In words.
        why: String,
    },
    /// The store answered that it cannot do this now; nothing was changed.
    #[error("the store refuses: {why}")]
    Refused {
        /// What it said, why, and what to do about it.
        why: String,
    },
    /// The store says that this session is over: whatever it held is lost.
    #[error("the store does not know session {session} (any more)")]
    NoSession {
        /// The session.
        session: SessionId,
    },
}

/// What a store is connected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Where it is, and how: `redis://...`, `file:///...`.
    pub url: String,
    /// This start of the process.
    pub process: Incarnation,
    /// Lease of its sessions, as asked for; [`Capabilities::lease`] says what the store makes
    /// of it.
    pub ttl: Ttl,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// Why a store cannot be used. Nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("{what}: {why}")]
    Url {
        /// The URL without its secrets.
        what: String,
        /// What is wrong, and an example of what is right.
        why: String,
    },
    /// It gives no answer; the same may succeed later.
    #[error("{store} gives no answer: {why}")]
    Unavailable {
        /// Which store.
        store: String,
        /// In words.
        why: String,
    },
    /// It answers, and cannot be used.
    #[error("{store} cannot be used: {why}")]
    Unusable {
        /// Which store.
        store: String,
        /// Why, and what to do about it.
        why: String,
    },
}

/// News from a store, whichever it is, for the contender and for observers.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The outcome of a request.
    Outcome(RequestId, Outcome),
    /// A renewal, by its number, was acknowledged.
    Renewed(SessionId, u64),
    /// The session is not open (any more).
    Gone(SessionId),
    /// An election as it stands.
    Seen(Box<Word>),
}

/// The store's word on one election.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The election.
    pub election: ElectionName,
    /// For observers.
    pub sighting: Sighting,
    /// For a contender; none when nothing follows for it.
    pub seen: Option<Seen>,
}
