//! The end of a node in peace.

use super::*;

fn all_vote(_: u64, config: Config) -> Config {
    Config { voters: 5, ..config }
}

/// Five voters, and the number of their leader.
fn five() -> (Cluster, u64) {
    let mut cluster = Cluster::with(5, MS * 50, all_vote);
    cluster.run(5000);
    let leader = leader(&cluster).expect("a leader");
    assert_eq!(cluster.replicas[&id(leader)].voters.len(), 5);
    (cluster, leader)
}

fn leader(cluster: &Cluster) -> Option<u64> {
    (1..=5).find(|number| cluster.leads(*number))
}

fn hand_over(cluster: &mut Cluster, number: u64) {
    cluster.give(id(number), Input::HandOver);
    cluster.deliver();
}

/// The same; the leader has told its heir, and nothing arrives at anybody else any more, though
/// connections stay.
fn five_and_an_unanswered_word() -> (Cluster, u64) {
    let (mut cluster, first) = five();
    cluster.deaf.extend((1..=5).filter(|number| *number != first).map(id));
    hand_over(&mut cluster, first);
    assert!(cluster.ready_to_end.is_empty(), "it waits");
    (cluster, first)
}

#[test]
fn a_leader_that_ends_is_succeeded_before_it_is_gone() {
    let (mut cluster, first) = five();
    hand_over(&mut cluster, first);
    // No time has passed at all.
    let second = leader(&cluster).expect("a leader");
    assert_ne!(second, first);
    assert_eq!(cluster.ready_to_end, BTreeSet::from([id(first)]));
}

#[test]
fn a_node_that_leads_nothing_may_end_at_once() {
    let (mut cluster, first) = five();
    let other = if first == 1 { 2 } else { 1 };
    hand_over(&mut cluster, other);
    assert_eq!(cluster.ready_to_end, BTreeSet::from([id(other)]));
    assert_eq!(leader(&cluster), Some(first));
}

#[test]
fn without_a_quorum_to_elect_another_it_may_end_at_once() {
    let (mut cluster, first) = five();
    let others = (1..=5).filter(|number| *number != first).take(3);
    cluster.away.extend(others.map(id));
    cluster.run(1);
    hand_over(&mut cluster, first);
    assert_eq!(cluster.ready_to_end, BTreeSet::from([id(first)]));
}

#[test]
fn an_heir_that_hears_nothing_is_waited_for_no_longer_than_an_election_timeout() {
    let (mut cluster, first) = five_and_an_unanswered_word();
    cluster.run(500);
    assert_eq!(cluster.ready_to_end, BTreeSet::from([id(first)]));
}

#[test]
fn when_the_heir_dies_another_is_asked() {
    let (mut cluster, first) = five_and_an_unanswered_word();
    let heir =
        cluster.replicas[&id(first)].hand_over.as_ref().and_then(|it| it.to).expect("an heir");
    cluster.deaf.clear();
    cluster.away.insert(heir);
    cluster.run(1);
    let second = leader(&cluster).expect("a leader");
    assert!(second != first && id(second) != heir);
    assert_eq!(cluster.ready_to_end, BTreeSet::from([id(first)]));
}
