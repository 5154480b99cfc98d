//! The one rule that no scenario may break: an election has one holder at a time, and tokens
//! only go up.
//!
//! Judged by what the processes themselves said, with one clock:
//! - a tenure begins with `elected`;
//! - it ends with `lost` or `hand_over`, which the holder stamps before it gives anything up,
//!   or just before the test killed its process, or asked it to stop;
//! - a holder that was stopped or cut off says `lost` late, and that harms nobody: what it
//!   believed ended with its lease, whose end it said in its last `lease` line.
//!
//! A tenure without an end holds for ever, so whoever is elected after it is one too many.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{Journal, Line};

#[derive(Debug, Clone)]
struct Tenure {
    node: String,
    token: u64,
    began: u64,
    ended: u64,
}

/// Checks what was said about all elections. Gives the number of tenures that were looked at.
#[track_caller]
pub(crate) fn check(journal: &Journal) -> usize {
    let lines = journal.lines();
    let elections: BTreeSet<_> = lines
        .iter()
        .filter(|line| line.event == "elected")
        .map(|line| line.text("election").to_owned())
        .collect();
    let mut looked_at = 0;
    for election in elections {
        let tenures = tenures(&lines, &election);
        looked_at += tenures.len();
        if let Some(broken) = overlap(&tenures) {
            panic!("{election}: {broken}\n{tenures:#?}\n{}", journal.tail(200));
        }
    }
    if let Some(broken) = views_go_back(&lines) {
        panic!("{broken}\n{}", journal.tail(200));
    }
    looked_at
}

fn tenures(lines: &[Line], election: &str) -> Vec<Tenure> {
    let mut tenures: Vec<_> = lines
        .iter()
        .filter(|line| line.is("elected", election))
        .map(|line| {
            let token = line.number("token");
            Tenure {
                node: line.node.clone(),
                token,
                began: line.mono_ns,
                ended: end(lines, election, line.run, token),
            }
        })
        .collect();
    tenures.sort_by_key(|tenure| tenure.began);
    tenures
}

fn end(lines: &[Line], election: &str, run: u32, token: u64) -> u64 {
    let mut given_up = u64::MAX;
    let mut lost = None;
    let mut lease = None;
    for line in lines.iter().filter(|line| line.run == run) {
        let about = |event| line.is(event, election) && line.number("token") == token;
        if line.event == "killed"
            || line.event == "asked_to_stop"
            || about("hand_over")
            || about("handover")
            || about("resigned")
        {
            given_up = given_up.min(line.mono_ns);
        } else if about("lost") {
            lost = Some(line.mono_ns);
        } else if about("lease") && line.number("remaining_ms") > 0 {
            let until = line.mono_ns + line.number("remaining_ms") * 1_000_000;
            lease = lease.max(Some(until));
        }
    }
    match (lost, lease) {
        // What it believed when it was paused or cut off was no longer than its lease.
        (Some(lost), Some(lease)) => given_up.min(lost).min(lease),
        (Some(lost), None) => given_up.min(lost),
        (None, _) => given_up,
    }
}

fn overlap(tenures: &[Tenure]) -> Option<String> {
    tenures.windows(2).find_map(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        if a.token >= b.token {
            return Some(format!("token {} was followed by {}", a.token, b.token));
        }
        (a.ended > b.began).then(|| {
            let held = a.ended.saturating_sub(b.began) / 1_000;
            format!(
                "{} (token {}) and {} (token {}) both led, for {held} µs or more",
                a.node, a.token, b.node, b.token
            )
        })
    })
}

/// A process never shows an older leader after a newer one.
fn views_go_back(lines: &[Line]) -> Option<String> {
    let mut latest: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.event == "view") {
        let revision = line.body["revision"].as_u64().unwrap_or(0);
        let seen = latest.entry((line.run, line.text("election"))).or_default();
        if revision < *seen {
            return Some(format!("{} went back from revision {seen} to {revision}", line.node));
        }
        *seen = revision;
    }
    None
}

/// The checker itself must find what is wrong.
mod tests {
    use super::super::journal::Journal;

    fn say(journal: &Journal, run: u32, at: u64, rest: &str) {
        let line = format!(r#"{{"election":"e","mono_ns":{at},{rest}}}"#);
        journal.hear(&format!("n{run}"), run, &line);
    }

    fn verdict(journal: &Journal) -> Option<String> {
        let lines = journal.lines();
        super::overlap(&super::tenures(&lines, "e")).or_else(|| super::views_go_back(&lines))
    }

    const ELECTED: &str = r#""event":"elected","token":"#;
    const LOST: &str = r#""event":"lost","reason":"x","token":"#;

    fn elected(journal: &Journal, run: u32, at: u64, token: u64) {
        say(journal, run, at, &format!("{ELECTED}{token}"));
    }

    fn lost(journal: &Journal, run: u32, at: u64, token: u64) {
        say(journal, run, at, &format!("{LOST}{token}"));
    }

    #[test]
    fn one_after_another_is_fine() {
        let journal = Journal::default();
        elected(&journal, 1, 10, 5);
        lost(&journal, 1, 20, 5);
        elected(&journal, 2, 20, 6);
        assert_eq!(verdict(&journal), None);
        assert_eq!(super::check(&journal), 2);
    }

    #[test]
    fn two_at_once_are_found() {
        let journal = Journal::default();
        elected(&journal, 1, 10, 5);
        elected(&journal, 2, 20, 6);
        assert!(verdict(&journal).unwrap().contains("both led"), "never lost");
        lost(&journal, 1, 21, 5);
        assert!(verdict(&journal).unwrap().contains("both led"), "lost too late");
    }

    #[test]
    fn tokens_that_do_not_rise_are_found() {
        let journal = Journal::default();
        elected(&journal, 1, 10, 5);
        lost(&journal, 1, 20, 5);
        elected(&journal, 2, 30, 5);
        assert!(verdict(&journal).unwrap().contains("followed by"));
    }

    #[test]
    fn a_sleeper_held_until_the_end_of_its_lease() {
        let lease = r#""event":"lease","token":5,"remaining_ms":1"#;
        let journal = Journal::default();
        elected(&journal, 1, 10, 5);
        say(&journal, 1, 10, lease);
        elected(&journal, 2, 1_000_011, 6);
        lost(&journal, 1, 9_000_000, 5);
        assert_eq!(verdict(&journal), None);
        let journal = Journal::default();
        elected(&journal, 1, 10, 5);
        say(&journal, 1, 10, lease);
        elected(&journal, 2, 1_000_009, 6);
        lost(&journal, 1, 9_000_000, 5);
        assert!(verdict(&journal).unwrap().contains("both led"));
    }

    #[test]
    fn a_view_that_goes_back_is_found() {
        let journal = Journal::default();
        say(&journal, 1, 10, r#""event":"view","revision":7"#);
        say(&journal, 1, 11, r#""event":"view","revision":6"#);
        assert!(verdict(&journal).unwrap().contains("went back"));
    }
}
