//! Waiting longer after each failure, never in step with others.

use std::time::Duration;

/// Doubling pauses with jitter: half to all of 10, 20, 40 ... ms, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        jittered(pause)
    }

    /// Something worked: begin again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Half to all of `pause`. Without randomness, all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let fraction = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + fraction / 2.0)
}
