//! The clocks of this machine.

use rustix::time::{ClockId, clock_gettime};
use tenure_core::{Moment, WallTime};
use tenure_replica::Now;

/// The moment by `CLOCK_BOOTTIME`, which goes on while the machine is suspended; the standard
/// library's `Instant` does not.
#[must_use]
pub fn moment() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Moment::from_nanos(nanos(time.tv_sec, time.tv_nsec))
}

/// Microseconds since 1970, for people.
#[must_use]
pub fn wall() -> WallTime {
    let time = clock_gettime(ClockId::Realtime);
    WallTime::from_micros(nanos(time.tv_sec, time.tv_nsec) / 1000)
}

/// Both clocks.
#[must_use]
pub fn now() -> Now {
    Now { moment: moment(), wall: wall() }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, to compare events of processes on one machine.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    nanos(time.tv_sec, time.tv_nsec)
}

fn nanos(seconds: i64, nanos: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(nanos).unwrap_or(0)
}
