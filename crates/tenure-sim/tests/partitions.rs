//! Partial partitions: the scenarios of the Omni-Paxos paper and of the 2020 Cloudflare outage,
//! with the time to recover. Bounds in election time-outs, from the measurements with the
//! one-hop relay in the design notes on consensus (section 4.1).
#![allow(clippy::print_stdout)] // the measured times are the point

use tenure_sim::{ELECTION_TIMEOUT_MS, Partition, partition};

const SEEDS: u64 = 12;

fn slowest(shape: Partition, bound: u64) {
    let mut took = Vec::new();
    let (mut moved, mut kept, mut healed) = (0, 0, 0);
    for seed in 0..SEEDS {
        match partition(shape, seed) {
            Ok(recovery) => {
                took.push(recovery.commit_ms);
                moved += u64::from(recovery.moved);
                kept += u64::from(recovery.kept);
                healed = healed.max(recovery.healed_ms);
            }
            Err(violation) => panic!("{shape:?}, seed {seed}: {violation}"),
        }
    }
    took.sort_unstable();
    let (p50, max) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{shape:?}: next commit after {p50} ms (p50), {max} ms (max), bound {} ms; the quorum's \
         leader moved in {moved} of {SEEDS}, the holder kept its election in {kept}; healed after \
         at most {healed} ms",
        bound * ELECTION_TIMEOUT_MS,
    );
    assert!(max <= bound * ELECTION_TIMEOUT_MS, "{shape:?}: {took:?}");
}

#[test]
fn quorum_loss5_is_bridged() {
    slowest(Partition::QuorumLoss5, 1);
}

#[test]
fn chained3_is_no_outage() {
    slowest(Partition::Chained3, 1);
}

#[test]
fn constrained5_with_a_lagging_hub_elects_around_it() {
    slowest(Partition::Constrained5, 4);
}

#[test]
fn a_leader_that_hears_nobody_gives_way() {
    slowest(Partition::DeafLeader3, 5);
}

#[test]
fn the_one_way_cut_of_2020_is_no_outage() {
    slowest(Partition::Cloudflare3, 1);
}
