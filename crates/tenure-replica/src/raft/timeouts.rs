//! Election time-outs from our own seed.

use ::raft::StateRole;

/// Chooses the randomised election time-out, once per reset of the election timer.
///
/// The library draws its own from the thread's generator; it is overwritten after every call,
/// so that it never takes effect and a run is a function of its inputs. Whether the library has
/// reset its timer is read off the term and the role, not off the value it drew: that could by
/// chance be the old one.
pub(super) struct Timeouts {
    state: u64,
    election_ticks: usize,
    drawn_for: Option<(u64, StateRole)>,
    current: usize,
}

impl Timeouts {
    pub(super) fn new(seed: u64, election_ticks: usize) -> Self {
        Self { state: seed, election_ticks, drawn_for: None, current: election_ticks }
    }

    /// The time-out in ticks for a node that is in this term and role now.
    pub(super) fn current(&mut self, term: u64, role: StateRole) -> usize {
        if self.drawn_for != Some((term, role)) {
            self.drawn_for = Some((term, role));
            let spread = self.election_ticks as u64;
            let extra = usize::try_from(self.next() % spread).unwrap_or(0);
            self.current = self.election_ticks + extra;
        }
        self.current
    }

    /// splitmix64: enough to keep candidates apart, and the same on every machine.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_once_per_term_and_role_within_the_range_and_by_the_seed_alone() {
        let draw = |seed: u64| -> Vec<usize> {
            let mut timeouts = Timeouts::new(seed, 15);
            (0..200).map(|term| timeouts.current(term, StateRole::Follower)).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|ticks| (15..30).contains(ticks)));
        assert!((15..30).all(|ticks| draw(1).contains(&ticks)));
        let mut timeouts = Timeouts::new(3, 1000);
        let first = timeouts.current(7, StateRole::Follower);
        assert_eq!(timeouts.current(7, StateRole::Follower), first);
        assert_ne!(timeouts.current(7, StateRole::Candidate), first);
    }
}
