//! Who should lead which partition, from who is there and who leads what.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use crate::CandidateId;

/// How much of a family a participant takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appetite {
    /// Its share is in proportion to this; with 0 it leads nothing and gives away what it leads.
    pub weight: u16,
    /// It never leads more than this.
    pub max: Option<u32>,
}

impl Default for Appetite {
    fn default() -> Self {
        Self { weight: 1, max: None }
    }
}

/// The participant that should lead each partition, none when nobody there takes any more. `leaders`
/// says who leads each now.
///
/// - Everybody's share is its part by weight, rounded up or down, and at most its maximum.
/// - As few partitions move as is possible with these shares: a participant that leads no more than
///   its share keeps all of it.
/// - Everybody who knows the same comes to the same plan, and the plan of what a plan wanted is
///   that plan.
///
/// A partition goes to the participant that ranks highest for it among those whose share is not used
/// up (rendezvous hashing: D. Thaler, C. Ravishankar, 1996), so that a crash spreads over all.
#[must_use]
pub fn plan(
    participants: &BTreeMap<CandidateId, Appetite>,
    leaders: &[Option<CandidateId>],
) -> Vec<Option<CandidateId>> {
    let mut room = shares(participants, leaders);
    let mut plan: Vec<Option<CandidateId>> = vec![None; leaders.len()];
    for (participant, room) in &mut room {
        let held = (0..leaders.len()).filter(|at| leaders[*at].as_ref() == Some(participant));
        let mut held: Vec<usize> = held.collect();
        held.sort_by_key(|at| core::cmp::Reverse(rank(participant, *at)));
        held.truncate(usize::try_from(*room).unwrap_or(usize::MAX));
        for at in held {
            plan[at] = Some((*participant).clone());
            *room -= 1;
        }
    }
    for (at, planned) in plan.iter_mut().enumerate() {
        if planned.is_none() {
            let open = room.iter_mut().filter(|(_, room)| **room > 0);
            let Some((participant, room)) =
                open.max_by_key(|(participant, _)| rank(participant, at))
            else {
                break;
            };
            *room -= 1;
            *planned = Some((*participant).clone());
        }
    }
    plan
}

/// How many partitions each participant leads in the end.
fn shares<'a>(
    participants: &'a BTreeMap<CandidateId, Appetite>,
    leaders: &[Option<CandidateId>],
) -> BTreeMap<&'a CandidateId, u64> {
    let mut shares = BTreeMap::new();
    let mut left = leaders.len() as u64;
    let mut hungry: Vec<_> =
        participants.iter().filter(|(_, appetite)| appetite.weight > 0).collect();
    // Whoever has less room than its part takes what it can; the others share the rest.
    let all = loop {
        let all: u64 = hungry.iter().map(|(_, appetite)| u64::from(appetite.weight)).sum();
        let full = |appetite: &Appetite| {
            let max = appetite.max.map_or(u64::MAX, u64::from);
            (max.saturating_mul(all) < left * u64::from(appetite.weight)).then_some(max)
        };
        let (fed, rest): (Vec<_>, Vec<_>) =
            hungry.into_iter().partition(|(_, appetite)| full(appetite).is_some());
        hungry = rest;
        if fed.is_empty() {
            break all;
        }
        for (participant, appetite) in fed {
            let max = appetite.max.map_or(left, u64::from).min(left);
            left -= max;
            shares.insert(participant, max);
        }
    };
    if all == 0 {
        return shares;
    }
    let mut rounded: Vec<_> = hungry
        .into_iter()
        .map(|(participant, appetite)| {
            let part = left * u64::from(appetite.weight);
            (participant, part / all, part % all)
        })
        .collect();
    let mut over = left - rounded.iter().map(|(_, share, _)| share).sum::<u64>();
    let leads = |participant: &CandidateId| {
        leaders.iter().filter(|leader| leader.as_ref() == Some(participant)).count() as u64
    };
    // Those who lead that one more already are rounded up first: then it need not move.
    rounded.sort_by_cached_key(|(participant, share, part)| {
        (leads(participant) <= *share, core::cmp::Reverse(*part), (*participant).clone())
    });
    for (participant, share, part) in rounded {
        let up = u64::from(over > 0 && part > 0);
        over -= up;
        shares.insert(participant, share + up);
    }
    shares
}

