//! Which of etcd's events are worth a hint.
//!
//! All candidates of an election lie in one queue, and only the first of them leads. That
//! somebody joins, or leaves from the middle, changes nothing for anybody else: without this
//! filter a queue of two hundred would ask two hundred times for each of its members.

use std::collections::BTreeMap;

use tenure_core::ElectionName;

/// What is known of one election.
#[derive(Debug, Default)]
struct Sight {
    first: First,
    /// Revision of the latest event.
    touched: i64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum First {
    #[default]
    Unknown,
    Vacant {
        since: i64,
    },
    Key(Vec<u8>),
}

/// The elections that are followed.
#[derive(Debug, Default)]
pub(crate) struct Sights(BTreeMap<ElectionName, Sight>);

impl Sights {
    pub(crate) fn follow(&mut self, election: ElectionName) {
        self.0.entry(election).or_default();
    }

    pub(crate) fn unfollow(&mut self, election: &ElectionName) {
        self.0.remove(election);
    }

    /// Events may have been missed.
    pub(crate) fn forget(&mut self) {
        self.0.values_mut().for_each(|sight| sight.first = First::Unknown);
    }

    /// A key was written or deleted. True when that may change who leads.
    pub(crate) fn event(
        &mut self,
        election: &ElectionName,
        key: &[u8],
        deleted: bool,
        revision: i64,
    ) -> bool {
        let Some(sight) = self.0.get_mut(election) else { return false };
        sight.touched = sight.touched.max(revision);
        let matters = match &sight.first {
            First::Unknown => true,
            First::Vacant { .. } => !deleted,
            First::Key(first) => first == key && deleted,
        };
        if matters {
            sight.first = First::Unknown;
        }
        matters
    }

    /// etcd answered which key is first at a revision. Gives the revision to report, and
    /// whether an event came meanwhile that the answer does not know of.
    ///
    /// A vacancy keeps the revision at which it was first seen, so that it is not news again
    /// each time anything else in etcd changes.
    pub(crate) fn answered(
        &mut self,
        election: &ElectionName,
        first: Option<(&[u8], i64)>,
        revision: i64,
    ) -> (i64, bool) {
        let created = first.map(|(_, created)| created);
        let Some(sight) = self.0.get_mut(election) else {
            return (created.unwrap_or(revision), false);
        };
        if sight.touched > revision {
            sight.first = First::Unknown;
            return (created.unwrap_or(revision), true);
        }
        match (first, &sight.first) {
            (Some((key, created)), _) => {
                sight.first = First::Key(key.to_vec());
                (created, false)
            }
            (None, First::Vacant { since }) => (*since, false),
            (None, _) => {
                sight.first = First::Vacant { since: revision };
                (revision, false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed() -> (Sights, ElectionName) {
        let (mut sights, election) = (Sights::default(), ElectionName::new("e").unwrap());
        sights.follow(election.clone());
        (sights, election)
    }

    #[test]
    fn only_what_may_change_the_leader_is_a_hint() {
        let (mut sights, e) = followed();
        assert!(sights.event(&e, b"a", false, 5), "nothing was known");
        assert_eq!(sights.answered(&e, Some((b"a", 5)), 5), (5, false));
        assert!(!sights.event(&e, b"b", false, 6), "somebody joined");
        assert!(!sights.event(&e, b"b", true, 7), "and left");
        assert!(sights.event(&e, b"a", true, 8), "the leader left");
        assert_eq!(sights.answered(&e, None, 8), (8, false));
        assert_eq!(sights.answered(&e, None, 20), (8, false), "still vacant");
        assert!(sights.event(&e, b"c", false, 21));
        sights.unfollow(&e);
        assert!(!sights.event(&e, b"c", true, 22));
    }

    #[test]
    fn an_answer_that_events_have_passed_on_its_way_is_asked_for_again() {
        let (mut sights, e) = followed();
        sights.answered(&e, Some((b"a", 5)), 5);
        assert!(sights.event(&e, b"a", true, 9));
        assert_eq!(sights.answered(&e, Some((b"a", 5)), 7), (5, true));
        assert!(sights.event(&e, b"b", true, 10), "the stale answer is not believed");
        assert_eq!(sights.answered(&e, None, 10), (10, false));
    }

    #[test]
    fn whoever_came_and_went_unseen_ends_the_vacancy() {
        let (mut sights, e) = followed();
        assert_eq!(sights.answered(&e, None, 3), (3, false));
        sights.event(&e, b"a", false, 4);
        sights.event(&e, b"a", true, 6);
        assert_eq!(sights.answered(&e, None, 8), (8, false));
        sights.forget();
        assert_eq!(sights.answered(&e, None, 12), (12, false));
    }
}
