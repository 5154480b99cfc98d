//! Whether there is time to stop the command inside the lease, and when each step is due.
//!
//! ```text
//! renewal sent             soft stop            hard kill    deadline      lease ends elsewhere
//! |------------------------|--------------------|------------|-------------|
//!                          <--- stop_timeout ---><- margin -->
//! <--------------------- ttl x (1 - drift) ----------------->
//! <----------------------------- ttl x (1 + drift), counted from receipt -->
//! ```

use std::time::Duration;

use tenure_core::{
    Moment,
    timing::{Drift, Ttl, holder_deadline},
};

use crate::error::Failure;

/// A renewal may take this share of the ttl until it is acknowledged, and the lease is still
/// not at risk.
const ROUND_TRIP: u32 = 20;

/// How long everything takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Length of the lease.
    pub(crate) ttl: Ttl,
    /// Bound on clock rates.
    pub(crate) drift: Drift,
    /// From the soft stop to the hard kill.
    pub(crate) stop_timeout: Duration,
    /// From the hard kill to the deadline.
    pub(crate) kill_margin: Duration,
}

impl Budget {
    /// Refuses what cannot work, with the smallest ttl that does.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        if self.fits(self.ttl) {
            return Ok(self);
        }
        let spent = self.stop_timeout + self.kill_margin;
        let next = match self.smallest_ttl() {
            Some(ttl) => format!(
                "--ttl {:?}, or less than {:?} for --stop-timeout and --kill-margin together",
                ttl.get(),
                whole_millis(self.left_for_stopping(self.ttl)),
            ),
            None => String::from("a shorter --stop-timeout: no lease is long enough for this one"),
        };
        Err(Failure::usage(
            format!("a ttl of {} leaves no time to stop the command inside the lease", self.ttl),
            format!(
                "after a renewal the lease is good for {:?}; until the next one is acknowledged \
                 {:?} may pass, and stopping takes up to {spent:?} (--stop-timeout {:?} and \
                 --kill-margin {:?})",
                self.good_for(self.ttl),
                whole_millis(self.until_renewed(self.ttl)),
                self.stop_timeout,
                self.kill_margin,
            ),
            next,
        ))
    }

    fn fits(&self, ttl: Ttl) -> bool {
        self.left_for_stopping(ttl) > self.stop_timeout + self.kill_margin
    }

    /// The smallest ttl, in whole milliseconds, that this budget fits into.
    pub(crate) fn smallest_ttl(&self) -> Option<Ttl> {
        let of = |ms: u64| Ttl::new(Duration::from_millis(ms)).ok().filter(|ttl| self.fits(*ttl));
        let millis = |ttl: Ttl| u64::try_from(ttl.get().as_millis()).unwrap_or(u64::MAX);
        let (mut low, mut high) = (millis(Ttl::MIN), millis(Ttl::MAX));
        of(high)?;
        while low < high {
            let middle = low + (high - low) / 2;
            if of(middle).is_some() { high = middle } else { low = middle + 1 }
        }
        of(low)
    }

    fn left_for_stopping(&self, ttl: Ttl) -> Duration {
        self.good_for(ttl).saturating_sub(self.until_renewed(ttl))
    }

    fn until_renewed(&self, ttl: Ttl) -> Duration {
        ttl.renew_interval() + Self::round_trip(ttl)
    }

    /// How long the holder may believe in a lease, counted from the sending of a renewal.
    pub(crate) fn good_for(&self, ttl: Ttl) -> Duration {
        holder_deadline(Moment::default(), ttl, self.drift).since(Moment::default())
    }

    /// How long an acknowledgement may take.
    pub(crate) fn round_trip(ttl: Ttl) -> Duration {
        ttl.get() / ROUND_TRIP
    }

    /// When the command is asked to stop if no further renewal is acknowledged.
    pub(crate) fn soft_at(&self, deadline: Moment) -> Moment {
        self.kill_at(deadline) - self.stop_timeout
    }

    /// When the command is killed if no further renewal is acknowledged.
    pub(crate) fn kill_at(&self, deadline: Moment) -> Moment {
        deadline - self.kill_margin
    }

    /// When whoever watches the supervisor acts in its place: it had half of the margin.
    pub(crate) fn guard_at(&self, deadline: Moment) -> Moment {
        deadline - self.kill_margin / 2
    }

    /// When the kernel ends the supervisor, and the command with it: all others had their turn.
    pub(crate) fn fuse_at(&self, deadline: Moment) -> Moment {
        deadline - self.kill_margin / 4
    }
}

fn whole_millis(length: Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(ttl: u64, stop: u64, margin: u64) -> Budget {
        Budget {
            ttl: Ttl::try_from(ttl).unwrap(),
            drift: Drift::default(),
            stop_timeout: Duration::from_millis(stop),
            kill_margin: Duration::from_millis(margin),
        }
    }

    #[test]
    fn an_impossible_budget_names_the_smallest_ttl_that_works() {
        assert!(budget(5000, 1500, 250).checked().is_ok());
        let refused = budget(1000, 1500, 250).checked().unwrap_err();
        insta::assert_snapshot!(refused.human(false), @r"
        error: a ttl of 1s leaves no time to stop the command inside the lease
          why: after a renewal the lease is good for 990ms; until the next one is acknowledged 300ms may pass, and stopping takes up to 1.75s (--stop-timeout 1.5s and --kill-margin 250ms)
          next: --ttl 2.537s, or less than 690ms for --stop-timeout and --kill-margin together
        ");
        assert!(budget(2537, 1500, 250).checked().is_ok());
        assert!(budget(2536, 1500, 250).checked().is_err());
    }

    #[test]
    fn no_lease_is_long_enough_for_a_day_of_stopping() {
        let refused = budget(5000, 86_400_000, 250).checked().unwrap_err();
        assert!(refused.next.contains("no lease is long enough"), "{}", refused.next);
    }

    proptest! {
        /// What is proposed works, and nothing shorter does.
        #[test]
        fn the_proposed_ttl_is_the_smallest(
            ttl in 10u64..20_000, stop in 0u64..20_000, margin in 1u64..5_000, ppm in 0u32..200_000,
        ) {
            let budget = Budget { drift: Drift::from_ppm(ppm), ..budget(ttl, stop, margin) };
            let smallest = budget.smallest_ttl().unwrap();
            let with = |ttl| Budget { ttl, ..budget };
            prop_assert!(with(smallest).checked().is_ok());
            if let Ok(shorter) = Ttl::new(smallest.get() - Duration::from_millis(1)) {
                prop_assert!(with(shorter).checked().is_err());
            }
            prop_assert_eq!(budget.checked().is_ok(), budget.ttl >= smallest);
        }

        /// Every step comes after the one before, and all of them inside the lease.
        #[test]
        fn the_steps_are_in_order(ttl in 100u64..20_000, stop in 0u64..20_000, margin in 4u64..5_000) {
            let budget = budget(ttl, stop, margin);
            let sent = Moment::from_nanos(1 << 50);
            let deadline = holder_deadline(sent, budget.ttl, budget.drift);
            let (soft, kill) = (budget.soft_at(deadline), budget.kill_at(deadline));
            prop_assert!(soft <= kill && kill < budget.guard_at(deadline));
            prop_assert!(budget.guard_at(deadline) <= budget.fuse_at(deadline));
            prop_assert!(budget.fuse_at(deadline) < deadline);
            if budget.checked().is_ok() {
                prop_assert!(soft > sent + budget.ttl.renew_interval());
            }
        }
    }
}
