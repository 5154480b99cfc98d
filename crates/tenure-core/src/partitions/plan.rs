//! Who should lead which partition, from who is there and who leads what.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use crate::CandidateId;

/// How much of a family a member takes.
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

/// The member that should lead each partition, none when nobody there takes any more. `leaders`
/// says who leads each now.
///
/// - Everybody's share is its part by weight, rounded up or down, and at most its maximum.
/// - As few partitions move as is possible with these shares: a member that leads no more than
///   its share keeps all of it.
/// - Everybody who knows the same comes to the same plan, and the plan of what a plan wanted is
///   that plan.
///
/// A partition goes to the member that ranks highest for it among those whose share is not used
/// up (rendezvous hashing: D. Thaler, C. Ravishankar, 1996), so that a crash spreads over all.
#[must_use]
pub fn plan(
    members: &BTreeMap<CandidateId, Appetite>,
    leaders: &[Option<CandidateId>],
) -> Vec<Option<CandidateId>> {
    let mut room = shares(members, leaders);
    let mut plan: Vec<Option<CandidateId>> = vec![None; leaders.len()];
    for (member, room) in &mut room {
        let held = (0..leaders.len()).filter(|at| leaders[*at].as_ref() == Some(member));
        let mut held: Vec<usize> = held.collect();
        held.sort_by_key(|at| core::cmp::Reverse(rank(member, *at)));
        held.truncate(usize::try_from(*room).unwrap_or(usize::MAX));
        for at in held {
            plan[at] = Some((*member).clone());
            *room -= 1;
        }
    }
    for (at, planned) in plan.iter_mut().enumerate() {
        if planned.is_none() {
            let open = room.iter_mut().filter(|(_, room)| **room > 0);
            let Some((member, room)) = open.max_by_key(|(member, _)| rank(member, at)) else {
                break;
            };
            *room -= 1;
            *planned = Some((*member).clone());
        }
    }
    plan
}

/// How many partitions each member leads in the end.
fn shares<'a>(
    members: &'a BTreeMap<CandidateId, Appetite>,
    leaders: &[Option<CandidateId>],
) -> BTreeMap<&'a CandidateId, u64> {
    let mut shares = BTreeMap::new();
    let mut left = leaders.len() as u64;
    let mut hungry: Vec<_> = members.iter().filter(|(_, appetite)| appetite.weight > 0).collect();
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
        for (member, appetite) in fed {
            let max = appetite.max.map_or(left, u64::from).min(left);
            left -= max;
            shares.insert(member, max);
        }
    };
    if all == 0 {
        return shares;
    }
    let mut rounded: Vec<_> = hungry
        .into_iter()
        .map(|(member, appetite)| {
            let part = left * u64::from(appetite.weight);
            (member, part / all, part % all)
        })
        .collect();
    let mut over = left - rounded.iter().map(|(_, share, _)| share).sum::<u64>();
    let leads = |member: &CandidateId| {
        leaders.iter().filter(|leader| leader.as_ref() == Some(member)).count() as u64
    };
    // Those who lead that one more already are rounded up first: then it need not move.
    rounded.sort_by_cached_key(|(member, share, part)| {
        (leads(member) <= *share, core::cmp::Reverse(*part), (*member).clone())
    });
    for (member, share, part) in rounded {
        let up = u64::from(over > 0 && part > 0);
        over -= up;
        shares.insert(member, share + up);
    }
    shares
}

/// The place of a member in the order of this partition's own.
fn rank(member: &CandidateId, partition: usize) -> (u64, &CandidateId) {
    // FNV-1a over the name and the number, and a finalizer (splitmix64) that spreads them.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in member.as_str().bytes().chain((partition as u64).to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31), member)
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

    fn led(plan: &[Option<CandidateId>], member: &CandidateId) -> u64 {
        plan.iter().filter(|leader| leader.as_ref() == Some(member)).count() as u64
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
        let mut members = equals(10);
        members.remove(&id(3));
        let next = plan(&members, &first);
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
        let mut members = equals(3);
        let first = plan(&members, &vec![None; 9]);
        members.get_mut(&id(1)).expect("a member").weight = 0;
        let next = plan(&members, &first);
        assert_eq!((led(&next, &id(1)), moves(&first, &next)), (0, 3));
    }

    fn members() -> impl Strategy<Value = BTreeMap<CandidateId, Appetite>> {
        let appetite = (0u16..5, proptest::option::of(0u32..40));
        let appetite = appetite.prop_map(|(weight, max)| Appetite { weight, max });
        proptest::collection::btree_map((0usize..12).prop_map(id), appetite, 0..9)
    }

    proptest! {
        #[test]
        fn shares_are_kept_and_nothing_moves_without_need(
            members in members(),
            leaders in proptest::collection::vec(proptest::option::of((0usize..12).prop_map(id)), 0..70),
        ) {
            let planned = plan(&members, &leaders);
            let shares = shares(&members, &leaders);
            let room: u64 = members.values().filter(|it| it.weight > 0)
                .map(|it| it.max.map_or(u64::MAX, u64::from)).fold(0, u64::saturating_add);
            let assigned = planned.iter().flatten().count() as u64;
            prop_assert_eq!(assigned, room.min(leaders.len() as u64));
            let mut needed = 0;
            for member in (0..12).map(id) {
                let share = shares.get(&member).copied().unwrap_or(0);
                prop_assert!(led(&planned, &member) <= share);
                let max = members.get(&member).and_then(|it| it.max);
                prop_assert!(max.is_none_or(|max| share <= u64::from(max)));
                needed += led(&leaders, &member).saturating_sub(share);
            }
            // Only what is over somebody's share moves.
            let moved = leaders.iter().zip(&planned).filter(|(now, then)| now.is_some() && now != then);
            prop_assert_eq!(moved.count() as u64, needed);
            prop_assert_eq!(&plan(&members, &planned), &planned);
        }

        /// Without maxima, everybody's share is its part by weight, rounded.
        #[test]
        fn shares_follow_the_weights(weights in proptest::collection::vec(1u16..9, 1..12), count in 0usize..200) {
            let members: BTreeMap<_, _> = weights.iter().enumerate()
                .map(|(number, weight)| (id(number), Appetite { weight: *weight, max: None })).collect();
            let planned = plan(&members, &vec![None; count]);
            let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (member, appetite) in &members {
                let exact = count as u64 * u64::from(appetite.weight);
                let led = led(&planned, member);
                prop_assert!(led == exact / all || led == exact.div_ceil(all));
            }
        }

        /// However far the moves of a plan have come, and in whatever order: the rest of them is
        /// still what is planned.
        #[test]
        fn half_a_plan_leads_to_the_same_end(
            members in members(),
            leaders in proptest::collection::vec(proptest::option::of((0usize..12).prop_map(id)), 0..40),
            done in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let planned = plan(&members, &leaders);
            let between: Vec<_> = leaders.iter().zip(&planned).zip(&done)
                .map(|((now, then), done)| if *done { then.clone() } else { now.clone() }).collect();
            prop_assert_eq!(moves(&between, &plan(&members, &between)) <= moves(&leaders, &planned), true);
        }
    }
}
