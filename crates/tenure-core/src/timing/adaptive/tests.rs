//! Bounds, monotony, bursts and calm, over random measurements.

use alloc::{string::ToString, vec, vec::Vec};
use core::time::Duration;
use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn range(shortest: u64, longest: u64) -> TtlRange {
    TtlRange::new(Ttl::try_from(shortest).unwrap(), Ttl::try_from(longest).unwrap()).unwrap()
}

/// What one renewal went through, in milliseconds: its trip, how overdue and how late it was.
type Seen = (u64, u64, u64);

fn see(pace: &mut Pace, (trip, overdue, late): Seen) {
    pace.woke_late(ms(late));
    pace.acknowledged(ms(trip), ms(overdue));
}

fn after(range: TtlRange, seen: &[Seen]) -> Pace {
    let mut pace = Pace::new(range);
    for &seen in seen {
        see(&mut pace, seen);
    }
    pace
}

fn seen(most: u64) -> impl Strategy<Value = Vec<Seen>> {
    prop::collection::vec((0..most, 0..most, 0..most), 0..300)
}

proptest! {
    #[test]
    fn the_bounds_hold_whatever_is_seen(
        low in 10u64..5_000, more in 0u64..5_000, seen in seen(20_000),
    ) {
        let range = range(low, low + more);
        let mut pace = Pace::new(range);
        for seen in seen {
            see(&mut pace, seen);
            prop_assert!((range.shortest()..=range.longest()).contains(&pace.wanted()));
        }
    }

    /// Worse measurements never give a shorter lease.
    #[test]
    fn it_is_monotone_in_what_is_seen(
        seen in seen(800), worse in prop::collection::vec((0u64..400, 0u64..400, 0u64..400), 300),
    ) {
        let more: Vec<Seen> = seen
            .iter()
            .zip(&worse)
            .map(|(a, b)| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
            .collect();
        let range = range(50, 5_000);
        prop_assert!(after(range, &seen).wanted() <= after(range, &more).wanted());
    }

    /// After each renewal the lease is one that every renewal in memory would have survived.
    #[test]
    fn never_below_what_the_remembered_renewals_would_have_needed(seen in seen(900)) {
        let range = range(20, 5_000);
        let mut pace = Pace::new(range);
        let kept = (SLOTS - 1) * SLOT as usize;
        for at in 0..seen.len() {
            see(&mut pace, seen[at]);
            let from = (at + 1).saturating_sub(kept);
            let wanted = pace.wanted();
            for &(trip, overdue, late) in &seen[from..=at] {
                let spare = wanted.get() - wanted.renew_interval();
                let survives = spare >= ms(overdue) && spare >= ms(3 * (trip + late));
                prop_assert!(survives || wanted == range.longest(), "{wanted} after {at}");
            }
        }
    }

    #[test]
    fn a_burst_lengthens_at_once(calm in 0usize..3000, late in 1u64..2_000) {
        let range = range(50, 10_000);
        let mut pace = after(range, &vec![(2, 3, 0); calm]);
        let before = pace.wanted();
        pace.woke_late(ms(late));
        prop_assert!(pace.wanted() >= before);
        prop_assert!(pace.wanted().get() >= ms(4 * late), "{:?}", pace.wanted());
    }

    /// A burst is forgotten after [`SLOTS`] slots, and then every slot at least halves.
    #[test]
    fn calm_shortens_within_a_stated_number_of_renewals(late in 0u64..5_000) {
        let range = range(50, 10_000);
        let mut pace = Pace::new(range);
        pace.woke_late(ms(late));
        // From 10 s to 50 ms by halves, each rounded up to a step: at most 12 slots.
        for _ in 0..(SLOTS as u32 + 12) * SLOT {
            pace.acknowledged(ms(2), ms(3));
        }
        prop_assert_eq!(pace.wanted(), range.shortest());
    }
}

#[test]
fn without_evidence_the_lease_is_the_longest_and_falls_by_no_more_than_half() {
    let range = range(100, 4_000);
    let mut pace = Pace::new(range);
    let mut lengths = vec![pace.wanted()];
    for _ in 0..10 * SLOT {
        pace.acknowledged(ms(1), ms(2));
        if lengths.last() != Some(&pace.wanted()) {
            lengths.push(pace.wanted());
        }
    }
    assert!(lengths.windows(2).all(|pair| pair[1].get() * 2 >= pair[0].get()), "{lengths:?}");
    assert_eq!(lengths.last(), Some(&range.shortest()), "{lengths:?}");
}

#[test]
fn small_changes_of_the_round_trip_change_nothing() {
    let mut pace = after(range(50, 5_000), &vec![(20, 23, 3); 3_000]);
    let settled = pace.wanted();
    assert_eq!(settled.get(), ms(99), "4 * (20 + 3), at the next step from 50 ms");
    for trip in [18, 21, 19, 20, 21].into_iter().cycle().take(3_000) {
        see(&mut pace, (trip, 23, 3));
        assert_eq!(pace.wanted(), settled);
    }
}

#[test]
fn a_lost_lease_makes_the_next_one_longer() {
    let mut pace = after(range(100, 5_000), &vec![(1, 2, 0); 1_000]);
    assert_eq!(pace.wanted().get(), ms(100));
    pace.lost(ms(101));
    assert!(pace.wanted().get() >= ms(134), "{:?}", pace.wanted());
}

#[test]
fn a_fixed_length_stays() {
    let ttl = Ttl::try_from(300).unwrap();
    let pace = after(TtlRange::from(ttl), &vec![(900, 900, 900); 100]);
    assert_eq!(pace.wanted(), ttl);
    assert!(TtlRange::new(Ttl::MAX, Ttl::MIN).unwrap_err().to_string().contains("from 86400s"));
}
