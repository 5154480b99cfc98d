//! Everything at once, from a seed: crashes, one-way cuts, lost frames, slow disks, false ends of
//! connections, transfers and membership changes. `net` checks safety at every step (one leader
//! per term, one entry and one state per index, persist before send, no honest message refused);
//! here only liveness after the faults is left to check. Seeds: `CHAOS_SEEDS=from..to`.

use super::super::MembershipChange;
use super::net::{MS, Net, Shape, id};
use crate::status::RaftRole;
use tenure_core::NodeId;

fn pick(net: &mut Net) -> NodeId {
    let all: Vec<NodeId> = net.nodes.keys().copied().collect();
    let at = net.random(all.len() as u64);
    all[usize::try_from(at).expect("small")]
}

/// Proposes a change without waiting for it.
fn try_change(net: &mut Net, change: MembershipChange) {
    if let Some(leader) = net.leader() {
        let data = rmp_serde::to_vec(&change).expect("ours");
        let _ = net.consensus(leader).propose_membership(change, data);
        net.drain(leader);
    }
}

fn change_something(net: &mut Net) {
    let Some(leader) = net.leader() else { return };
    let membership = net.consensus(leader).membership();
    let learner = membership.learners.first().copied();
    match (net.random(3), learner) {
        (0, Some(learner)) => try_change(net, MembershipChange::AddVoter(learner)),
        (1, None) if net.nodes.len() < 8 => {
            let next = net.nodes.keys().last().map_or(1, |last| last.get() + 1);
            net.join(next);
            try_change(net, MembershipChange::AddLearner(id(next)));
        }
        (2, _) if membership.voters.len() > 3 => {
            let at = net.random(membership.voters.len() as u64);
            let leaves = membership.voters[usize::try_from(at).expect("small")];
            try_change(net, MembershipChange::Remove(leaves));
        }
        _ => {}
    }
}

fn fault(net: &mut Net, down: &mut Vec<NodeId>) {
    let (a, b) = (pick(net), pick(net));
    match net.random(12) {
        0..=2 if down.len() < 2 && !down.contains(&a) => {
            let eof =
                [None, Some(false), Some(true)][usize::try_from(net.random(3)).expect("small")];
            net.kill(a, eof);
            down.push(a);
        }
        3..=5 if !down.is_empty() => net.restart(down.remove(0).get()),
        6 if a != b => _ = net.cut.insert((a, b)),
        7 if a != b => net.cut_both(a, b),
        8 => net.cut.clear(),
        9 if a != b => net.eof(a, b, false),
        10 => {
            if let Some(leader) = net.leader() {
                net.consensus(leader).transfer_to(a);
                net.drain(leader);
            }
        }
        _ => change_something(net),
    }
}

fn storm(seed: u64) {
    let disk = [(MS / 10, MS / 2), (MS, 30 * MS)][usize::try_from(seed % 2).expect("small")];
    let (loss, snapshot_every) = ((seed % 3) * 10, 10 + (seed % 5) * 20);
    let shape =
        Shape { relay: !seed.is_multiple_of(4), disk, loss, snapshot_every, ..Shape::default() };
    let mut net = Net::new(seed, &[1, 2, 3, 4, 5], shape);
    let mut down = Vec::new();
    for _ in 0..80 {
        fault(&mut net, &mut down);
        for _ in 0..5 {
            net.propose(b"a command");
            let pause = net.random(30 * MS);
            net.run(pause);
        }
    }
    net.cut.clear();
    for node in down {
        net.restart(node.get());
    }
    net.shape.loss = 0;
    assert!(net.commit(5_000 * MS).is_some(), "seed {seed}: no commit after the faults");
    net.run(2_000 * MS);
    let leader = net.leader().expect("leads");
    let (state, members) = (net.nodes[&leader].state, net.consensus(leader).membership());
    for member in members.voters.iter().chain(&members.learners) {
        assert_eq!(net.nodes[member].state, state, "seed {seed}: node {member} is behind");
        let standing = net.consensus(*member).standing();
        let learner = members.learners.contains(member);
        assert_eq!(standing.leader, Some(leader), "seed {seed}: node {member}");
        assert_eq!(standing.role == RaftRole::Learner, learner, "seed {seed}: node {member}");
    }
}

#[test]
fn storms_pass() {
    let range = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| String::from("0..30"));
    let (from, to) = range.split_once("..").expect("CHAOS_SEEDS=from..to");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    for seed in number(from)..number(to) {
        storm(seed);
    }
}
