//! No tenure ends in the ledger while its holder may still believe in it. Stronger than "one
//! holder", and seen earlier: the successor need not have been told yet. Source: the ledger's
//! second invariant in ARCHITECTURE.md.

use tenure_core::{ElectionName, Token, ledger::EndReason};

use super::Verdict;

const NAME: &str = "lease_respected";

#[derive(Debug)]
pub(crate) struct LeaseRespected {
    pub(super) verdict: Verdict,
    lying: bool,
}

impl LeaseRespected {
    pub(super) fn new(lying: bool) -> Self {
        Self { verdict: Verdict::default(), lying }
    }

    /// A tenure ended while a process believes in it.
    pub(crate) fn broken(
        &mut self,
        now: u64,
        process: usize,
        election: &ElectionName,
        token: Token,
        reason: EndReason,
    ) {
        if !self.lying {
            let why = format!(
                "token {token} of {election} ended ({reason:?}) while p{process} believes in it"
            );
            self.verdict.broken(NAME, now, why);
        }
    }
}
