//! Clocks of hosts: each with its own rate, offset and idea of the date.

use tenure_core::{Moment, WallTime};

const MILLION: i128 = 1_000_000;

/// A boot-time clock whose rate differs from true time, and a wall clock that jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    ppm: i64,
    true_base: u64,
    local_base: u64,
    wall_micros: i64,
}

impl Clock {
    pub(crate) fn new(ppm: i64, offset: u64, wall_micros: i64) -> Self {
        Self { ppm, true_base: 0, local_base: offset, wall_micros }
    }

    fn rate(self) -> i128 {
        MILLION + i128::from(self.ppm)
    }

    /// What it shows at a true time.
    pub(crate) fn at(self, now: u64) -> Moment {
        let passed = i128::from(now) - i128::from(self.true_base);
        let local = i128::from(self.local_base) + passed * self.rate() / MILLION;
        Moment::from_nanos(u64::try_from(local).unwrap_or(0))
    }

    /// The true time at which it shows this, or a little later.
    pub(crate) fn when(self, moment: Moment) -> u64 {
        let local = i128::from(moment.as_nanos()) - i128::from(self.local_base);
        let passed = local.max(0) * MILLION / self.rate() + 1;
        self.true_base.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    pub(crate) fn set_rate(&mut self, now: u64, ppm: i64) {
        self.local_base = self.at(now).as_nanos();
        self.true_base = now;
        self.ppm = ppm;
    }

    /// The same clock, set to show this at a true time.
    pub(crate) fn showing(self, now: u64, moment: Moment) -> Self {
        Self { true_base: now, local_base: moment.as_nanos(), ..self }
    }

    pub(crate) fn wall(self, now: u64) -> WallTime {
        let micros = i64::try_from(now / 1000).unwrap_or(i64::MAX).saturating_add(self.wall_micros);
        WallTime::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    pub(crate) fn jump_wall(&mut self, micros: i64) {
        self.wall_micros = self.wall_micros.saturating_add(micros);
    }
}
