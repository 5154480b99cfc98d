//! A replica starts from everything its own disk may hold, does not stop without being told to,
//! and lets time pass between two alarms. Source: safety rule "anything else stops the node
//! with an explanation": none of the faults here is one.

use super::Verdict;

const NAME: &str = "machine_runs";

#[derive(Debug, Default)]
pub(crate) struct MachineRuns {
    pub(super) verdict: Verdict,
}

impl MachineRuns {
    pub(crate) fn broken(&mut self, now: u64, why: String) {
        self.verdict.broken(NAME, now, why);
    }
}
