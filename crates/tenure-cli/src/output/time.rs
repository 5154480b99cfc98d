//! Times and durations as text.

use std::time::Duration;

use jiff::Timestamp;
use tenure_core::WallTime;

/// RFC 3339 in UTC with milliseconds, for machines.
pub(crate) fn rfc3339(at: WallTime) -> String {
    stamp(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The time of day in UTC, with the date when it is not of today, for people.
pub(crate) fn clock(at: WallTime, now: WallTime) -> String {
    let format =
        if now.since(at) < Duration::from_hours(12) { "%H:%M:%SZ" } else { "%F %H:%M:%SZ" };
    stamp(at).strftime(format).to_string()
}

fn stamp(at: WallTime) -> Timestamp {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// A duration with at most two units or three digits: `85 ms`, `3.9 s`, `4m 12s`, `3d 4h`.
pub(crate) fn span(length: Duration) -> String {
    let micros = length.as_micros();
    let seconds = length.as_secs();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", length.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => match length.subsec_millis() / 100 {
            0 => format!("{seconds} s"),
            tenths => format!("{seconds}.{tenths} s"),
        },
        _ => match seconds {
            0..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
            3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
            _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
        },
    }
}

/// Whole milliseconds, for machines.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with their parts, for measurements.
#[allow(clippy::cast_precision_loss)] // microseconds of a measurement fit
pub(crate) fn precise_millis(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = WallTime::from_micros(1_795_240_990_214_567);
        assert_eq!(rfc3339(at), "2026-11-21T06:03:10.214Z");
        let later = WallTime::from_micros(at.as_micros() + 1_000_000);
        assert_eq!(clock(at, later), "06:03:10Z");
        let much_later = WallTime::from_micros(at.as_micros() + 86_400_000_000);
        assert_eq!(clock(at, much_later), "2026-11-21 06:03:10Z");
        assert_eq!(rfc3339(WallTime::from_micros(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(WallTime::from_micros(u64::MAX)).starts_with("9999"));
    }

    #[test]
    fn spans_are_short() {
        let of = |micros| span(Duration::from_micros(micros));
        assert_eq!(of(250), "250 µs");
        assert_eq!(of(4_260), "4.3 ms");
        assert_eq!(of(85_400), "85 ms");
        assert_eq!(of(3_950_000), "3.9 s");
        assert_eq!(of(3_020_000), "3 s");
        assert_eq!(of(252_000_000), "4m 12s");
        assert_eq!(of(4_000_000_000), "1h 6m");
        assert_eq!(of(273_600_000_000), "3d 4h");
        assert_eq!(precise_millis(2_345_678), 2.345);
    }
}
