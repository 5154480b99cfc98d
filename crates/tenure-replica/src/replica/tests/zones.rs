//! Votes go where they are wanted, one change at a time.

use super::*;
use tenure_core::{Zone, ledger::Member};

/// Three voters wanted; the first three nodes are in one zone, each other one in its own.
#[expect(clippy::needless_pass_by_value, reason = "it is used where `plain` is")]
fn zoned(number: u64, config: Config) -> Config {
    let zone = if number <= 3 { 1 } else { number };
    let zone = Zone::new(format!("z{zone}")).expect("a name");
    let replace_after = Some(Duration::from_secs(1));
    Config { voters: 3, replace_after, zone: Some(zone), ..config }
}

fn plain(_: u64, config: Config) -> Config {
    Config { voters: 3, ..config }
}

fn members(cluster: &Cluster) -> Vec<(u64, Member)> {
    let leader = (1..=5).find(|number| cluster.leads(*number)).expect("a leader");
    let members = cluster.replicas[&id(leader)].ledger().members();
    members.iter().map(|(id, member)| (id.get(), member.clone())).collect()
}

fn voters(cluster: &Cluster) -> Vec<u64> {
    let all = members(cluster).into_iter();
    all.filter(|(_, member)| member.role == Role::Voter).map(|(number, _)| number).collect()
}

fn zone(cluster: &Cluster, number: u64) -> Option<String> {
    let found = members(cluster).into_iter().find(|(known, _)| *known == number);
    found.and_then(|(_, member)| member.zone).map(String::from)
}

#[test]
fn votes_move_to_zones_without_any_and_then_stay() {
    let mut cluster = Cluster::with(3, MS * 50, zoned);
    cluster.run(2000);
    for number in [4, 5] {
        cluster.join(number);
    }
    cluster.run(1100);
    // Who was added without a zone says it itself, once a second at most.
    assert_eq!(zone(&cluster, 4).as_deref(), Some("z4"));
    let mut seen = vec![voters(&cluster)];
    for _ in 0..600 {
        cluster.run(10);
        let now = voters(&cluster);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen[0], [1, 2, 3]);
    assert!(seen.iter().all(|voters| (3..=4).contains(&voters.len())), "{seen:?}");
    let last = seen.last().expect("voters");
    assert!(last.contains(&4) && last.contains(&5), "{seen:?}");
    let revision = cluster.replicas[&id(4)].ledger().revision();
    cluster.run(10_000);
    assert_eq!(cluster.replicas[&id(4)].ledger().revision(), revision, "nothing moves any more");
    let roles = members(&cluster);
    assert_eq!(roles.iter().filter(|(_, it)| it.role == Role::Learner).count(), 2);
    assert!(roles.iter().all(|(_, it)| !it.retiring));
}

#[test]
fn the_quorums_leader_hands_over_before_it_makes_room() {
    let mut cluster = Cluster::with(4, MS * 50, plain);
    assert_eq!(voters(&cluster), [1, 2, 3]);
    let vote = |instead_of| MemberWish::Vote { name: name(4), instead_of: Some(name(instead_of)) };
    assert!(cluster.leads(1));
    cluster.change(vote(1));
    cluster.run(1000);
    assert_eq!(voters(&cluster), [2, 3, 4]);
    assert!(!cluster.leads(1));
    // It has the log, and may take its place again.
    cluster.change(MemberWish::Vote { name: name(1), instead_of: None });
    cluster.run(1000);
    assert_eq!(voters(&cluster).len(), 3);
    assert!(voters(&cluster).contains(&1));
}

#[test]
fn whoever_has_not_caught_up_gets_no_vote_by_hand() {
    let mut cluster = Cluster::with(4, MS * 50, plain);
    cluster.away.insert(id(4));
    cluster.run(1000);
    let before = cluster.answers.len();
    cluster.change(MemberWish::Vote { name: name(4), instead_of: None });
    cluster.run(100);
    let (_, answer) = &cluster.answers[before];
    let Answer::Outcome(tenure_core::ledger::Outcome::Refused(refusal)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refusal.to_string(), "n4 says nothing");
    cluster.away.clear();
    cluster.run(1000);
    cluster.change(MemberWish::Vote { name: name(4), instead_of: None });
    cluster.run(1000);
    assert!(voters(&cluster).contains(&4));
}
