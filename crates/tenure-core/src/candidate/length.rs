//! The length of a session's lease, while it changes.
//!
//! Longer: the store is asked; once it has answered that it grants the longer lease, and not
//! before, renewals that are *sent from then on* count with it.
//!
//! Shorter: from now on no renewal counts with the longer length, also none that is under way.
//! What was believed by then is still believed. Once the renewals that count with the shorter
//! length have caught up with it, nothing rests on the longer one any more, and the store is
//! asked. So no deadline ever goes back, and whoever has copied one does not act on it too long.
//!
//! **Invariant:** at every moment, and whatever became of a request without an answer, each
//! deadline that this process believes in is covered by an acknowledged renewal counted with a
//! length that the store grants. One request is under way at a time, and each has a number, so
//! that a late copy of an older one changes nothing.

use crate::timing::Ttl;

/// A request to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retiming {
    pub(super) ttl: Ttl,
    /// Counts the requests of one session from 1.
    pub(super) number: u32,
}

#[derive(Debug)]
pub(super) struct Length {
    /// What the store grants, as far as its answers say.
    granted: Ttl,
    /// What renewals count with: never more than the store grants.
    counting: Ttl,
    /// What was asked for and is not answered.
    asked: Option<Ttl>,
    requests: u32,
    /// The store does not change lengths.
    refused: bool,
}

impl Length {
    pub(super) fn new(ttl: Ttl) -> Self {
        Self { granted: ttl, counting: ttl, asked: None, requests: 0, refused: false }
    }

    pub(super) fn counting(&self) -> Ttl {
        self.counting
    }

    /// Moves towards the length that is wanted. `covered` tells whether everything believed in
    /// would be believed in with this length alone.
    pub(super) fn next(
        &mut self,
        wanted: Ttl,
        covered: impl FnOnce(Ttl) -> bool,
    ) -> Option<Retiming> {
        if self.asked.is_some() || self.refused {
            return None;
        }
        self.counting = wanted.min(self.granted);
        if wanted == self.granted || (wanted < self.granted && !covered(wanted)) {
            return None;
        }
        self.asked = Some(wanted);
        self.requests += 1;
        Some(Retiming { ttl: wanted, number: self.requests })
    }

    /// The store has answered: it does grant what was asked for, or it refused.
    pub(super) fn answered(&mut self, done: bool) {
        let Some(asked) = self.asked.take() else { return };
        if done {
            (self.granted, self.counting) = (asked, asked);
        } else {
            self.refused = true;
            self.counting = self.counting.min(self.granted);
        }
    }
}
