//! News that can wait a moment, so that a thousand observers of a thousand candidates are not
//! told of each one alone.

use std::collections::BTreeMap;

use core::time::Duration;
use tenure_core::{ElectionName, Moment, ledger::Event};

/// So few observers are told at once, whatever it is.
const FEW: usize = 16;
/// Each observer more lets the news wait this much longer.
const EACH: Duration = Duration::from_millis(1);
/// It never waits longer.
const LONGEST: Duration = Duration::from_secs(1);
/// Changes that are told one by one when they were many; observers see the state in any case.
const EVENTS: usize = 32;

/// What waits, by election.
#[derive(Debug, Default)]
pub(super) struct Calm {
    waiting: BTreeMap<ElectionName, (Moment, Vec<Event>)>,
}

impl Calm {
    /// Takes in what changed in one election; gives what is to be told now, if anything.
    pub(super) fn pass(
        &mut self,
        election: &ElectionName,
        mut events: Vec<Event>,
        observers: usize,
        now: Moment,
    ) -> Option<Vec<Event>> {
        let urgent = observers <= FEW || !events.iter().all(|event| event.kind.can_wait());
        match (self.waiting.get_mut(election), urgent) {
            (None, true) => Some(events),
            (Some(_), true) => {
                let (_, mut before) = self.waiting.remove(election)?;
                before.append(&mut events);
                Some(before)
            }
            (Some((_, waiting)), false) => {
                waiting.append(&mut events);
                waiting.drain(..waiting.len().saturating_sub(EVENTS));
                None
            }
            (None, false) => {
                let pause = (EACH * u32::try_from(observers).unwrap_or(u32::MAX)).min(LONGEST);
                self.waiting.insert(election.clone(), (now + pause, events));
                None
            }
        }
    }

    /// What has waited long enough.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(ElectionName, Vec<Event>)> {
        let due = self.waiting.extract_if(.., |_, (at, _)| *at <= now);
        due.map(|(election, (_, events))| (election, events)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.values().map(|(at, _)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::{CandidateId, Revision, WallTime, ledger::EventKind};

    use super::*;

    fn event(number: u64, kind: EventKind) -> Event {
        Event { revision: Revision::new(number), at: WallTime::default(), kind }
    }

    fn joined(number: u64) -> Event {
        let election = ElectionName::new("demo").unwrap();
        let candidate = CandidateId::new(format!("c{number}")).unwrap();
        event(number, EventKind::CandidateJoined { election, candidate })
    }

    #[test]
    fn candidates_that_join_one_after_another_are_told_together_and_before_what_is_urgent() {
        let demo = ElectionName::new("demo").unwrap();
        let (mut calm, start) = (Calm::default(), Moment::from_nanos(1_000_000_000));
        assert_eq!(calm.pass(&demo, vec![joined(1)], FEW, start), Some(vec![joined(1)]));
        for number in 2..=100 {
            assert_eq!(calm.pass(&demo, vec![joined(number)], 1000, start), None);
        }
        assert!(calm.due(start).is_empty());
        assert_eq!(calm.next_deadline(), Some(start + LONGEST));
        let paused = event(101, EventKind::Paused { election: demo.clone() });
        let told = calm.pass(&demo, vec![paused.clone()], 1000, start).unwrap();
        assert_eq!(told.len(), EVENTS + 1);
        assert_eq!((&told[0], told.last()), (&joined(69), Some(&paused)));
        assert_eq!(calm.next_deadline(), None);
        calm.pass(&demo, vec![joined(102)], 1000, start);
        assert_eq!(calm.due(start + LONGEST), [(demo, vec![joined(102)])]);
    }
}
