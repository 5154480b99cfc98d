//! What the disk must have seen before what, and what comes back after a crash.

use super::super::{Consensus, ConsensusError, MembershipChange};
use super::net::{MS, Net, Shape, id, settings};
use crate::log::{Entry, EntryKind, HardState, Membership, Restored, Snapshot};

#[test]
fn nothing_that_needs_the_disk_leaves_before_it() {
    // `net` checks every message against the disk; slow and uneven disks make it bite.
    for seed in 0..40 {
        let shape = Shape { disk: (MS, 40 * MS), loss: 20, snapshot_every: 20, ..Shape::default() };
        let mut net = Net::new(seed, &[1, 2, 3], shape);
        for _ in 0..30 {
            net.commit(2_000 * MS);
        }
    }
}

#[test]
fn a_follower_with_a_stuck_disk_confirms_nothing() {
    let mut net = Net::new(2, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(200 * MS);
    let followers = net.others(leader);
    for follower in &followers {
        net.freeze_disk(*follower, true);
    }
    assert_eq!(net.commit(100 * MS), None);
    net.freeze_disk(followers[0], false);
    assert!(net.commit(500 * MS).is_some());
}

#[test]
fn a_leader_with_a_slow_disk_commits_by_the_others_but_applies_late() {
    let mut net = Net::new(2, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(200 * MS);
    net.freeze_disk(leader, true);
    let applied = net.consensus(leader).applied();
    let (_, index) = net.propose(b"x").expect("leads");
    let followers = net.others(leader);
    let there = |net: &Net| followers.iter().all(|f| net.nodes[f].applied >= index);
    assert!(net.until(200 * MS, there).is_some());
    assert!(net.consensus(leader).committed() >= index);
    assert_eq!(net.consensus(leader).applied(), applied);
    net.freeze_disk(leader, false);
    net.run(10 * MS);
    assert!(net.consensus(leader).applied() >= index);
}

#[test]
fn crashes_and_restarts_lose_nothing_that_was_committed() {
    for seed in 0..60 {
        let shape =
            Shape { disk: (MS / 10, 8 * MS), loss: 5, snapshot_every: 15, ..Shape::default() };
        let mut net = Net::new(seed, &[1, 2, 3], shape);
        let mut down = None;
        for round in 0..40 {
            net.commit(3_000 * MS).unwrap_or_else(|| panic!("seed {seed}: stuck in round {round}"));
            if let Some(node) = down.take() {
                net.restart(node);
            } else {
                let victim = 1 + net.random(3);
                let eof = (net.random(2) == 0).then_some(false);
                net.kill(id(victim), eof);
                down = Some(victim);
            }
            let pause = net.random(60 * MS);
            net.run(pause);
        }
        if let Some(node) = down {
            net.restart(node);
        }
        net.commit(3_000 * MS).expect("commits");
        net.run(1_000 * MS);
        let states: Vec<_> = net.live().map(|(_, n)| n.state).collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {states:?}");
    }
}

#[test]
fn a_lone_voter_tells_its_learner_nothing_of_a_term_that_a_crash_would_take_back() {
    // `net` checks that the term is on disk; only a lone voter leads before it is.
    for seed in 0..20 {
        let mut net = Net::new(seed, &[1], Shape { disk: (MS, 20 * MS), ..Shape::default() });
        net.elect();
        net.join(2);
        net.change(MembershipChange::AddLearner(id(2)));
        for _ in 0..5 {
            net.run(50 * MS);
            net.kill(id(1), None);
            net.restart(1);
            net.elect();
        }
        net.commit(1_000 * MS).expect("commits");
        net.run(100 * MS);
        assert_eq!(net.nodes[&id(1)].state, net.nodes[&id(2)].state);
    }
}

#[test]
fn a_whole_cluster_comes_back() {
    for voters in [&[1][..], &[1, 2, 3]] {
        let shape = Shape { snapshot_every: 10, ..Shape::default() };
        let mut net = Net::new(11, voters, shape);
        for _ in 0..25 {
            net.commit(1_000 * MS).expect("commits");
        }
        let count = net.live().map(|(_, n)| n.state.count).max();
        for voter in voters {
            net.kill(id(*voter), None);
        }
        for voter in voters {
            net.restart(*voter);
        }
        net.elect();
        net.run(100 * MS);
        assert!(net.live().all(|(_, n)| Some(n.state.count) >= count));
    }
}

#[test]
fn a_follower_far_behind_gets_a_snapshot() {
    for seed in 0..10 {
        let shape = Shape { snapshot_every: 600, ..Shape::default() };
        let mut net = Net::new(seed, &[1, 2, 3], shape);
        let leader = net.elect();
        let behind = net.others(leader)[0];
        net.kill(behind, None);
        for _ in 0..1300 {
            net.propose(b"some command").expect("leads");
            net.run(MS);
        }
        net.restart(behind.get());
        let there = |net: &Net| net.nodes[&behind].state == net.nodes[&leader].state;
        assert!(net.until(1_000 * MS, there).is_some(), "seed {seed}");
        assert_eq!(net.nodes[&behind].installed, 1);
        // And it lives through a crash right behind it.
        net.kill(behind, None);
        net.restart(behind.get());
        net.commit(1_000 * MS).expect("commits");
        assert!(net.until(1_000 * MS, there).is_some());
        assert_eq!(net.nodes[&behind].installed, 0);
    }
}

#[test]
fn a_lost_snapshot_is_sent_again() {
    let shape = Shape { snapshot_every: 600, ..Shape::default() };
    let mut net = Net::new(4, &[1, 2, 3], shape);
    let leader = net.elect();
    let behind = net.others(leader)[0];
    net.kill(behind, None);
    for _ in 0..1300 {
        net.propose(b"some command").expect("leads");
        net.run(MS);
    }
    net.restart(behind.get());
    let sent = |net: &Net| {
        let peers = net.nodes[&leader].consensus.as_ref().map(Consensus::peers);
        peers.is_some_and(|peers| peers.iter().any(|peer| peer.id == behind && peer.snapshotting))
    };
    net.until(1_000 * MS, sent).expect("a snapshot is sent");
    net.cut_both(leader, behind);
    net.run(5 * MS);
    net.cut.clear();
    let there = |net: &Net| net.nodes[&behind].installed == 1;
    assert!(net.until(1_000 * MS, there).is_some());
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, kind: EntryKind::Command, data: vec![7] }
}

fn stored(entries: Vec<Entry>, commit: u64) -> Restored {
    let membership = Membership { voters: vec![id(1)], learners: Vec::new() };
    let snapshot = Some(Snapshot { index: 4, term: 2, membership, data: Vec::new() });
    Restored { hard_state: HardState { term: 3, vote: None, commit }, snapshot, entries }
}

#[test]
fn a_disk_that_contradicts_itself_is_refused() {
    let start = |restored| Consensus::new(settings(id(1)), restored, None, 1);
    let corrupt = |restored| matches!(start(restored), Err(ConsensusError::Corrupt { .. }));
    assert!(start(stored(vec![entry(3, 1), entry(4, 2), entry(5, 3)], 5)).is_ok());
    assert!(start(stored(vec![entry(5, 3)], 4)).is_ok());
    assert!(start(stored(Vec::new(), 0)).is_ok());
    // What a snapshot replaced is left behind.
    let stale = start(stored(vec![entry(3, 1), entry(4, 1), entry(5, 1)], 4));
    assert_eq!(stale.map(|c| c.last_index()).ok(), Some(4));
    assert!(corrupt(stored(vec![entry(6, 3)], 4)));
    assert!(corrupt(stored(vec![entry(5, 3), entry(7, 3)], 4)));
    assert!(corrupt(stored(vec![entry(5, 3), entry(6, 2)], 4)));
    assert!(corrupt(stored(vec![entry(5, 9)], 4)));
    assert!(corrupt(Restored { snapshot: None, ..stored(vec![entry(5, 3)], 4) }));
    let lost = start(stored(vec![entry(5, 3)], 6)).err();
    assert_eq!(lost, Some(ConsensusError::LogLost { committed: 6, last: 5 }));
}
