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
