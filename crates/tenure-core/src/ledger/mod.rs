//! The reference meaning of leadership: a pure, deterministic state machine.
//!
//! Replicated by Raft it is the embedded quorum; the test kit uses it as the oracle for other
//! stores. [`Ledger::apply`] takes a command and the wall time that its proposer stamped into
//! it, and gives back the outcome and the events. Two ledgers that apply the same commands in
//! the same order are equal to the byte.
//!
//! Rules that the rest of Tenure relies on:
//!
//! - Every change has its own [`Revision`]; the token of a tenure is the revision of its grant.
//!   So tokens strictly increase over *all* grants, also when one command makes many.
//! - A tenure ends by its holder's own word (resign, transfer, yield, close), by proof of its
//!   death, or by a lease that ran out. An eviction only *revokes*: the successor is granted
//!   when the holder confirms or when its lease can no longer be believed in.
//! - The end of one tenure and the grant of the next are one command.
//!
//! **Invariant:** no deadline lives here. Who proposes an expiry keeps the clock for it.

mod answered;
mod apply;
mod command;
mod election;
mod event;
mod history;
mod member;
mod outcome;
mod session;

use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};
use serde::{Deserialize, Serialize};

pub use command::{Command, SessionEnd, Standing};
pub use election::{Ban, Candidate, Election, Handover, Revocation, Tenure};
pub use event::{Event, EventKind};
pub use history::{EndReason, PastTenure};
pub use member::{Member, MemberChange, Members, Role};
pub use outcome::{Outcome, Refusal};
pub use session::Session;

use crate::{ByName, ElectionName, Incarnation, RequestId, Revision, SessionId, View, WallTime};
use answered::Answered;
use session::Retired;

/// Most sessions that may be open at once.
pub const MAX_SESSIONS: usize = 100_000;
/// Most candidates of one election.
pub const MAX_CANDIDATES: usize = 10_000;
/// Most elections that are remembered. Beyond it, the election that has been without any
/// candidate for longest is forgotten to make room for a new one.
pub const MAX_ELECTIONS: usize = 200_000;
/// Past tenures that each election remembers.
pub const HISTORY_LENGTH: usize = 32;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever asked.
    pub outcome: Outcome,
    /// What changed, in order; each event has the next revision.
    pub events: Vec<Event>,
}

/// Sessions, elections, candidates in order, holders, tokens and history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    revision: Revision,
    /// The latest wall time stamped into any command; history never runs backwards.
    now: WallTime,
    #[serde(with = "session::as_list")]
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions that were closed lately.
    retired: Retired,
    elections: ByName<Election>,
    /// Elections without a candidate, by the revision since which they have none.
    idle: BTreeSet<(Revision, ElectionName)>,
    /// Highest revision of any election that was forgotten, so that no view goes back.
    forgotten: Revision,
    members: Members,
    answered: Answered,
}

impl Ledger {
    /// An empty ledger whose first nodes are `members`.
    #[must_use]
    pub fn new(members: Members) -> Self {
        Self { members, ..Self::default() }
    }

    /// Applies one command.
    ///
    /// `at` is the proposer's wall clock and is used for history only. With a `request`, a
    /// command that was applied before is not applied again: the first answer is given again,
    /// without events.
    pub fn apply(&mut self, request: Option<RequestId>, at: WallTime, command: Command) -> Applied {
        self.now = self.now.max(at);
        let session = command.session();
        if let Some(outcome) = request.and_then(|id| self.answer_to(session, id)) {
            return Applied { outcome, events: Vec::new() };
        }
        let mut step = apply::Step::new(self);
        let outcome = step.run(command);
        let events = step.into_events();
        if let Some(id) = request {
            self.remember(session, id, outcome.clone());
        }
        Applied { outcome, events }
    }

    fn answer_to(&self, session: Option<SessionId>, id: RequestId) -> Option<Outcome> {
        // An answer that was given while the session was not open lies with the common ones.
        let session = session.and_then(|session| self.sessions.get(&session));
        session.and_then(|session| session.answered.get(id)).or_else(|| self.answered.get(id))
    }

    fn remember(&mut self, session: Option<SessionId>, id: RequestId, outcome: Outcome) {
        match session.and_then(|session| self.sessions.get_mut(&session)) {
            Some(session) => session.answered.push(id, outcome, Answered::PER_SESSION),
            None => self.answered.push(id, outcome, Answered::WITHOUT_SESSION),
        }
    }

    /// Number of the last applied change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One election, when it is known.
    #[must_use]
    pub fn election(&self, name: &ElectionName) -> Option<&Election> {
        self.elections.get(name)
    }

    /// All elections whose name begins with `prefix`, in the order of their names.
    pub fn elections<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a ElectionName, &'a Election)> {
        self.elections.sorted(prefix).into_iter()
    }

    /// All elections, in no order that means anything; there may be very many.
    #[must_use]
    pub fn all_elections(&self) -> &ByName<Election> {
        &self.elections
    }

    /// One session, when it is open.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, session)| (id, session))
    }

    /// The open sessions of one process.
    pub fn sessions_of(&self, process: Incarnation) -> impl Iterator<Item = SessionId> {
        let first = SessionId { process, number: 0 };
        let last = SessionId { process, number: u32::MAX };
        self.sessions.range(first..=last).map(|(&id, _)| id)
    }

    /// The nodes of the cluster.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Who leads an election, as far as this ledger goes; an election that was never heard of
    /// is vacant.
    #[must_use]
    pub fn view(&self, name: &ElectionName) -> (View, Revision) {
        match self.elections.get(name) {
            Some(election) => {
                let leader =
                    election.leader(|session| self.sessions.get(&session).map(Session::ttl));
                (leader.map_or(View::Vacant, View::Led), election.revision())
            }
            None => (View::Vacant, self.forgotten),
        }
    }
}
