//! What nobody tells and is found by looking: renewals that come or stay away, clocks that jump.

use std::time::Duration;

use tenure_core::{Moment, WallTime, timing::Ttl};

use super::budget::Budget;

/// A jump of the wall clock smaller than this is its being disciplined.
const SLEW: Duration = Duration::from_millis(500);
/// A difference between clocks smaller than this is the time between reading them.
const READING: Duration = Duration::from_millis(50);

/// What a look at the lease shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// One was acknowledged.
    Came,
    /// The next one should have been by now.
    Overdue,
}

/// The renewals of one tenure.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    deadline: Option<Moment>,
    /// When the deadline was seen to move last.
    moved: Moment,
    told: bool,
}

impl Renewals {
    /// Looks at the deadline of the lease.
    pub(crate) fn look(
        &mut self,
        deadline: Option<Moment>,
        ttl: Ttl,
        now: Moment,
    ) -> Option<Renewal> {
        let every = ttl.renew_interval();
        match (self.deadline, deadline) {
            (Some(before), Some(deadline)) if deadline > before + every / 4 => {
                (self.deadline, self.moved, self.told) = (Some(deadline), now, false);
                Some(Renewal::Came)
            }
            (Some(_), Some(_)) => {
                // Looks are a sixteenth of the ttl apart, a quarter of a renewal.
                let patience = every + every / 2 + Budget::round_trip(ttl);
                let overdue = !self.told && now >= self.moved + patience;
                self.told |= overdue;
                overdue.then_some(Renewal::Overdue)
            }
            (_, deadline) => {
                (self.deadline, self.moved, self.told) = (deadline, now, false);
                None
            }
        }
    }
}

/// What the clocks show at one moment: with and without the time of suspension, and of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) boot: Moment,
    pub(crate) running: Moment,
    pub(crate) wall: WallTime,
}

/// A jump between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) suspended: Duration,
    /// In milliseconds; negative when it was set back.
    pub(crate) wall_ms: i64,
}

/// The clocks, compared with each other.
#[derive(Debug, Default)]
pub(crate) struct Clocks(Option<Reading>);

impl Clocks {
    pub(crate) fn look(&mut self, reading: Reading) -> Option<Jump> {
        let before = self.0.replace(reading)?;
        let passed = reading.boot.since(before.boot);
        let suspended = passed.saturating_sub(reading.running.since(before.running));
        let micros = |wall: WallTime| i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
        let passed_us = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let wall_ms = (micros(reading.wall) - micros(before.wall) - passed_us) / 1000;
        let is_set = wall_ms.unsigned_abs() > u64::try_from(SLEW.as_millis()).unwrap_or(0);
        let slept = suspended > READING;
        (slept || is_set).then_some(Jump {
            suspended: if slept { suspended } else { Duration::ZERO },
            wall_ms: if is_set { wall_ms } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_renewal_that_stays_away_is_told_once() {
        let ttl = Ttl::try_from(1600).unwrap();
        let mut renewals = Renewals::default();
        let mut look = |deadline, now| renewals.look(deadline, ttl, at(now));
        assert_eq!(look(None, 0), None);
        assert_eq!(look(Some(at(1600)), 10), None);
        assert_eq!(look(Some(at(2000)), 410), Some(Renewal::Came));
        assert_eq!(look(Some(at(2000)), 1000), None);
        assert_eq!(look(Some(at(2000)), 1100), Some(Renewal::Overdue));
        assert_eq!(look(Some(at(2000)), 1200), None);
        assert_eq!(look(Some(at(2800)), 1210), Some(Renewal::Came));
        assert_eq!(look(None, 1300), None);
        assert_eq!(look(Some(at(9000)), 5000), None, "another tenure");
    }

    #[test]
    fn clocks_that_go_together_have_not_jumped() {
        let mut clocks = Clocks::default();
        let mut look = |boot, running, wall: u64| {
            let wall = WallTime::from_micros(wall * 1000);
            clocks.look(Reading { boot: at(boot), running: at(running), wall })
        };
        assert_eq!(look(100, 100, 50_000), None);
        assert_eq!(look(200, 200, 50_099), None);
        let slept = Jump { suspended: Duration::from_secs(60), wall_ms: 0 };
        assert_eq!(look(60_300, 300, 110_199), Some(slept));
        assert_eq!(look(60_400, 400, 107_000).unwrap().wall_ms, -3299);
        assert_eq!(look(60_500, 500, 107_101), None);
    }
}
