//! Whether the server's wall clock, which judges all leases, was set forward.
//!
//! Then leases look expired that their holders rightly believe in. Every answer says what time
//! it is over there; together with the moments of question and answer here, that bounds how far
//! the two clocks are apart. When they part faster than any two clocks may drift, the one over
//! there was set, and for the longest lease that anybody asks for no grant is believed in.

use core::time::Duration;

use tenure_core::Moment;

/// Clocks that part no faster are only clocks: one part in so many, and a little.
const DRIFT: i64 = 100;
const SLACK: i64 = 2_000;

/// The bounds of how far the clock over there is ahead, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Apart {
    least: i64,
    most: i64,
    at: Moment,
}

/// Watches the server's clock.
#[derive(Debug, Default)]
pub(crate) struct Jumps {
    apart: Option<Apart>,
    quiet_until: Moment,
}

fn micros(moment: Moment) -> i64 {
    i64::try_from(moment.as_nanos() / 1000).unwrap_or(i64::MAX)
}

impl Jumps {
    /// An answer says what time it is there. Gives by how much that clock was set, if it was.
    pub(crate) fn note(
        &mut self,
        there: i64,
        sent: Moment,
        received: Moment,
        longest: Duration,
    ) -> Option<i64> {
        let now = Apart {
            least: there.saturating_sub(micros(received)),
            most: there.saturating_sub(micros(sent)),
            at: received,
        };
        let Some(before) = self.apart else {
            self.apart = Some(now);
            return None;
        };
        let passed = i64::try_from(received.since(before.at).as_micros()).unwrap_or(i64::MAX);
        let drift = passed / DRIFT + SLACK;
        let forward = now.least.saturating_sub(before.most.saturating_add(drift));
        let back = before.least.saturating_sub(now.most.saturating_add(drift));
        if forward > 0 || back > 0 {
            self.apart = Some(now);
            if forward > 0 {
                self.quiet_until = self.quiet_until.max(received + longest);
                return Some(forward);
            }
            return Some(-back);
        }
        // The narrower the better; what is older is known less well.
        let least = now.least.max(before.least.saturating_sub(drift));
        let most = now.most.min(before.most.saturating_add(drift));
        let at = received.max(before.at);
        self.apart = Some(Apart { least: least.min(most), most, at });
        None
    }

    /// For how long no grant is believed in.
    pub(crate) fn quiet(&self, now: Moment) -> Option<Duration> {
        let left = self.quiet_until.since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(5);

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// An answer that took `round` ms and says `ahead` ms more than here when it was written.
    fn answer(jumps: &mut Jumps, sent: u64, round: u64, ahead: i64) -> Option<i64> {
        let there = (i64::try_from(sent + round / 2).unwrap() + ahead) * 1000;
        jumps.note(there, at(sent), at(sent + round), LEASE)
    }

    #[test]
    fn slow_answers_and_drift_are_no_jump() {
        let mut jumps = Jumps::default();
        assert_eq!(answer(&mut jumps, 0, 10, 7_000_000), None);
        assert_eq!(answer(&mut jumps, 100, 2_000, 7_000_000), None);
        assert_eq!(answer(&mut jumps, 3_000, 2, 7_000_002), None);
        // Half a percent in a hundred seconds.
        assert_eq!(answer(&mut jumps, 103_000, 2, 7_000_502), None);
        assert_eq!(jumps.quiet(at(103_002)), None);
    }

    #[test]
    fn a_clock_set_forward_is_noticed_and_waited_out() {
        let mut jumps = Jumps::default();
        answer(&mut jumps, 0, 2, 0);
        answer(&mut jumps, 1_000, 2, 0);
        let by = answer(&mut jumps, 2_000, 2, 1_000).unwrap();
        assert!((970_000..=1_000_000).contains(&by), "{by}");
        assert_eq!(jumps.quiet(at(2_002)), Some(LEASE));
        assert_eq!(answer(&mut jumps, 3_000, 2, 1_000), None, "told once");
        assert_eq!(jumps.quiet(at(7_001)), Some(Duration::from_millis(1)));
        assert_eq!(jumps.quiet(at(7_002)), None);
    }

    #[test]
    fn a_clock_set_back_is_noticed_and_needs_no_waiting() {
        let mut jumps = Jumps::default();
        answer(&mut jumps, 0, 2, 60_000);
        assert!(answer(&mut jumps, 1_000, 2, 0).is_some_and(|by| by < -59_000_000));
        assert_eq!(jumps.quiet(at(1_002)), None);
        assert_eq!(answer(&mut jumps, 2_000, 2, 0), None);
    }
}
