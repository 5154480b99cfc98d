//! How fast the quorum's heart beats: a time-out for the silence of the Raft leader that follows
//! round trips, jitter and stalls, between two bounds.
//!
//! The heartbeat is a fixed part of the time-out, a quarter as a rule, so the time-out has to be
//! what a lease has to be that is renewed every quarter of it: the rule, the memory and the steps
//! are those of [`tenure_core::timing::adaptive`]. What counts as a trip:
//! - for the Raft leader, from a heartbeat until a quorum has answered it, and by how much it woke
//!   too late for one;
//! - for a follower, by how much the next sign of life came later than the leader's interval.
//!
//! Who waits and who beats must not disagree in the wrong direction. Every voter tells which
//! time-out it keeps; a follower keeps no shorter one than its leader's, and the leader beats as
//! often as the shortest one needs that any voter in reach has told. So a longer time-out is kept
//! by all before the heartbeat slows down, and the heartbeat is faster before anybody keeps a
//! shorter one. A wrong belief costs an election, never safety. The idea of following what is
//! measured is that of Dynatune (arXiv 2507.15154, 2025).

use core::time::Duration;
use tenure_core::{
    Moment, NodeId,
    timing::{
        Ttl,
        adaptive::{Pace, TtlRange},
    },
};

/// The time-out and the heartbeat that are in force at this node.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The longest time-out, and the heartbeat that belongs to it.
    longest: Duration,
    heartbeat: Duration,
    /// None when both stay as they are.
    pace: Option<Pace>,
    /// The time-out kept now.
    kept: Duration,
    /// The time-out that the heartbeats of this node, as Raft leader, are made for.
    served: Duration,
    /// The Raft leader's last sign of life.
    sign: Option<(NodeId, Moment)>,
    /// The leader that was silent for too long, since when, and the time-out that was kept.
    missed: Option<(NodeId, Moment, Duration)>,
    /// The worst since a measurement was last counted, and when that was: under load there are
    /// many in one heartbeat, and what is remembered is to be a time, not a number of frames.
    worst: Duration,
    counted: Moment,
}

/// What a node has to do with the Raft leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It leads; the shortest time-out that another voter told, if any did.
    Leads(Option<Duration>),
    /// It follows; the time-out that its leader told, if it did.
    Follows(Option<Duration>),
    /// Nobody leads, as far as it knows.
    Seeks,
}

impl Pulse {
    /// Fixed, or between `shortest` and `timeout`. It begins with the longest.
    pub(crate) fn new(timeout: Duration, heartbeat: Duration, shortest: Option<Duration>) -> Self {
        let bound = |length| Ttl::new(length).ok();
        let range = shortest.and_then(bound).zip(bound(timeout));
        let range = range.and_then(|(shortest, longest)| TtlRange::new(shortest, longest).ok());
        let pace = range.filter(|range| !range.is_fixed()).map(Pace::new);
        Self {
            longest: timeout,
            heartbeat,
            pace,
            kept: timeout,
            served: timeout,
            sign: None,
            missed: None,
            worst: Duration::ZERO,
            counted: Moment::default(),
        }
    }

    /// Whether there is anything to measure.
    pub(crate) fn adapts(&self) -> bool {
        self.pace.is_some()
    }

    /// The silence of the Raft leader that this node puts up with.
    pub(crate) fn timeout(&self) -> Duration {
        self.kept
    }

