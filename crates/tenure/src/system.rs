//! What is asked of the operating system.

use std::io;

use rustix::time::{ClockId, clock_gettime};
use tenure_core::{Incarnation, Moment, WallTime};

/// The moment by `CLOCK_BOOTTIME`, which goes on while the machine is suspended; the standard
/// library's `Instant` does not.
pub(crate) fn moment() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Moment::from_nanos(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Microseconds since 1970, for people.
pub(crate) fn wall() -> WallTime {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1000).unwrap_or(0);
    WallTime::from_micros(seconds * 1_000_000 + micros)
}

/// A name for one start of something that opens sessions.
pub(crate) fn draw_incarnation() -> io::Result<Incarnation> {
    let drawn = getrandom::u64();
    let drawn = drawn.map_err(|error| {
        io::Error::other(format!("the system gives no random numbers: {error}"))
    })?;
    Ok(Incarnation::from_random(drawn))
}
