//! An entry that was committed in one term is in the log of every leader of a later term. Source: Raft, ATC 2014, figure 3;
//! `LeaderCompleteness` in raft.tla.

use tenure_core::NodeId;

use super::log_matching::LogMatching;

pub(super) const NAME: &str = "leader_completeness";

/// What a new leader lacks of what is known to be committed.
pub(super) fn missing(logs: &LogMatching, leader: NodeId, led: u64) -> Option<String> {
    let log = logs.logs.get(&leader)?;
    let after = logs.committed.range(log.base.0 + 1..);
    let earlier = after.filter(|(_, (_, committed_in))| *committed_in < led);
    let mut lacking = earlier.filter(|(index, (term, _))| log.term(**index) != Some(*term));
    let (index, (term, _)) = lacking.next()?;
    let last = log.last();
    Some(format!(
        "node {leader} leads without the committed entry {index} of term {term}; its log ends at {last}"
    ))
}