    /// Time between two heartbeats of this node when it leads.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.on_scale(self.heartbeat, self.served)
    }

    /// A length that is a part of the longest time-out, on the scale of what is in force.
    pub(crate) fn scaled(&self, length: Duration, leads: bool) -> Duration {
        self.on_scale(length, if leads { self.served } else { self.kept })
    }

    fn on_scale(&self, length: Duration, timeout: Duration) -> Duration {
        if timeout == self.longest {
            return length;
        }
        length.mul_f64(timeout.as_secs_f64() / self.longest.as_secs_f64())
    }

    /// The Raft leader, which keeps this time-out, gave a sign of life.
    pub(crate) fn heard_leader(&mut self, leader: NodeId, keeps: Option<Duration>, now: Moment) {
        if !self.adapts() {
            return;
        }
        let before = self.sign.replace((leader, now)).filter(|(who, _)| *who == leader);
        let (Some((_, before)), Some(keeps)) = (before, keeps) else { return };
        let beat = self.on_scale(self.heartbeat, keeps);
        self.measured(now.since(before).saturating_sub(beat), beat, now);
    }

    /// As Raft leader: a quorum answered a heartbeat after this time.
    pub(crate) fn answered(&mut self, trip: Duration, now: Moment) {
        self.measured(trip, self.heartbeat(), now);
    }

    /// Counts once in `every`, or at once what takes more than is kept. What no time-out within the
    /// bounds would outlast, as when a process was stopped for a while, says nothing about one
    /// that would.
    fn measured(&mut self, trip: Duration, every: Duration, now: Moment) {
        let Some(pace) = self.pace.as_mut().filter(|_| trip < self.longest) else { return };
        self.worst = self.worst.max(trip);
        if now.since(self.counted) >= every || self.worst * 4 > self.kept {
            self.counted = now;
            pace.acknowledged(core::mem::take(&mut self.worst), Duration::ZERO);
        }
    }

    /// This node woke too late: as Raft leader, for a heartbeat.
    pub(crate) fn woke_late(&mut self, late: Duration) {
        if let Some(pace) = self.pace.as_mut().filter(|_| late < self.longest) {
            pace.woke_late(late);
        }
    }

    /// This leader was silent for longer than the time-out. Whether that was too short shows when
    /// the leader is heard again.
    pub(crate) fn missed(&mut self, leader: NodeId, now: Moment) {
        self.sign = None;
        self.missed = Some((leader, now, self.kept));
    }

    /// Any frame from this node. A leader that was missed and is heard within a longest time-out
    /// was alive: the next time-out is a third longer. One that was dead or stopped is no reason.
    pub(crate) fn heard(&mut self, node: NodeId, now: Moment) {
        let Some((_, at, kept)) = self.missed.take_if(|(leader, ..)| *leader == node) else {
            return;
        };
        if let Some(pace) = self.pace.as_mut().filter(|_| now.since(at) < self.longest) {
            pace.lost(kept);
        }
    }

    /// Nothing follows from a silence in which this node was away, or nobody led.
    pub(crate) fn begin_again(&mut self) {
        self.sign = None;
    }

    /// Brings what is in force up to date.
    pub(crate) fn settle(&mut self, part: Part) {
        let Some(pace) = &self.pace else { return };
        let own = pace.wanted().get();
        match part {
            Part::Leads(least) => {
                self.kept = own;
                self.served = least.map_or(own, |least| own.min(least));
            }
            // A leader that tells nothing may beat as slowly as anybody.
            Part::Follows(leader) => {
                self.kept = own.max(leader.unwrap_or(self.longest)).min(self.longest);
                self.served = self.kept;
            }
            // There is nobody to wait longer for than before.
            Part::Seeks => self.served = self.kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pulse() -> Pulse {
        Pulse::new(500 * MS, 125 * MS, Some(20 * MS))
    }

    fn leader() -> NodeId {
        NodeId::new(7).unwrap()
    }

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn without_a_second_bound_nothing_moves() {
        let mut pulse = Pulse::new(500 * MS, 125 * MS, None);
        for beat in 0..100_000 {
            pulse.answered(MS, at(beat * 125));
            pulse.settle(Part::Leads(Some(20 * MS)));
        }
        assert_eq!((pulse.timeout(), pulse.heartbeat()), (500 * MS, 125 * MS));
        assert_eq!(pulse.scaled(25 * MS, true), 25 * MS);
    }

    #[test]
    fn a_leader_in_calm_beats_faster_and_one_slow_answer_slows_it_down_at_once() {
        let mut pulse = pulse();
        for beat in 0..10_000 {
            pulse.answered(MS, at(beat * 125));
        }
        pulse.settle(Part::Leads(None));
        assert_eq!((pulse.timeout(), pulse.heartbeat()), (20 * MS, 5 * MS));
        // Many in one heartbeat, of which one is slow, and counts.
        pulse.answered(MS, at(10_000 * 125));
        pulse.answered(30 * MS, at(10_000 * 125));
        pulse.answered(MS, at(10_000 * 125));
        pulse.settle(Part::Leads(None));
        assert!((120 * MS..160 * MS).contains(&pulse.timeout()), "{:?}", pulse.timeout());
        // It was stopped for longer than any time-out: that is no stall to be prepared for.
        let before = pulse.timeout();
        pulse.woke_late(2_000 * MS);
        pulse.answered(2_000 * MS, at(10_001 * 125));
        pulse.settle(Part::Leads(None));
        assert_eq!(pulse.timeout(), before);
        pulse.woke_late(60 * MS);
        pulse.settle(Part::Leads(None));
        assert!(pulse.timeout() >= 360 * MS, "{:?}", pulse.timeout());
    }

    #[test]
    fn the_heartbeat_slows_down_only_when_all_have_followed() {
        let mut leads = pulse();
        for beat in 0..10_000 {
            leads.answered(MS, at(beat * 125));
        }
        leads.settle(Part::Leads(Some(20 * MS)));
        leads.answered(50 * MS, at(10_000 * 125));
        leads.settle(Part::Leads(Some(20 * MS)));
        // It asks for a longer time-out, and still serves the shorter one.
        assert!(leads.timeout() >= 200 * MS);
        assert_eq!(leads.heartbeat(), 5 * MS);
        let mut follows = pulse();
        follows.settle(Part::Follows(Some(leads.timeout())));
        assert!(follows.timeout() >= leads.timeout());
        leads.settle(Part::Leads(Some(follows.timeout())));
        assert!(leads.heartbeat() >= 50 * MS);
    }

    #[test]
    fn a_follower_keeps_what_its_own_stalls_and_its_leader_need() {
        let mut pulse = pulse();
        // Calm: a sign of life every 5 ms, from a leader that serves 20 ms.
        for beat in 0..10_000 {
            pulse.heard_leader(leader(), Some(20 * MS), at(beat * 5));
        }
        pulse.settle(Part::Follows(Some(20 * MS)));
        assert_eq!(pulse.timeout(), 20 * MS);
        pulse.settle(Part::Follows(Some(100 * MS)));
        assert_eq!(pulse.timeout(), 100 * MS);
        // Nothing for 65 ms: 60 late.
        pulse.heard_leader(leader(), Some(20 * MS), at(9_999 * 5 + 65));
        pulse.settle(Part::Follows(Some(20 * MS)));
        assert!((240 * MS..310 * MS).contains(&pulse.timeout()), "{:?}", pulse.timeout());
        let before = pulse.timeout();
        pulse.settle(Part::Seeks);
        assert_eq!(pulse.timeout(), before);
        // An older leader tells nothing: it may beat as slowly as any.
        pulse.settle(Part::Follows(None));
        assert_eq!(pulse.timeout(), 500 * MS);
    }

    #[test]
    fn a_leader_that_was_missed_and_is_alive_makes_the_next_a_third_longer_and_one_that_is_gone_does_not()
     {
        let mut pulse = pulse();
        for beat in 0..10_000 {
            pulse.heard_leader(leader(), Some(20 * MS), at(beat * 5));
        }
        pulse.settle(Part::Follows(Some(20 * MS)));
        pulse.begin_again();
        pulse.heard_leader(leader(), Some(20 * MS), at(90_000));
        pulse.settle(Part::Follows(Some(20 * MS)));
        assert_eq!(pulse.timeout(), 20 * MS);
        // Missed, and heard long after: it was gone.
        pulse.missed(leader(), at(90_020));
        pulse.heard(leader(), at(91_000));
        pulse.settle(Part::Follows(Some(20 * MS)));
        assert_eq!(pulse.timeout(), 20 * MS);
        pulse.missed(leader(), at(91_020));
        pulse.heard(leader(), at(91_030));
        pulse.settle(Part::Follows(Some(20 * MS)));
        assert!(pulse.timeout() > 26 * MS);
    }
}
