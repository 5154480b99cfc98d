//! Who leads, and how fast.

use super::net::{MS, Net, Shape, id};
use crate::status::RaftRole;

#[test]
fn clusters_of_one_three_and_five_elect_and_commit() {
    for voters in [&[1][..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        for seed in 0..20 {
            let mut net = Net::new(seed, voters, Shape::default());
            net.elect();
            assert!(net.commit(1_000 * MS).is_some(), "seed {seed} voters {voters:?}");
            net.run(200 * MS);
            let states: Vec<_> = net.live().map(|(_, n)| n.state).collect();
            assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut net = Net::new(seed, &[1, 2, 3], Shape { relay: true, ..Shape::default() });
        let leader = net.elect();
        net.commit(1_000 * MS);
        net.kill(leader, None);
        net.commit(2_000 * MS);
        net.restart(leader.get());
        net.run(2_000 * MS);
        net.trace
    };
    assert_eq!(run(7), run(7));
    assert_eq!(run(8), run(8));
    assert_ne!(run(7), run(8));
}

#[test]
fn the_end_of_the_leaders_connection_elects_within_hops() {
    for (voters, proven) in [(3, false), (5, false), (3, true), (5, true)] {
        let all: Vec<u64> = (1..=voters).collect();
        let mut slowest = 0;
        for seed in 0..60 {
            let mut net = Net::new(seed, &all, Shape::default());
            let leader = net.elect();
            net.run(500 * MS);
            net.commit(1_000 * MS).expect("a healthy cluster commits");
            net.kill(leader, Some(proven));
            let took = net.commit(2_000 * MS).expect("the survivors commit");
            slowest = slowest.max(took);
        }
        // One EOF, pre-vote, vote and append, each a round trip and some a write; the stagger
        // adds where the first in rank has the shorter log. An election time-out is 150 ms.
        assert!(slowest < 40 * MS, "{voters} voters, proven {proven}: {} us", slowest / 1000);
    }
}

#[test]
fn a_spurious_end_of_connection_deposes_nobody() {
    for seed in 0..50 {
        let mut net = Net::new(seed, &[1, 2, 3, 4, 5], Shape::default());
        let leader = net.elect();
        net.run(300 * MS);
        let term = net.consensus(leader).standing().term;
        let follower = net.others(leader)[seed as usize % 4];
        net.eof(follower, leader, false);
        net.run(1_000 * MS);
        let after = net.consensus(leader).standing();
        assert_eq!((after.role, after.term), (RaftRole::Leader, term), "seed {seed}");
        assert_eq!(net.consensus(follower).standing().leader, Some(leader));
    }
}

#[test]
fn a_leader_without_its_quorum_steps_down() {
    let mut net = Net::new(3, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(100 * MS);
    for other in net.others(leader) {
        net.cut_both(leader, other);
    }
    net.run(400 * MS);
    let standing = net.consensus(leader).standing();
    assert_ne!(standing.role, RaftRole::Leader);
    assert_eq!(standing.leader, None);
}

#[test]
fn leadership_is_handed_over_on_request() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &[1, 2, 3], Shape::default());
        let leader = net.elect();
        net.run(200 * MS);
        let to = net.others(leader)[0];
        assert!(net.consensus(leader).transfer_to(to));
        assert!(!net.consensus(leader).transfer_to(leader));
        net.drain(leader);
        let refused = net.consensus(leader).propose(vec![b"late".to_vec()]);
        assert_eq!(refused, Err(super::super::ProposeError::Transferring));
        let took = net.until(100 * MS, |net| net.leader() == Some(to));
        assert!(took.is_some_and(|took| took < 10 * MS), "seed {seed}: {took:?}");
    }
}

#[test]
fn who_has_no_vote_never_campaigns() {
    let mut net = Net::new(1, &[1, 2, 3], Shape::default());
    net.elect();
    net.join(9);
    assert!(!net.consensus(id(9)).campaign());
    assert!(!net.consensus(id(9)).campaign_forced());
    net.run(2_000 * MS);
    let standing = net.consensus(id(9)).standing();
    assert_eq!((standing.role, standing.term), (RaftRole::Learner, 0));
}

#[test]
fn a_read_barrier_right_before_a_heartbeat_costs_no_message() {
    let mut net = Net::new(5, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(1_000 * MS);
    let consensus = net.consensus(leader);
    while consensus.ticks_until_action() > 1 {
        consensus.tick();
    }
    while consensus.ready().is_some() {}
    assert!(consensus.read_barrier(42));
    consensus.tick();
    let sent = consensus.ready().map(|ready| ready.messages).unwrap_or_default();
    let to: Vec<_> = sent.iter().map(|message| message.to).collect();
    assert_eq!(to.len(), 2, "one for each of the others: {sent:?}");
    assert_ne!(to[0], to[1]);
}

#[test]
fn a_read_barrier_is_confirmed_by_a_quorum_only() {
    let mut net = Net::new(5, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    let follower = net.others(leader)[0];
    assert!(!net.consensus(follower).read_barrier(1));
    let committed = net.consensus(leader).committed();
    assert!(net.consensus(leader).read_barrier(42));
    assert!(net.consensus(leader).read_barrier(43));
    net.drain(leader);
    let both = |net: &Net| net.nodes[&leader].barriers.len() == 2;
    assert!(net.until(50 * MS, both).is_some());
    let barriers = &net.nodes[&leader].barriers;
    assert_eq!((barriers[0].ctx, barriers[1].ctx), (42, 43));
    assert!(barriers.iter().all(|barrier| barrier.index >= committed));

    for other in net.others(leader) {
        net.cut_both(leader, other);
    }
    assert!(net.consensus(leader).read_barrier(44));
    net.drain(leader);
    net.run(1_000 * MS);
    net.cut.clear();
    net.run(1_000 * MS);
    assert_eq!(net.nodes[&leader].barriers.len(), 2, "a deposed leader confirmed a read");
}
