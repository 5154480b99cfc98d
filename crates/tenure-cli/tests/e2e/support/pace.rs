//! How fast something is, as a share of the ttl of the same cluster.

use std::time::Duration;

/// Times of several rounds. One of them may meet a busy machine, so each is compared with what
/// only a waiting lease needs, and the best one with what is really promised.
#[derive(Debug)]
pub(crate) struct Pace {
    ttl: Duration,
    best: Duration,
}

impl Pace {
    pub(crate) fn of(ttl: Duration) -> Self {
        Self { ttl, best: Duration::MAX }
    }

    /// One round, from one moment to another. Leases are renewed every quarter of the ttl, so
    /// whoever waits for one to run out needs at least three quarters.
    #[track_caller]
    pub(crate) fn add(&mut self, from: u64, to: u64) {
        let took = Duration::from_nanos(to.saturating_sub(from));
        assert!(took < self.ttl * 3 / 4, "{took:?} of a ttl of {:?}", self.ttl);
        self.best = self.best.min(took);
    }

    /// The best round took less than an eighth of the ttl.
    #[track_caller]
    pub(crate) fn judge(&self) {
        assert!(self.best < self.ttl / 8, "{:?} at best of a ttl of {:?}", self.best, self.ttl);
    }
}
