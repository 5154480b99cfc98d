//! The scenarios of [`crate::partition`].

use tenure_core::ledger::Command;

use super::{
    MS, World,
    shape::{chain, deaf, isolated, star},
};
use crate::{
    invariants::Violation,
    partition::{Partition, Recovery},
};

/// Longest wait for a commit, in milliseconds.
const LONGEST: u64 = 20_000;

impl World {
    pub(crate) fn go_through(&mut self, shape: Partition) -> Result<Recovery, Violation> {
        self.settle_down()?;
        let leader = self.quorum_leader();
        let others: Vec<usize> = (0..self.nodes.len()).filter(|at| *at != leader).collect();
        let hub = others[self.chance.index(others.len())];
        let held = self.believers().first().map(|(_, _, token)| *token);
        if shape == Partition::Constrained5 {
            self.let_lag(hub)?;
        }
        let (number, before, start) =
            (self.cut_as(shape, leader, hub), self.law.committed(), self.now);
        while self.law.committed() == before {
            if self.now > start + LONGEST * MS {
                let why = format!("nothing was committed within {LONGEST} ms of {shape:?}");
                self.law.liveness.broken(self.now, why);
            }
            self.everybody_wishes();
            self.run_until(self.now + 5 * MS)?;
        }
        let commit_ms = (self.now - start) / MS;
        self.run_until(self.now + 3000 * MS)?;
        let kept = self.believers().first().map(|(_, _, token)| *token) == held;
        let moved = self.quorum_leader() != leader;
        self.mend(number);
        let healed = self.now;
        self.settle_down()?;
        Ok(Recovery { commit_ms, moved, kept, healed_ms: (self.now - healed) / MS })
    }

    fn settle_down(&mut self) -> Result<(), Violation> {
        let start = self.now;
        loop {
            self.run_until(self.now + 20 * MS)?;
            match self.unserved() {
                None => return Ok(()),
                Some(why) if self.now > start + self.bound() => {
                    self.law.liveness.broken(self.now, why);
                }
                Some(_) => {}
            }
        }
    }

    fn quorum_leader(&self) -> usize {
        let leads = |at: &usize| self.nodes[*at].leads;
        let terms = |at: &usize| {
            let replica = self.nodes[*at].replica.as_ref();
            replica.map_or(0, |replica| replica.position().term)
        };
        (0..self.nodes.len()).filter(leads).max_by_key(terms).unwrap_or(0)
    }

    /// Twelve entries that this node does not get.
    fn let_lag(&mut self, hub: usize) -> Result<(), Violation> {
        let number = self.cut(isolated(&self.hosts_from(&[hub])));
        for _ in 0..12 {
            self.everybody_wishes();
            self.run_until(self.now + 10 * MS)?;
        }
        self.net.remove_cut(number);
        Ok(())
    }

    /// All nodes' hosts, these nodes' first.
    fn hosts_from(&self, first: &[usize]) -> Vec<usize> {
        let rest = (0..self.nodes.len()).filter(|at| !first.contains(at));
        first.iter().copied().chain(rest).map(|at| self.nodes[at].host).collect()
    }

    fn cut_as(&mut self, shape: Partition, leader: usize, hub: usize) -> u64 {
        let pairs = match shape {
            Partition::QuorumLoss5 => star(&self.hosts_from(&[hub])),
            Partition::Chained3 => {
                let other = 3 - leader - hub;
                chain(&self.hosts_from(&[leader, other, hub]))
            }
            Partition::Constrained5 => {
                let mut pairs = isolated(&self.hosts_from(&[leader]));
                let rest = self.hosts_from(&[leader, hub]);
                pairs.extend(star(&rest[1..]));
                pairs
            }
            Partition::DeafLeader3 => deaf(&self.hosts_from(&[leader])),
            Partition::Cloudflare3 => vec![(self.nodes[leader].host, self.nodes[hub].host)],
        };
        self.cut(pairs)
    }

    /// Each node is asked for something that changes nothing but makes an entry.
    fn everybody_wishes(&mut self) {
        let election = self.setup.elections[0].clone();
        for at in 0..self.nodes.len() {
            self.wish_as_node(at, Command::CancelReserve { election: election.clone() });
            self.node_follow(at);
        }
    }
}
