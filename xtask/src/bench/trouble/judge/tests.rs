//! The judge on made-up journals.

use super::*;

const MS: u64 = 1_000_000;
const STRICT: Rules = Rules { ttl: 2000 * MS, joins_within: 5000 * MS, wakes_within: 0 };

fn journal(of: &[(u64, &str, What)]) -> Vec<Entry> {
    of.iter()
        .map(|(at, node, what)| Entry { at: at * MS, node: (*node).into(), what: what.clone() })
        .collect()
}

fn led(token: u64) -> What {
    What::Shows(Shown::Led(token))
}

/// Two nodes; `a` leads with token 1 from 20 ms on, known to both at 30 ms.
fn begun(more: &[(u64, &str, What)]) -> Vec<Entry> {
    let mut all = vec![
        (0, "a", What::Begun),
        (0, "b", What::Begun),
        (20, "a", What::Elected(1)),
        (21, "a", led(1)),
        (30, "b", led(1)),
    ];
    all.extend_from_slice(more);
    journal(&all)
}

fn spans(verdict: &Verdict) -> Vec<(u64, u64)> {
    verdict.gaps.iter().map(|gap| (gap.from / MS, gap.to / MS)).collect()
}

#[test]
fn nothing_happens() {
    let verdict = judge(&begun(&[]), 100 * MS, 1100 * MS, STRICT);
    assert_eq!((verdict.availability(), verdict.led(), verdict.grants), (1.0, 1.0, 0));
    assert!(verdict.gaps.is_empty());
}

#[test]
fn a_killed_leader_leaves_a_gap_until_the_last_node_knows() {
    let entries = begun(&[
        (200, "c", What::Begun),
        (200, "a", What::Killed),
        (210, "b", What::Elected(2)),
        (212, "b", led(2)),
        (260, "c", led(2)),
    ]);
    let verdict = judge(&entries, 100 * MS, 1100 * MS, STRICT);
    // `c` has not joined before it shows a leader, so it is not what was waited for.
    assert_eq!(spans(&verdict), [(200, 212)]);
    assert_eq!((verdict.gaps[0].leaderless, verdict.gaps[0].wrong), (10 * MS, 1));
    assert_eq!((verdict.grants, verdict.unprovoked), (1, 0));
    assert!((verdict.availability() - 0.988).abs() < 1e-9);
    assert!((verdict.led() - 0.99).abs() < 1e-9);
    assert_eq!((verdict.joins.as_slice(), verdict.overlaps), (&[60 * MS][..], 0));
    let later = judge(&entries, 250 * MS, 1100 * MS, STRICT);
    assert!(later.joins.is_empty(), "it was started before what is judged");
}

#[test]
fn a_node_that_shows_nobody_or_does_not_know_is_a_gap() {
    let entries = begun(&[
        (200, "b", What::Shows(Shown::Unknown("its voter is silent".into()))),
        (290, "b", led(1)),
        (300, "b", What::Shows(Shown::Vacant)),
        (301, "b", led(1)),
    ]);
    let verdict = judge(&entries, 100 * MS, 1100 * MS, STRICT);
    assert_eq!(spans(&verdict), [(200, 290), (300, 301)]);
    assert_eq!(verdict.gaps[0].example.as_deref(), Some("b does not know: its voter is silent"));
    assert_eq!(
        (verdict.gaps[0].wrong, verdict.gaps[0].live, verdict.gaps[0].leaderless),
        (1, 2, 0)
    );
}

#[test]
fn a_paused_leader_is_valid_until_its_lease_ends_and_the_paused_are_not_asked() {
    let entries = begun(&[
        (900, "a", What::Lease { token: 1, until: 2800 * MS }),
        (1000, "a", What::Paused),
        (2850, "b", What::Elected(2)),
        (2851, "b", led(2)),
        (4000, "a", What::Woken),
        (4007, "a", led(2)),
        (4008, "a", What::Lost(1, "expired".into())),
    ]);
    let verdict = judge(&entries, 100 * MS, 5000 * MS, STRICT);
    assert_eq!(spans(&verdict), [(2800, 2851), (4000, 4007)]);
    assert_eq!((verdict.wakes.as_slice(), verdict.overlaps), (&[7 * MS][..], 0));
    let lease_over = verdict.gaps.iter().map(|gap| gap.lease_over.as_deref());
    assert_eq!(lease_over.collect::<Vec<_>>(), [Some("a"), None]);
    let lenient = Rules { wakes_within: 100 * MS, ..STRICT };
    assert_eq!(spans(&judge(&entries, 100 * MS, 5000 * MS, lenient)), [(2800, 2851)]);
    let impatient = Rules { wakes_within: 5 * MS, ..STRICT };
    let verdict = judge(&entries, 100 * MS, 5000 * MS, impatient);
    assert_eq!(spans(&verdict), [(2800, 2851), (4005, 4007)]);
}

#[test]
fn a_renewal_between_the_last_words_and_the_pause_is_counted() {
    // Told at 1000 that the lease, which began at 950, lasts until 2950; paused at 1900, when
    // those of 1450 must have been answered.
    assert_eq!(deadline(2950 * MS, 1900 * MS, 2000 * MS), 3450 * MS);
    assert_eq!(deadline(2950 * MS, 1451 * MS, 2000 * MS), 2950 * MS);
}

#[test]
fn a_node_that_never_shows_a_leader_counts_in_the_end() {
    let entries = begun(&[(200, "c", What::Begun), (210, "c", What::Listens)]);
    let verdict = judge(&entries, 100 * MS, 6000 * MS, STRICT);
    assert_eq!(spans(&verdict), [(5210, 6000)]);
}

#[test]
fn whoever_was_asked_to_end_is_not_waited_for_and_leads_until_it_says_otherwise() {
    let entries = begun(&[
        (200, "a", What::Asked),
        (203, "a", What::Lost(1, "resigned".into())),
        (205, "b", What::Elected(2)),
        (206, "b", led(2)),
        (230, "a", What::Ended),
    ]);
    let verdict = judge(&entries, 100 * MS, 1100 * MS, STRICT);
    assert_eq!(spans(&verdict), [(203, 206)]);
    assert_eq!(verdict.gaps[0].leaderless, 2 * MS);
}

#[test]
fn a_grant_beside_a_valid_one_is_an_overlap() {
    let entries = begun(&[(200, "b", What::Elected(2)), (300, "a", What::Lost(1, "late".into()))]);
    let verdict = judge(&entries, 100 * MS, 1100 * MS, STRICT);
    assert_eq!((verdict.overlaps, verdict.unprovoked), (1, 1));
}
