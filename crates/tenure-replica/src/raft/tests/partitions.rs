//! Partial partitions with the one-hop relay. The scenarios are those of H. Ng, S. Haridi,
//! P. Carbone, "Omni-Paxos: Breaking the Barriers of Partial Connectivity", EuroSys 2023.
//! Links go dark without a word; the relay has to find out by itself.

use super::net::{MS, Net, Shape};
use crate::status::RaftRole;
use tenure_core::NodeId;

fn relaying() -> Shape {
    Shape { relay: true, ..Shape::default() }
}

fn settled(seed: u64, voters: &[u64], shape: Shape) -> (Net, NodeId, Vec<NodeId>) {
    let mut net = Net::new(seed, voters, shape);
    let leader = net.elect();
    net.run(500 * MS);
    net.commit(1_000 * MS).expect("a healthy cluster commits");
    let others = net.others(leader);
    (net, leader, others)
}

fn slowest(name: &str, mut took: Vec<u64>) -> u64 {
    took.sort_unstable();
    let (p50, max) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{name}: p50 {} ms, max {} ms", p50 / MS, max / MS);
    max
}

#[test]
fn chained3_is_no_outage() {
    for middle_leads in [false, true] {
        let took = (0..40).map(|seed| {
            let (mut net, leader, others) = settled(seed, &[1, 2, 3], relaying());
            let term = net.consensus(leader).standing().term;
            if middle_leads {
                net.cut_both(others[0], others[1]);
            } else {
                net.cut_both(leader, others[0]);
            }
            let took = net.commit(20_000 * MS).expect("commits");
            net.run(2_000 * MS);
            let after = net.consensus(leader).standing();
            assert_eq!((after.role, after.term), (RaftRole::Leader, term), "seed {seed}");
            took
        });
        assert!(slowest("chained3", took.collect()) < 20 * MS);
    }
}

/// Time to the next commit after all links but those of one hub are cut, the hub not leading,
/// and whether the leader stayed.
fn quorum_loss5(seed: u64, shape: Shape) -> (u64, bool) {
    let (mut net, leader, others) = settled(seed, &[1, 2, 3, 4, 5], shape);
    let hub = others[seed as usize % 4];
    let leaves: Vec<_> = net.others(hub);
    for (i, a) in leaves.iter().enumerate() {
        for b in &leaves[i + 1..] {
            net.cut_both(*a, *b);
        }
    }
    net.run(MS);
    let took = net.commit(20_000 * MS).expect("commits");
    net.run(1_000 * MS);
    (took, net.leader() == Some(leader))
}

#[test]
fn quorum_loss5_is_bridged_without_an_election() {
    // Election time-outs as they are by default: three dark times.
    let shape = Shape { election_ticks: 50, ..relaying() };
    let runs: Vec<_> = (0..40).map(|seed| quorum_loss5(seed, shape)).collect();
    assert!(runs.iter().all(|(_, stayed)| *stayed), "{runs:?}");
    let took = runs.into_iter().map(|(took, _)| took).collect();
    assert!(slowest("quorum-loss5", took) < 200 * MS);
}

#[test]
fn quorum_loss5_with_a_time_out_as_short_as_the_dark_time() {
    // The followers miss the leader just when the way round is found: some elect first.
    let runs = (0..40).map(|seed| quorum_loss5(seed, relaying()).0);
    assert!(slowest("quorum-loss5, short time-out", runs.collect()) < 600 * MS);
}

fn constrained5(seed: u64, hub_lags: bool) -> u64 {
    let (mut net, leader, others) = settled(seed, &[1, 2, 3, 4, 5], relaying());
    let hub = others[seed as usize % 4];
    if hub_lags {
        for other in net.others(hub) {
            net.cut_both(hub, other);
        }
        for _ in 0..12 {
            net.propose(b"the hub never sees this").expect("leads");
            net.run(MS);
        }
        net.cut.clear();
    }
    for other in net.others(leader) {
        net.cut_both(leader, other);
    }
    let leaves: Vec<_> = others.iter().copied().filter(|node| *node != hub).collect();
    for (i, a) in leaves.iter().enumerate() {
        for b in &leaves[i + 1..] {
            net.cut_both(*a, *b);
        }
    }
    net.run(MS);
    let before = net.log.last_key_value().map_or(0, |(index, _)| *index);
    let start = net.now;
    // The cut-off leader takes proposals for a while; only what the others commit counts.
    while net.now < start + 20_000 * MS {
        net.run(MS);
        let now = net.leader().filter(|now| *now != leader);
        if now.is_some() {
            net.propose(b"after the cut");
        }
        if net.log.last_key_value().is_some_and(|(index, _)| *index > before) {
            return net.now - start;
        }
    }
    panic!("seed {seed}: no commit within 20 s");
}

#[test]
fn constrained5_elects_through_the_hub() {
    let took = (0..40).map(|seed| constrained5(seed, false));
    assert!(slowest("constrained5", took.collect()) < 600 * MS);
}

#[test]
fn constrained5_with_a_lagging_hub_elects_around_it() {
    let took = (0..40).map(|seed| constrained5(seed, true));
    assert!(slowest("constrained5, hub lags", took.collect()) < 600 * MS);
}

#[test]
fn a_leader_that_hears_nobody_gives_way() {
    let took = (0..40).map(|seed| {
        let (mut net, leader, others) = settled(seed, &[1, 2, 3], relaying());
        for other in &others {
            net.cut.insert((*other, leader));
        }
        let start = net.now;
        let elsewhere = |net: &Net| net.leader().is_some_and(|now| now != leader);
        net.until(20_000 * MS, elsewhere).expect("another leader");
        net.commit(20_000 * MS).expect("commits");
        net.now - start
    });
    // Check-quorum looks once per election time-out and needs a whole silent one; then the
    // others have to miss its heartbeats.
    assert!(slowest("deaf leader", took.collect()) < 900 * MS);
}

#[test]
fn a_cut_in_one_direction_is_bridged() {
    for outgoing in [false, true] {
        let took = (0..40).map(|seed| {
            let (mut net, leader, others) = settled(seed, &[1, 2, 3], relaying());
            let (a, b) = (leader, others[seed as usize % 2]);
            net.cut.insert(if outgoing { (a, b) } else { (b, a) });
            net.run(1_000 * MS);
            let took = net.commit(20_000 * MS).expect("commits");
            let heard = net.others(leader).into_iter().all(|other| {
                net.nodes[&other]
                    .consensus
                    .as_ref()
                    .is_some_and(|c| c.standing().leader == Some(leader))
            });
            assert!(heard, "seed {seed}: a follower lost its leader behind a one-way cut");
            assert!(net.relayed > 0);
            took
        });
        assert!(slowest("one way", took.collect()) < 20 * MS);
    }
}

#[test]
fn healing_goes_back_to_the_direct_link() {
    let (mut net, leader, others) = settled(1, &[1, 2, 3], relaying());
    net.cut_both(leader, others[0]);
    net.run(1_000 * MS);
    let during = net.relayed;
    assert!(during > 0);
    net.cut.clear();
    net.run(200 * MS);
    let healed = net.relayed;
    net.run(2_000 * MS);
    assert_eq!(net.relayed, healed);
}
