//! Nodes join, get a vote and leave.

use super::super::{MembershipChange, ProposeError};
use super::net::{MS, Net, Shape, id};
use crate::status::RaftRole;

fn join_and_promote(net: &mut Net, node: u64) {
    net.join(node);
    net.change(MembershipChange::AddLearner(id(node)));
    let leader = net.leader().expect("leads");
    let caught_up = |net: &Net| {
        let leading = net.nodes[&leader].consensus.as_ref();
        leading.is_some_and(|c| c.matched(id(node)) == Some(c.last_index()))
    };
    let took = net.until(3_000 * MS, caught_up);
    assert!(took.is_some_and(|took| took < 60 * MS), "the learner took {took:?}");
    net.change(MembershipChange::AddVoter(id(node)));
    let there = |net: &Net| {
        let c = net.nodes[&id(node)].consensus.as_ref();
        c.is_some_and(|c| c.standing().role == RaftRole::Follower)
    };
    assert!(net.until(1_000 * MS, there).is_some());
}

#[test]
fn one_grows_to_three_and_survives_its_founder() {
    for seed in 0..20 {
        let mut net = Net::new(seed, &[1], Shape::default());
        net.elect();
        for _ in 0..5 {
            net.commit(1_000 * MS).expect("a single voter commits");
        }
        join_and_promote(&mut net, 2);
        join_and_promote(&mut net, 3);
        let voters = net.consensus(id(3)).membership().voters;
        assert_eq!(voters, [id(1), id(2), id(3)]);
        net.kill(id(1), Some(false));
        let took = net.commit(2_000 * MS);
        assert!(took.is_some_and(|took| took < 40 * MS), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_leader_that_removes_itself_hands_over() {
    for seed in 0..30 {
        let mut net = Net::new(seed, &[1, 2, 3], Shape::default());
        let leader = net.elect();
        net.run(200 * MS);
        net.change(MembershipChange::Remove(leader));
        // More behind it, proposed while it still led or not.
        net.propose(b"after");
        let took = net.commit(2_000 * MS).expect("the others commit");
        assert!(took < 60 * MS, "seed {seed}: {} us", took / 1000);
        net.run(1_000 * MS);
        let gone = net.consensus(leader).standing();
        assert_eq!(gone.role, RaftRole::Learner);
        assert_ne!(net.leader(), Some(leader));
        let now = net.leader().expect("leads");
        assert_eq!(net.consensus(now).membership().voters.len(), 2);
    }
}

#[test]
fn entries_in_flight_when_the_leader_leaves_are_no_harm() {
    for seed in 0..30 {
        let mut net = Net::new(seed, &[1, 2, 3], Shape::default());
        let leader = net.elect();
        net.run(200 * MS);
        let change = MembershipChange::Remove(leader);
        let data = rmp_serde::to_vec(&change).expect("ours");
        net.consensus(leader).propose_membership(change, data).expect("leads");
        for _ in 0..20 {
            let _ = net.consensus(leader).propose(vec![b"in flight".to_vec()]);
            net.drain(leader);
            net.run(MS / 10);
        }
        net.commit(2_000 * MS).expect("the others commit");
    }
}

#[test]
fn two_shrink_to_one() {
    for seed in 0..30 {
        let shape = Shape { disk: (MS, 20 * MS), ..Shape::default() };
        let mut net = Net::new(seed, &[1, 2], shape);
        let leader = net.elect();
        let other = net.others(leader)[0];
        let leaves = if seed % 2 == 0 { leader } else { other };
        for _ in 0..3 {
            net.propose(b"in flight");
        }
        net.change(MembershipChange::Remove(leaves));
        // Until the one that stays knows, it would need the vote of the one that leaves.
        net.run(200 * MS);
        net.kill(leaves, None);
        assert!(net.commit(5_000 * MS).is_some(), "seed {seed}");
    }
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut net = Net::new(1, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(100 * MS);
    let mut ask = |change| net.consensus(leader).propose_membership(change, Vec::new());
    let refused = Err(ProposeError::ChangeRefused);
    assert_eq!(ask(MembershipChange::AddLearner(id(2))), refused);
    assert_eq!(ask(MembershipChange::AddVoter(id(2))), refused);
    assert_eq!(ask(MembershipChange::AddVoter(id(8))), refused);
    assert_eq!(ask(MembershipChange::Remove(id(8))), refused);
    let change = MembershipChange::AddLearner(id(8));
    let data = rmp_serde::to_vec(&change).expect("ours");
    assert!(net.consensus(leader).propose_membership(change, data).is_ok());
    let again = net.consensus(leader).propose_membership(change, Vec::new());
    assert_eq!(again, Err(ProposeError::ChangePending));
    let follower = net.others(leader)[0];
    let elsewhere = net.consensus(follower).propose_membership(change, Vec::new());
    assert_eq!(elsewhere, Err(ProposeError::NotLeader));
    let mut one = Net::new(1, &[1], Shape::default());
    let leader = one.elect();
    let last = one.consensus(leader).propose_membership(MembershipChange::Remove(id(1)), vec![]);
    assert_eq!(last, Err(ProposeError::ChangeRefused));
}
