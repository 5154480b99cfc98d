//! When the faults have stopped, each election with a live candidate is led within the printed
//! bound, every live node's view says so, and it stays so. Source: promise 4; faults.md,
//! invariants I6 and I7; TigerBeetle's liveness mode.

use super::Verdict;

const NAME: &str = "liveness";
const STABILITY: &str = "stability";

#[derive(Debug, Default)]
pub(crate) struct Liveness {
    pub(super) verdict: Verdict,
}

impl Liveness {
    pub(crate) fn broken(&mut self, now: u64, why: String) {
        self.verdict.broken(NAME, now, why);
    }

    pub(crate) fn unstable(&mut self, now: u64, why: String) {
        self.verdict.broken(STABILITY, now, why);
    }
}
