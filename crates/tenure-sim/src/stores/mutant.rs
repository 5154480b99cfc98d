//! Known bugs of the shell around the registrar, or of a store's adapter.

use super::Store;
use crate::mutant::mutants;

mutants! {
    /// A bug planted in a modelled store or in the shell that talks to it.
    StoreMutant:
    /// The lease counts from the receipt of the acknowledgement.
    CountsFromReceipt = "counts-from-receipt" by "one_holder" | "lease_respected",
    /// An acknowledgement is taken for that of the latest renewal, whichever it answers.
    AnswerForAnother = "answer-for-another" by "one_holder" | "lease_respected",
    /// A renewal without an answer is taken for done.
    SilenceIsRenewal = "silence-is-renewal" by "one_holder" | "lease_respected",
    /// The holder does not allow for clocks that run at different rates.
    NoDrift = "no-drift" by "one_holder" | "lease_respected",
    /// The holder allows for its own clock's drift only, though the store adds nothing.
    DriftOfOneSide = "drift-of-one-side" by "one_holder" | "lease_respected",
    /// The store ends leases after half of their length.
    ExpiresEarly = "expires-early" by "one_holder" | "lease_respected",
    /// A renewal is acknowledged for a tenure that somebody else has by now.
    RenewsAnything = "renews-anything" by "one_holder" | "lease_respected" | "liveness",
    /// A release ends the tenure of whoever holds it now.
    ReleasesAnything = "releases-anything" by
        "one_holder" | "lease_respected" | "work_stopped",
    /// Tokens are counted afresh after a failover.
    TokensRestart = "tokens-restart" by "tokens_rise" | "fence",
    /// A failover hands out what was held before it at once.
    FailoverFreesAll = "failover-frees-all" by "one_holder" | "lease_respected",
    /// Nothing is asked as long as no hint comes.
    WaitsForHints = "waits-for-hints" by "liveness",
    /// The resource accepts every write.
    GateOpen = "gate-open" by "fence",
}

impl StoreMutant {
    /// The store whose weakness brings it to light.
    #[must_use]
    pub fn store(self) -> Store {
        match self {
            Self::CountsFromReceipt | Self::AnswerForAnother => Store::LateAnswers,
            Self::SilenceIsRenewal | Self::ReleasesAnything => Store::LostAnswers,
            Self::NoDrift | Self::DriftOfOneSide | Self::ExpiresEarly | Self::FailoverFreesAll => {
                Store::OtherClock
            }
            Self::RenewsAnything | Self::TokensRestart | Self::GateOpen => Store::Forgets,
            Self::WaitsForHints => Store::WatchGaps,
        }
    }
}
