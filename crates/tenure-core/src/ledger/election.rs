//! One contest: its candidates in order, its present tenure, its past ones.

use alloc::{collections::VecDeque, vec::Vec};
use core::{cmp::Reverse, time::Duration};
use serde::{Deserialize, Serialize};

use super::{HISTORY_LENGTH, PastTenure, Standing};
use crate::{CandidateId, Leader, Revision, SessionId, Token, Value, WallTime, timing::Ttl};

/// One contender, waiting or leading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Under which name it contends.
    pub id: CandidateId,
    /// The session that carries it.
    pub session: SessionId,
    /// What observers are told about it.
    pub value: Value,
    /// Its place in the order of succession.
    pub standing: Standing,
    /// Revision since which it waits; a leader that handed over starts again at the end.
    pub arrived: Revision,
}

/// A hand-over that the leader was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Who is next; without a name, the first in the order of succession.
    pub to: Option<CandidateId>,
}

/// An eviction under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// For how long the evicted candidate may not contend.
    pub ban: Option<Duration>,
}

/// The present hold on an election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// Its fencing token.
    pub token: Token,
    /// Who leads.
    pub candidate: CandidateId,
    /// The session that carries it.
    pub session: SessionId,
    /// Wall time of the grant.
    pub since: WallTime,
    /// For how long nobody led before it; none when nobody led before.
    pub gap: Option<Duration>,
    /// Whether the leader was asked to hand over.
    pub handover: Option<Handover>,
    /// Whether it was revoked. The leader must stop; the successor waits until it has, or until
    /// it can no longer believe in its lease.
    pub revoked: Option<Revocation>,
}

/// A candidate that may not contend for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Who.
    pub candidate: CandidateId,
    /// For how long in all; the keeper of the clocks counts it.
    pub length: Duration,
}

/// One contest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    pub(super) revision: Revision,
    pub(super) candidates: Vec<Candidate>,
    pub(super) tenure: Option<Tenure>,
    pub(super) paused: bool,
    pub(super) bans: Vec<Ban>,
    /// Whom a hand-over named while the election was paused: next when it is resumed.
    pub(super) heir: Option<CandidateId>,
    pub(super) history: VecDeque<PastTenure>,
    /// Since when nobody leads, after somebody did.
    pub(super) vacant_since: Option<WallTime>,
    /// The last slot of its work that was taken, and the tenure that took it.
    #[serde(default)]
    pub(super) slot: Option<(Value, Token)>,
    /// Since when nobody contends.
    pub(super) idle_since: Option<Revision>,
}

impl Election {
    /// Number of the last change to this election.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The present tenure.
    #[must_use]
    pub fn tenure(&self) -> Option<&Tenure> {
        self.tenure.as_ref()
    }

    /// Whether no new leader is granted for now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Candidates that may not contend for now.
    #[must_use]
    pub fn bans(&self) -> &[Ban] {
        &self.bans
    }

    /// Past tenures, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &PastTenure> + ExactSizeIterator {
        self.history.iter()
    }

    /// The last slot of its work that was taken, and the tenure that took it.
    #[must_use]
    pub fn slot(&self) -> Option<(&Value, Token)> {
        self.slot.as_ref().map(|(slot, token)| (slot, *token))
    }

    /// Everybody who waits, the next leader first.
    #[must_use]
    pub fn waiting(&self) -> Vec<&Candidate> {
        let leads = self.tenure.as_ref().map(|tenure| tenure.session);
        let mut waiting: Vec<_> =
            self.candidates.iter().filter(|candidate| Some(candidate.session) != leads).collect();
        waiting.sort_by_key(|candidate| succession(candidate));
        waiting
    }

    /// How many of those who wait come before a session's contender.
    pub(super) fn ahead_of(&self, session: SessionId) -> usize {
        let leads = self.tenure.as_ref().map(|tenure| tenure.session);
        let Some(own) = self.candidate(session).map(succession) else { return 0 };
        let waiting = self.candidates.iter().filter(|other| Some(other.session) != leads);
        waiting.filter(|other| succession(other) < own).count()
    }

    /// How many contend, the leader included.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// The contender that a session carries.
    #[must_use]
    pub fn candidate(&self, session: SessionId) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.session == session)
    }

    /// The contender of that name.
    #[must_use]
    pub fn candidate_named(&self, id: &CandidateId) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.id == *id)
    }

    /// The leader as observers are told.
    pub(super) fn leader(&self, ttl: impl Fn(SessionId) -> Option<Ttl>) -> Option<Leader> {
        let tenure = self.tenure.as_ref()?;
        let candidate = self.candidate(tenure.session)?;
        Some(Leader {
            id: candidate.id.clone(),
            value: candidate.value.clone(),
            token: tenure.token,
            ttl: ttl(tenure.session)?,
            since: tenure.since,
        })
    }

    /// Who is granted next: the one a hand-over names if it may lead, else the first in the
    /// order of succession. `avoid` is passed over as long as there is somebody else.
    pub(super) fn successor(
        &self,
        named: Option<&CandidateId>,
        avoid: Option<SessionId>,
    ) -> Option<&Candidate> {
        let eligible = || self.candidates.iter().filter(|candidate| candidate.standing.eligible);
        named
            .and_then(|id| eligible().find(|candidate| candidate.id == *id))
            .or_else(|| {
                eligible()
                    .filter(|candidate| Some(candidate.session) != avoid)
                    .min_by_key(|candidate| succession(candidate))
            })
            .or_else(|| eligible().min_by_key(|candidate| succession(candidate)))
    }

    pub(super) fn remember(&mut self, past: PastTenure) {
        if self.history.len() >= HISTORY_LENGTH {
            self.history.pop_front();
        }
        self.history.push_back(past);
    }

    pub(super) fn past(&self, token: Token) -> Option<&PastTenure> {
        self.history.iter().rev().find(|past| past.token == token)
    }

    pub(super) fn token(&self) -> Option<Token> {
        self.tenure.as_ref().map(|tenure| tenure.token)
    }
}

/// Sort key of the order of succession: eligible first, then priority, then rank, then arrival.
fn succession(candidate: &Candidate) -> (Reverse<Standing>, Revision) {
    (Reverse(candidate.standing), candidate.arrived)
}
