//! Processes that were proved dead, and what the Raft leader must still be told of them.
//!
//! A thousand may die together: each is reported when its death is learned, and those whose
//! sessions stay open are reported again after a while, all together.

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;
use tenure_core::{Incarnation, Moment, WallTime};

/// Time after which a proof of death is sent to the Raft leader again.
const SEND_AGAIN: Duration = Duration::from_millis(250);
/// For how long a dead process is remembered: a session that was asked for just before the death
/// may still be in the log's way.
const DEAD_FOR: Duration = Duration::from_secs(60);

/// The dead.
#[derive(Debug)]
pub(crate) struct Dead {
    /// When the death was observed, and when this node learned of it.
    known: BTreeMap<Incarnation, (WallTime, Moment)>,
    /// Those whose sessions may still be open.
    open: BTreeSet<Incarnation>,
    /// Of these, who is to be reported at once.
    fresh: Vec<Incarnation>,
    next_report: Moment,
}

impl Dead {
    pub(crate) fn new(now: Moment) -> Self {
        Self { known: BTreeMap::new(), open: BTreeSet::new(), fresh: Vec::new(), next_report: now }
    }

    pub(crate) fn learned(&mut self, process: Incarnation, observed: WallTime, now: Moment) {
        self.known.entry(process).or_insert((observed, now));
        if self.open.insert(process) {
            self.fresh.push(process);
        }
    }

    /// A process opened a session: perhaps one that is dead by now.
    pub(crate) fn opened(&mut self, process: Incarnation) {
        if self.known.contains_key(&process) {
            self.open.insert(process);
            self.fresh.push(process);
        }
    }

    /// There is another Raft leader, or another state: everything is reported once more.
    pub(crate) fn begin_again(&mut self, now: Moment) {
        self.open.extend(self.known.keys());
        self.next_report = now;
    }

    /// Whom to report now.
    pub(crate) fn due(
        &mut self,
        now: Moment,
        has_session: impl Fn(Incarnation) -> bool,
    ) -> Vec<(Incarnation, WallTime)> {
        if self.known.is_empty() || (self.fresh.is_empty() && now < self.next_report) {
            return Vec::new();
        }
        let fresh = std::mem::take(&mut self.fresh);
        let mut processes: Vec<_> = fresh.into_iter().filter(|id| has_session(*id)).collect();
        if self.next_report <= now {
            self.next_report = now + SEND_AGAIN;
            self.open.retain(|process| has_session(*process));
            processes = self.open.iter().copied().collect();
        }
        let observed = |id: &Incarnation| self.known.get(id).map(|(observed, _)| (*id, *observed));
        let due = processes.iter().filter_map(observed).collect();
        self.known.retain(|_, (_, learned)| now.since(*learned) < DEAD_FOR);
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        (!self.open.is_empty()).then_some(self.next_report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(number: u64) -> Incarnation {
        Incarnation::from_random(number)
    }

    #[test]
    fn each_of_a_thousand_is_reported_once_and_again_only_while_it_holds_something() {
        let (mut dead, mut now) = (Dead::new(Moment::default()), Moment::from_nanos(1));
        let mut reports = 0;
        for number in 0..1000 {
            dead.learned(process(number), WallTime::default(), now);
            reports += dead.due(now, |_| true).len();
        }
        assert_eq!(reports, 1000);
        assert!(dead.due(now, |_| true).is_empty());
        now = now + SEND_AGAIN;
        assert_eq!(dead.next_deadline(), Some(now));
        assert_eq!(dead.due(now, |id| id == process(7)), [(process(7), WallTime::default())]);
        // A session of another was opened late; a stranger's is nobody's business.
        dead.opened(process(8));
        dead.opened(process(2000));
        assert_eq!(dead.due(now, |_| true), [(process(8), WallTime::default())]);
        now = now + SEND_AGAIN;
        assert!(dead.due(now, |_| false).is_empty());
        assert_eq!(dead.next_deadline(), None);
        dead.begin_again(now);
        assert_eq!(dead.due(now, |_| true).len(), 1000);
        now = now + DEAD_FOR;
        dead.due(now, |_| false);
        dead.begin_again(now);
        assert!(dead.due(now, |_| true).is_empty());
    }
}
