//! Known bugs of the shell around the registrar, or of a store's adapter.

macro_rules! mutants {
    ($($(#[$doc:meta])* $mutant:ident = $name:literal on $store:ident by $($invariant:literal)|+,)*) => {
        /// A bug planted in a modelled store or in the shell that talks to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum StoreMutant { $($(#[$doc])* $mutant,)* }

        impl StoreMutant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$mutant,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }

            /// The invariants that may notice it first.
            #[must_use]
            pub fn caught_by(self) -> &'static [&'static str] {
                match self { $(Self::$mutant => &[$($invariant),+],)* }
            }

            /// The store whose weakness brings it to light.
            #[must_use]
            pub fn store(self) -> super::Store {
                match self { $(Self::$mutant => super::Store::$store,)* }
            }
        }
    };
}

mutants! {
    /// The lease counts from the receipt of the acknowledgement.
    CountsFromReceipt = "counts-from-receipt" on LateAnswers by "one_holder" | "lease_respected",
    /// An acknowledgement is taken for that of the latest renewal, whichever it answers.
    AnswerForAnother = "answer-for-another" on LateAnswers by "one_holder" | "lease_respected",
    /// A renewal without an answer is taken for done.
    SilenceIsRenewal = "silence-is-renewal" on LostAnswers by "one_holder" | "lease_respected",
    /// The holder does not allow for clocks that run at different rates.
    NoDrift = "no-drift" on OtherClock by "one_holder" | "lease_respected",
    /// The holder allows for its own clock's drift only, though the store adds nothing.
    DriftOfOneSide = "drift-of-one-side" on OtherClock by "one_holder" | "lease_respected",
    /// The store ends leases after half of their length.
    ExpiresEarly = "expires-early" on OtherClock by "one_holder" | "lease_respected",
    /// A renewal is acknowledged for a tenure that somebody else has by now.
    RenewsAnything = "renews-anything" on Forgets by
        "one_holder" | "lease_respected" | "liveness",
    /// A release ends the tenure of whoever holds it now.
    ReleasesAnything = "releases-anything" on LostAnswers by
        "one_holder" | "lease_respected" | "work_stopped",
    /// Tokens are counted afresh after a failover.
    TokensRestart = "tokens-restart" on Forgets by "tokens_rise" | "fence",
    /// A failover hands out what was held before it at once.
    FailoverFreesAll = "failover-frees-all" on OtherClock by "one_holder" | "lease_respected",
    /// Nothing is asked as long as no hint comes.
    WaitsForHints = "waits-for-hints" on WatchGaps by "liveness",
    /// The resource accepts every write.
    GateOpen = "gate-open" on Forgets by "fence",
}

impl StoreMutant {
    /// The mutant of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.as_str() == name)
    }
}
