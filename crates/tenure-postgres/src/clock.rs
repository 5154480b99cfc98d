//! The only place that asks this machine for the time.

use rustix::time::{ClockId, clock_gettime};
use tenure_core::Moment;

/// The moment by `CLOCK_BOOTTIME`: a suspended machine must not look like a clock that was set
/// over there.
pub(crate) fn moment() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Moment::from_nanos(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
}
