//! At most one leader is elected in a term, and a node that was restarted does not lead a term
//! that it led before. Source: D. Ongaro, J. Ousterhout, "In Search of an Understandable
//! Consensus Algorithm", ATC 2014, figure 3; `ElectionSafety` in raft.tla.

use std::collections::BTreeMap;

use tenure_core::NodeId;

use super::Verdict;

const NAME: &str = "election_safety";

#[derive(Debug, Default)]
pub(crate) struct ElectionSafety {
    pub(super) verdict: Verdict,
    leaders: BTreeMap<u64, (NodeId, u32)>,
}

impl ElectionSafety {
    /// A node died with this term on its disk. What it led beyond that nobody can know of: only
    /// a lone voter leads without having told anybody, and its words wait for the disk. Gives
    /// those terms.
    pub(super) fn died(&mut self, node: NodeId, life: u32, durable_term: u64) -> Vec<u64> {
        let later = self.leaders.range(durable_term + 1..);
        let unknown = later.filter(|(_, leader)| **leader == (node, life));
        let unknown: Vec<u64> = unknown.map(|(term, _)| *term).collect();
        for term in &unknown {
            self.leaders.remove(term);
        }
        unknown
    }

    pub(super) fn leads(&mut self, now: u64, node: NodeId, life: u32, term: u64) {
        let (first, its_life) = *self.leaders.entry(term).or_insert((node, life));
        if (first, its_life) != (node, life) {
            let why = format!(
                "term {term} is led by node {first} (start {its_life}) and by node {node} (start {life})"
            );
            self.verdict.broken(NAME, now, why);
        }
    }
}
