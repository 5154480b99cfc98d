//! The arithmetic of leases.
//!
//! Two clocks judge one lease. The holder counts from the moment it *sent* the renewal that
//! was acknowledged; the granting side counts from the moment it *received* it. Receipt is
//! never before sending, so delay, jitter and stalls on the way can shorten what the holder
//! has, but never let it believe in a lease that the granting side has ended. What is left is
//! the *rate* of the two clocks, covered by the drift. Source: C. Gray, D. Cheriton, "Leases"
//! (SOSP 1989), with the holder's count moved to the send.

pub mod adaptive;

use core::{fmt, time::Duration};
use serde::{Deserialize, Serialize};

use crate::Moment;

/// Length of a lease: 10 ms to one day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Ttl(u32);

/// A lease length that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ttl of {given:?} is outside {:?} to {:?}", Ttl::MIN.get(), Ttl::MAX.get())]
pub struct TtlError {
    /// What was asked for.
    pub given: Duration,
}

impl Ttl {
    /// Shortest lease.
    pub const MIN: Self = Self(10);
    /// Longest lease.
    pub const MAX: Self = Self(86_400_000);

    /// Checks and keeps a lease length; parts of a millisecond are dropped.
    ///
    /// # Errors
    /// [`TtlError`] when the length is outside [`Ttl::MIN`] to [`Ttl::MAX`].
    pub fn new(duration: Duration) -> Result<Self, TtlError> {
        match u32::try_from(duration.as_millis()) {
            Ok(ms) if (Self::MIN.0..=Self::MAX.0).contains(&ms) => Ok(Self(ms)),
            _ => Err(TtlError { given: duration }),
        }
    }

    /// The length as a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }

    /// How often a holder renews: a quarter of the lease, so that two renewals in a row may be
    /// lost, and a third may be slow, before the lease is.
    #[must_use]
    pub fn renew_interval(self) -> Duration {
        self.get() / 4
    }
}

impl TryFrom<u64> for Ttl {
    type Error = TtlError;
    fn try_from(ms: u64) -> Result<Self, TtlError> {
        Self::new(Duration::from_millis(ms))
    }
}

impl From<Ttl> for u64 {
    fn from(ttl: Ttl) -> u64 {
        u64::from(ttl.0)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ttl({:?})", self.get())
    }
}

/// Assumed bound on how much faster or slower one clock runs than true time, in parts per
/// million. NTP slews by at most 500 ppm; the default is twenty times that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drift(u32);

impl Default for Drift {
    fn default() -> Self {
        Self::from_ppm(10_000)
    }
}

impl Drift {
    /// Wraps parts per million, capped at 200 000 (20 %).
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > 200_000 { 200_000 } else { ppm })
    }

    /// What a holder takes off when the store counts the bare ttl instead of lengthening it by
    /// the drift: the drift of both clocks, and a little for their product.
    #[must_use]
    pub const fn of_both_sides(self) -> Self {
        Self::from_ppm_uncapped(self.0 * 21 / 10)
    }

    const fn from_ppm_uncapped(ppm: u32) -> Self {
        Self(ppm)
    }

    fn of(self, duration: Duration) -> Duration {
        let nanos = duration.as_nanos().saturating_mul(u128::from(self.0)).div_ceil(1_000_000);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Until when a holder may believe in its lease: counted from the *sending* of the renewal
/// that was acknowledged, shortened by the drift.
#[must_use]
pub fn holder_deadline(sent: Moment, ttl: Ttl, drift: Drift) -> Moment {
    sent + ttl.get().saturating_sub(drift.of(ttl.get()))
}

/// From when on the granting side may end a lease: counted from the *receipt* of the last
/// renewal, or from its own takeover, lengthened by the drift.
#[must_use]
pub fn grantor_deadline(received: Moment, ttl: Ttl, drift: Drift) -> Moment {
    received + (ttl.get() + drift.of(ttl.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// True time after `nanos` of a clock that runs at `1 + ppm / 10^6` of the true rate.
    fn true_nanos(nanos: u64, ppm: i64) -> f64 {
        nanos as f64 / (1.0 + ppm as f64 / 1e6)
    }

    proptest! {
        /// Promise 1 in one line: whatever the delay and the two clock rates inside the bound,
        /// the holder's belief ends before the granting side lets go, in true time.
        #[test]
        fn the_holder_stops_before_the_grantor_lets_go(
            ttl_ms in 10u64..86_400_000,
            drift_ppm in 0i64..200_000,
            holder_share in -100i64..=100,
            grantor_share in -100i64..=100,
            delay_nanos in 0u64..10_000_000_000,
        ) {
            let ttl = Ttl::try_from(ttl_ms).unwrap();
            let drift = Drift::from_ppm(u32::try_from(drift_ppm).unwrap());
            let start = Moment::default();
            let held = holder_deadline(start, ttl, drift).as_nanos();
            let kept = grantor_deadline(start, ttl, drift).as_nanos();
            let holder_true = true_nanos(held, drift_ppm * holder_share / 100);
            let grantor_true = delay_nanos as f64 + true_nanos(kept, drift_ppm * grantor_share / 100);
            // One part in 10^9 for the rounding of the floating point in this test alone.
            prop_assert!(holder_true <= grantor_true * (1.0 + 1e-9), "{holder_true} {grantor_true}");
        }
    }

    #[test]
    fn lengths_outside_the_range_are_refused() {
        assert!(Ttl::new(Duration::from_millis(9)).is_err());
        assert!(Ttl::new(Duration::from_secs(90_000)).is_err());
        assert_eq!(Ttl::new(Duration::from_secs(1)).unwrap().renew_interval().as_millis(), 250);
    }
}
