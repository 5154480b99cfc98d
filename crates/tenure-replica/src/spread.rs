//! Where votes should lie: over zones, so that the loss of one takes as few of them as can be.
//!
//! Nodes that say no zone count as one zone of their own: nothing says that they are apart.

use std::collections::BTreeMap;

use tenure_core::{NodeId, Zone};

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) id: NodeId,
    pub(crate) zone: Option<&'a Zone>,
}

/// A vote that would lie better elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    /// The voter that has it.
    pub(crate) from: NodeId,
    /// The node that should have it.
    pub(crate) to: NodeId,
}

type Votes<'a> = BTreeMap<Option<&'a Zone>, usize>;

fn votes<'a>(voters: &[Place<'a>]) -> Votes<'a> {
    let mut votes = Votes::new();
    for voter in voters {
        *votes.entry(voter.zone).or_default() += 1;
    }
    votes
}

/// The candidate that should vote next: the first of those in the zone with the fewest votes.
/// Chosen so one after the other, voters lie as evenly as the candidates allow.
pub(crate) fn next<'a>(voters: &[Place<'a>], candidates: &[Place<'a>]) -> Option<NodeId> {
    let votes = votes(voters);
    let of = |it: &&Place<'a>| votes.get(&it.zone).copied().unwrap_or_default();
    candidates.iter().min_by_key(of).map(|it| it.id)
}

