//! Which renewal an answer of the store acknowledges.

use alloc::collections::VecDeque;

/// Renewals that are remembered; the contender remembers no more of them.
const REMEMBERED: usize = 8;

/// The renewals that the contender was not told of yet: step and number of each, in the order of
/// sending.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    sent: VecDeque<(u64, u64)>,
    told: u64,
}

impl Renewals {
    /// A renewal is on its way in this step.
    pub(super) fn sent(&mut self, step: u64, renewal: u64) {
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((step, renewal));
    }

    /// Everything that is believed was confirmed by this step or a later one: the number of the
    /// latest renewal of which that is true, unless the contender was told already.
    pub(super) fn confirmed(&mut self, step: u64) -> Option<u64> {
        let until = self.sent.partition_point(|(sent, _)| *sent <= step);
        let (step, renewal) = self.sent.drain(..until).next_back()?;
        self.told = step;
        Some(renewal)
    }

    /// The step of the latest renewal that the contender was told of: what was confirmed before
    /// it must not be believed from now on.
    pub(super) fn told(&self) -> u64 {
        self.told
    }
}
