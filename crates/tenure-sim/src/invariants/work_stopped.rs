//! A tenure that ends by its holder's own word ends after its work has stopped. Source: safety
//! rule "never resign before the work has stopped"; client-go #139991.

use tenure_core::{ElectionName, Token, ledger::EndReason};

use super::Verdict;

const NAME: &str = "work_stopped";

#[derive(Debug, Default)]
pub(crate) struct WorkStopped {
    pub(super) verdict: Verdict,
}

impl WorkStopped {
    /// A tenure ended by its holder's word while its work runs.
    pub(crate) fn broken(
        &mut self,
        now: u64,
        process: usize,
        election: &ElectionName,
        token: Token,
        reason: EndReason,
    ) {
        let why = format!(
            "token {token} of {election} ended ({reason:?}), but the work of p{process} runs"
        );
        self.verdict.broken(NAME, now, why);
    }
}