/// The place of a participant in the order of this partition's own.
fn rank(participant: &CandidateId, partition: usize) -> (u64, &CandidateId) {
    // FNV-1a over the name and the number, and a finalizer (splitmix64) that spreads them.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in participant.as_str().bytes().chain((partition as u64).to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31), participant)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    fn id(number: usize) -> CandidateId {
        CandidateId::new(alloc::format!("m{number}")).expect("a name")
    }

    fn moves(before: &[Option<CandidateId>], after: &[Option<CandidateId>]) -> usize {
        before.iter().zip(after).filter(|(one, other)| one.is_some() && one != other).count()
    }

    fn led(plan: &[Option<CandidateId>], participant: &CandidateId) -> u64 {
        plan.iter().filter(|leader| leader.as_ref() == Some(participant)).count() as u64
    }

    fn equals(count: usize) -> BTreeMap<CandidateId, Appetite> {
        (0..count).map(|number| (id(number), Appetite::default())).collect()
    }

    #[test]
    fn a_member_that_joins_gets_its_share_and_nothing_else_moves() {
        let first = plan(&equals(4), &vec![None; 64]);
        let joined = plan(&equals(5), &first);
        assert_eq!(led(&joined, &id(4)), 12);
        assert_eq!(moves(&first, &joined), 12);
        let left = plan(&equals(4), &joined);
        assert_eq!(moves(&joined, &left), 12);
        assert!((0..4).all(|number| led(&left, &id(number)) == 16));
    }

    #[test]
    fn what_a_dead_member_led_spreads_over_all() {
        let first = plan(&equals(10), &vec![None; 1000]);
        let mut participants = equals(10);
        participants.remove(&id(3));
        let next = plan(&participants, &first);
        let gains = (0..10)
            .filter(|number| *number != 3)
            .map(|number| led(&next, &id(number)) - led(&first, &id(number)));
        assert!(
            gains.clone().all(|gain| (10..=12).contains(&gain)),
            "{:?}",
            gains.collect::<Vec<_>>()
        );
    }

    #[test]
    fn whoever_drains_gives_everything_away() {
        let mut participants = equals(3);
        let first = plan(&participants, &vec![None; 9]);
        participants.get_mut(&id(1)).expect("a participant").weight = 0;
        let next = plan(&participants, &first);
        assert_eq!((led(&next, &id(1)), moves(&first, &next)), (0, 3));
    }

    fn participants() -> impl Strategy<Value = BTreeMap<CandidateId, Appetite>> {
        let appetite = (0u16..5, proptest::option::of(0u32..40));
        let appetite = appetite.prop_map(|(weight, max)| Appetite { weight, max });
        proptest::collection::btree_map((0usize..12).prop_map(id), appetite, 0..9)
    }

    proptest! {
        #[test]
        fn shares_are_kept_and_nothing_moves_without_need(
            participants in participants(),
            leaders in proptest::collection::vec(proptest::option::of((0usize..12).prop_map(id)), 0..70),
        ) {
            let planned = plan(&participants, &leaders);
            let shares = shares(&participants, &leaders);
            let room: u64 = participants.values().filter(|it| it.weight > 0)
                .map(|it| it.max.map_or(u64::MAX, u64::from)).fold(0, u64::saturating_add);
            let assigned = planned.iter().flatten().count() as u64;
            prop_assert_eq!(assigned, room.min(leaders.len() as u64));
            let mut needed = 0;
            for participant in (0..12).map(id) {
                let share = shares.get(&participant).copied().unwrap_or(0);
                prop_assert!(led(&planned, &participant) <= share);
                let max = participants.get(&participant).and_then(|it| it.max);
                prop_assert!(max.is_none_or(|max| share <= u64::from(max)));
                needed += led(&leaders, &participant).saturating_sub(share);
            }
            // Only what is over somebody's share moves.
            let moved = leaders.iter().zip(&planned).filter(|(now, then)| now.is_some() && now != then);
            prop_assert_eq!(moved.count() as u64, needed);
            prop_assert_eq!(&plan(&participants, &planned), &planned);
        }

        /// Without maxima, everybody's share is its part by weight, rounded.
        #[test]
        fn shares_follow_the_weights(weights in proptest::collection::vec(1u16..9, 1..12), count in 0usize..200) {
            let participants: BTreeMap<_, _> = weights.iter().enumerate()
                .map(|(number, weight)| (id(number), Appetite { weight: *weight, max: None })).collect();
            let planned = plan(&participants, &vec![None; count]);
            let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (participant, appetite) in &participants {
                let exact = count as u64 * u64::from(appetite.weight);
                let led = led(&planned, participant);
                prop_assert!(led == exact / all || led == exact.div_ceil(all));
            }
        }

        /// However far the moves of a plan have come, and in whatever order: the rest of them is
        /// still what is planned.
        #[test]
        fn half_a_plan_leads_to_the_same_end(
            participants in participants(),
            leaders in proptest::collection::vec(proptest::option::of((0usize..12).prop_map(id)), 0..40),
            done in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let planned = plan(&participants, &leaders);
            let between: Vec<_> = leaders.iter().zip(&planned).zip(&done)
                .map(|((now, then), done)| if *done { then.clone() } else { now.clone() }).collect();
            let left = moves(&between, &plan(&participants, &between));
            prop_assert!(left <= moves(&leaders, &planned));
        }
    }
}
