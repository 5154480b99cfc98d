//! How long a lease has to be, from what its renewals went through.
//!
//! A lease of `ttl` is renewed every `ttl / 4`. It survives when two renewals in a row are lost
//! and the third takes as long as any lately took: `ttl >= 3 * ttl / 4 + trip + late`, where
//! `trip` is the longest time from a renewal to its acknowledgement and `late` the longest
//! time by which this process woke too late for one. Solved for the ttl:
//!
//! `ttl = 4 * (trip + late)`
//!
//! Besides, no lease is shorter than four thirds of the longest time by which an acknowledgement
//! was overdue, by whatever it was: so long after the moment at which the next renewal was
//! planned. `ttl / 4 + overdue` would just not have cost a lease of that length.
//!
//! Sources: the need of a lease, `(k + 1) * interval + trip + stalls` with k lost renewals
//! tolerated, is that of failure detectors with a bound on the heartbeat's delay (W. Chen,
//! S. Toueg, M. Aguilera, "On the Quality of Service of Failure Detectors", DSN 2000); that a
//! process judges its own slowness before it blames others is from A. Dadgar, J. Phillips,
//! J. Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (2018).
//! The quantile is the highest one, the maximum: of all things that were seen, none would have
//! cost the lease.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::Ttl;

/// Acknowledgements that one slot of the memory covers. A lease is shortened at the end of a
/// slot only, and to no less than half.
pub const SLOT: u32 = 16;
/// Slots that are remembered: what a lease needed counts for this many times [`SLOT`] renewals.
pub const SLOTS: usize = 128;

/// Bounds between which the length of a lease follows what its renewals go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlRange {
    shortest: Ttl,
    longest: Ttl,
}

/// Bounds that are the wrong way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ttl from {shortest} to {longest}: the first must not be the longer one")]
pub struct TtlRangeError {
    /// The lower bound as given.
    pub shortest: Ttl,
    /// The upper bound as given.
    pub longest: Ttl,
}

impl TtlRange {
    /// A lease between these two.
    ///
    /// # Errors
    /// [`TtlRangeError`] when `shortest` is above `longest`.
    pub fn new(shortest: Ttl, longest: Ttl) -> Result<Self, TtlRangeError> {
        match shortest <= longest {
            true => Ok(Self { shortest, longest }),
            false => Err(TtlRangeError { shortest, longest }),
        }
    }

    /// The lower bound.
    #[must_use]
    pub fn shortest(self) -> Ttl {
        self.shortest
    }

    /// The upper bound.
    #[must_use]
    pub fn longest(self) -> Ttl {
        self.longest
    }

    /// Whether there is nothing to choose.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        self.shortest == self.longest
    }

    /// The step at or above this length. Steps are a quarter apart, so that small changes of
    /// what is measured change nothing, and are the same for every lease with these bounds.
    fn step(self, at_least: Duration) -> Ttl {
        let (shortest, longest) = (self.shortest.0, self.longest.0);
        let wanted = u32::try_from(at_least.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let mut step = shortest;
        while step < wanted && step < longest {
            step = step.saturating_add(step.div_ceil(4));
        }
        Ttl(step.min(longest))
    }
}

impl From<Ttl> for TtlRange {
    /// A lease of one length.
    fn from(ttl: Ttl) -> Self {
        Self { shortest: ttl, longest: ttl }
    }
}

/// The worst of everything seen for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Worst {
    trip: Duration,
    late: Duration,
    overdue: Duration,
}

impl Worst {
    fn or(self, other: Self) -> Self {
        Self {
            trip: self.trip.max(other.trip),
            late: self.late.max(other.late),
            overdue: self.overdue.max(other.overdue),
        }
    }

    /// The lease that would have survived it.
    fn need(self) -> Duration {
        let usual = self.trip.saturating_add(self.late).saturating_mul(4);
        usual.max(self.overdue.saturating_mul(4) / 3)
    }
}

/// Measures what renewals go through, and says how long the lease should be.
///
/// Longer at once, shorter slowly: it begins with the longest lease, and after every [`SLOT`]
/// acknowledgements goes down to what the last [`SLOTS`] slots needed, but by no more than half.
#[derive(Debug, Clone)]
pub struct Pace {
    range: TtlRange,
    wanted: Ttl,
    /// Oldest first; the last one is not full yet.
    slots: VecDeque<Worst>,
    /// Acknowledgements in the slot that is not full.
    filled: u32,
}

impl Pace {
    /// Nothing was seen yet: the longest lease.
    #[must_use]
    pub fn new(range: TtlRange) -> Self {
        let slots = VecDeque::from([Worst::default()]);
        Self { range, wanted: range.longest, slots, filled: 0 }
    }

    /// The bounds.
    #[must_use]
    pub fn range(&self) -> TtlRange {
        self.range
    }

    /// Other bounds from now on; what was seen still counts.
    pub fn set_range(&mut self, range: TtlRange) {
        self.range = range;
        let need = self.need();
        self.wanted = range.step(need.max(self.wanted.get()));
    }

    /// How long the lease should be now.
    #[must_use]
    pub fn wanted(&self) -> Ttl {
        self.wanted
    }

    /// This process woke later than it had wished.
    pub fn woke_late(&mut self, late: Duration) {
        self.saw(Worst { late, ..Worst::default() });
    }

    /// A lease of this length has run out. What would have saved it is not known: the next one is
    /// a third longer.
    pub fn lost(&mut self, lease: Duration) {
        self.saw(Worst { overdue: lease, ..Worst::default() });
    }

    /// A renewal was acknowledged: `trip` after it was sent, and `overdue` after the moment at
    /// which the renewal that follows the last acknowledged one was planned.
    pub fn acknowledged(&mut self, trip: Duration, overdue: Duration) {
        self.saw(Worst { trip, overdue, ..Worst::default() });
        if self.range.is_fixed() {
            return;
        }
        self.filled += 1;
        if self.filled < SLOT {
            return;
        }
        self.filled = 0;
        let need = self.need();
        self.wanted = self.wanted.min(self.range.step(need.max(self.wanted.get() / 2)));
        self.slots.push_back(Worst::default());
        if self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
    }

    fn saw(&mut self, seen: Worst) {
        if self.range.is_fixed() {
            return;
        }
        if let Some(slot) = self.slots.back_mut() {
            *slot = slot.or(seen);
        }
        let need = self.need();
        if need > self.wanted.get() {
            self.wanted = self.range.step(need);
        }
    }

    /// All may come together, so what counts is the worst of each.
    fn need(&self) -> Duration {
        self.slots.iter().copied().fold(Worst::default(), Worst::or).need()
    }
}

#[cfg(test)]
mod tests;
