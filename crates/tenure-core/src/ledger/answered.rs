//! Answers already given, so that a repeated request is answered as it was the first time.

use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::RequestId;

/// The latest answers, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Answered(VecDeque<(RequestId, Outcome)>);

impl Answered {
    /// Answers remembered for each session, twice as many as a client has under way at once: of a
    /// request that was sent twice, the second must not be carried out after what followed the
    /// first.
    pub(super) const PER_SESSION: usize = 128;
    /// Answers remembered for all requests that belong to no session.
    pub(super) const WITHOUT_SESSION: usize = 512;

    pub(super) fn get(&self, id: RequestId) -> Option<Outcome> {
        // A repeated request is nearly always a recent one.
        self.0.iter().rev().find(|(known, _)| *known == id).map(|(_, outcome)| outcome.clone())
    }

    pub(super) fn push(&mut self, id: RequestId, outcome: Outcome, capacity: usize) {
        if self.0.len() >= capacity {
            self.0.pop_front();
        }
        self.0.push_back((id, outcome));
    }
}
