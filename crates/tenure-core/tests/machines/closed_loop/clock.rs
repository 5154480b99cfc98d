//! Clocks that run a little fast or slow.

use tenure_core::Moment;

/// One process's clock: its rate differs from true time by a constant share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) ppm: i64,
    pub(crate) offset: u64,
}

const MILLION: u128 = 1_000_000;

impl Clock {
    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + self.ppm).expect("a clock that goes forward")
    }

    /// What it shows at a true time, in nanoseconds.
    pub(crate) fn at(self, now: u64) -> Moment {
        let nanos = u128::from(now) * self.rate() / MILLION;
        Moment::from_nanos(self.offset + u64::try_from(nanos).expect("a short run"))
    }

    /// The true time at which it shows this, or a little later.
    pub(crate) fn when(self, moment: Moment) -> u64 {
        let nanos = u128::from(moment.as_nanos().saturating_sub(self.offset));
        u64::try_from((nanos * MILLION).div_ceil(self.rate())).expect("a short run") + 1
    }
}
