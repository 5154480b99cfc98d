//! "This is current" is said only of a state that contains every change that any node had
//! applied when the question was asked. Source: read-index, D. Ongaro, "Consensus: Bridging
//! Theory and Practice", section 6.4; linearizability, M. Herlihy, J. Wing, TOPLAS 1990.

use std::collections::BTreeMap;

use tenure_core::Revision;

use super::Verdict;

const NAME: &str = "current_answers";

#[derive(Debug, Default)]
pub(crate) struct CurrentAnswers {
    pub(super) verdict: Verdict,
    asked: BTreeMap<(u64, u64), u64>,
}

impl CurrentAnswers {
    /// A question is on its way; `latest` is the number of the latest change in the world.
    pub(crate) fn asked(&mut self, conn: u64, number: u64, latest: u64) {
        self.asked.insert((conn, number), latest);
    }

    pub(crate) fn answered(&mut self, now: u64, conn: u64, number: u64, shown: Revision) {
        let Some(latest) = self.asked.remove(&(conn, number)) else { return };
        if shown.get() < latest {
            let why = format!(
                "a node called change {shown} current, asked when change {latest} had been applied"
            );
            self.verdict.broken(NAME, now, why);
        }
    }
}