/// The voter that a further one should take the place of: of the zone that then has the most
/// votes, and of the newcomer's own among several such; not `keeps` if another is as good. The last
/// of them in the order given.
pub(crate) fn relieved(voters: &[Place<'_>], newcomer: Place<'_>, keeps: NodeId) -> Option<NodeId> {
    let mut votes = votes(voters);
    *votes.entry(newcomer.zone).or_default() += 1;
    let weight = |it: &&Place<'_>| (votes[&it.zone], it.zone == newcomer.zone, it.id != keeps);
    voters.iter().max_by_key(weight).map(|it| it.id)
}

/// A move that makes the spread better; none while a voter says no zone, because then nobody
/// knows how it is spread.
///
/// The zone with the most votes has at least two more than the zone that gets one. So each move
/// takes at least 2 off the sum of the squares of the zones' votes, and with nobody coming or
/// going there are never more moves than half of that.
pub(crate) fn better(
    voters: &[Place<'_>],
    candidates: &[Place<'_>],
    keeps: NodeId,
) -> Option<Move> {
    if voters.iter().any(|it| it.zone.is_none()) {
        return None;
    }
    let located: Vec<_> = candidates.iter().filter(|it| it.zone.is_some()).copied().collect();
    let votes = votes(voters);
    let of = |zone| votes.get(&zone).copied().unwrap_or_default();
    let to = next(voters, &located)?;
    let least = located.iter().find(|it| it.id == to).map(|it| of(it.zone))?;
    let (fullest, most) = votes.iter().max_by_key(|(_, votes)| **votes)?;
    if *most < least + 2 {
        return None;
    }
    let from = voters.iter().rev().find(|it| it.zone == *fullest && it.id != keeps)?;
    Some(Move { from: from.id, to })
}

/// The zone that has a majority of the votes, and how many.
pub(crate) fn majority<'a>(voters: &[Place<'a>]) -> Option<(&'a Zone, usize)> {
    let all = votes(voters);
    all.into_iter()
        .find_map(|(zone, votes)| Some((zone?, votes)).filter(|_| votes * 2 > voters.len()))
}

/// Whether a change of the voters makes the spread worse: more of them would go with one zone.
pub(crate) fn is_worse(before: &[Place<'_>], after: &[Place<'_>]) -> bool {
    let square = |voters| votes(voters).values().map(|votes| votes * votes).sum::<usize>();
    square(after) > square(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zones() -> Vec<Zone> {
        (0..5).map(|at| Zone::new(format!("z{at}")).expect("a name")).collect()
    }

    /// Nodes numbered from `first` in these zones.
    fn at<'a>(zones: &'a [Zone], of: &[usize], first: usize) -> Vec<Place<'a>> {
        let id = |number: usize| NodeId::new(number as u64 + 1).expect("not zero");
        let place =
            |(at, zone): (usize, &usize)| Place { id: id(first + at), zone: Some(&zones[*zone]) };
        of.iter().enumerate().map(place).collect()
    }

    /// Fewest votes that the fullest zone can have.
    fn best(voters: &[usize], candidates: &[usize], wanted: usize) -> usize {
        let count = |of: &[usize], zone| of.iter().filter(|it| **it == zone).count();
        let fits = |most: usize| {
            let of = |zone| {
                let has = count(voters, zone);
                has.max((has + count(candidates, zone)).min(most))
            };
            (0..5).map(of).sum::<usize>() >= wanted
        };
        let least = (0..5).map(|zone| count(voters, zone)).max().unwrap_or(0);
        (least..).find(|most| fits(*most) || *most > wanted).expect("a number")
    }

    fn fullest(voters: &[Place<'_>]) -> usize {
        votes(voters).into_values().max().unwrap_or(0)
    }

    proptest! {
        /// Whoever is left after a failure, replacing the others one by one spreads them no
        /// worse than it must be.
        #[test]
        fn replacements_lie_as_evenly_as_they_can(
            left in proptest::collection::vec(0usize..5, 0..7),
            spare in proptest::collection::vec(0usize..5, 0..12),
            wanted in 1usize..8,
        ) {
            let zones = zones();
            let mut voters = at(&zones, &left, 0);
            let mut candidates = at(&zones, &spare, left.len());
            while voters.len() < wanted {
                let Some(id) = next(&voters, &candidates) else { break };
                let taken = candidates.iter().position(|it| it.id == id).expect("one of them");
                voters.push(candidates.remove(taken));
            }
            let wanted = voters.len();
            prop_assert_eq!(fullest(&voters), best(&left, &spare, wanted));
        }

        /// Moves end, are few, and leave nothing better; the Raft leader keeps its vote.
        #[test]
        fn moves_end_where_nothing_is_better(
            voting in proptest::collection::vec(0usize..5, 1..8),
            spare in proptest::collection::vec(0usize..5, 0..12),
            keeps in 0usize..7,
        ) {
            let zones = zones();
            let mut voters = at(&zones, &voting, 0);
            let mut candidates = at(&zones, &spare, voting.len());
            let keeps = voters[keeps % voters.len()].id;
            let mut moves = 0;
            while let Some(Move { from, to }) = better(&voters, &candidates, keeps) {
                let before = voters.clone();
                prop_assert_ne!(from, keeps);
                let from = voters.iter().position(|it| it.id == from).expect("a voter");
                let to = candidates.iter().position(|it| it.id == to).expect("a candidate");
                // The one that gives its vote up may get one again.
                std::mem::swap(&mut voters[from], &mut candidates[to]);
                prop_assert!(!is_worse(&before, &voters));
                moves += 1;
                prop_assert!(moves <= voters.len() * voters.len() / 2);
            }
            let votes = votes(&voters);
            let most = fullest(&voters);
            for spare in &candidates {
                prop_assert!(votes.get(&spare.zone).copied().unwrap_or(0) + 2 > most);
            }
        }

        /// No other voter could be relieved for a better spread; the Raft leader only if nobody
        /// else is as good.
        #[test]
        fn the_fullest_zone_is_relieved(
            voting in proptest::collection::vec(0usize..5, 2..8), zone in 0usize..5, keeps in 0usize..7,
        ) {
            let zones = zones();
            let voters = at(&zones, &voting, 0);
            let newcomer = at(&zones, &[zone], voting.len())[0];
            let keeps = voters[keeps % voters.len()].id;
            let gone = relieved(&voters, newcomer, keeps).expect("one of them");
            let with = |without: NodeId| {
                let rest = voters.iter().filter(|it| it.id != without).copied();
                rest.chain([newcomer]).collect::<Vec<_>>()
            };
            for other in &voters {
                prop_assert!(!is_worse(&with(other.id), &with(gone)));
                let same = voters.iter().any(|it| it.id == gone && it.zone == other.zone);
                prop_assert!(gone != keeps || other.id == keeps || !same);
            }
        }
    }

    #[test]
    fn nobody_moves_while_a_voter_says_no_zone() {
        let zones = zones();
        let (mut voters, spare) = (at(&zones, &[0, 0, 0], 0), at(&zones, &[1], 3));
        let keeps = voters[0].id;
        let moved = better(&voters, &spare, keeps);
        assert_eq!(moved, Some(Move { from: voters[2].id, to: spare[0].id }));
        assert_eq!(majority(&voters), Some((&zones[0], 3)));
        voters[1].zone = None;
        assert_eq!(better(&voters, &spare, keeps), None);
        assert_eq!(next(&voters, &spare), Some(spare[0].id));
    }
}
