//! Known bugs, planted in the simulator's own shells: by altering what goes into the real
//! machines, what comes out of them, or the time they are told. Nothing of this can be switched
//! on in a shipped binary, because it is not there. Each must be caught; one that is not is a
//! hole in the net.

use serde::{Deserialize, Serialize};
use tenure_core::ledger::{Command, Ledger, SessionEnd};
use tenure_core::{NodeId, SessionId, WallTime};
use tenure_replica::{PeerBody, PeerFrame, Persist, RaftMessage, Restored, decode, encode};

/// Declares planted bugs, each with its name on the command line and who may catch it.
macro_rules! mutants {
    (
        $(#[$about:meta])* $kind:ident:
        $($(#[$doc:meta])* $mutant:ident = $name:literal by $($invariant:literal)|+,)*
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[$doc])* $mutant,)* }

        impl $kind {
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

            /// The one of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mutant| mutant.as_str() == name)
            }
        }
    };
}
pub(crate) use mutants;

mutants! {
    /// A bug planted around the quorum.
    Mutant:
    /// A renewal is acknowledged by whoever believes to lead the quorum, without asking it.
    RenewedWithoutRound = "renewed-without-round" by "lease_respected" | "one_holder",
    /// The lease counts from the receipt of the acknowledgement.
    CountsFromReceipt = "counts-from-receipt" by "lease_respected" | "one_holder",
    /// Neither side allows for clocks that run at different rates.
    NoDrift = "no-drift" by "lease_respected" | "one_holder",
    /// The holder's clock stands still while its machine is suspended (`CLOCK_MONOTONIC`).
    ClockStandsStill = "clock-stands-still" by "lease_respected" | "one_holder",
    /// The quorum's clock runs one and a half times too fast.
    FastExpiry = "fast-expiry" by "lease_respected" | "one_holder",
    /// The quorum takes deadlines from the wall clock.
    WallClockDeadlines = "wall-clock-deadlines" by "lease_respected" | "one_holder" | "liveness",
    /// A deposed leader of the quorum proposes to expire every session.
    DeposedExpires = "deposed-expires" by "lease_respected" | "one_holder",
    /// The successor of an evicted leader does not wait for its lease.
    EvictionAtOnce = "eviction-at-once" by "lease_respected" | "one_holder",
    /// A renewal is acknowledged without the news that the tenure is revoked.
    NewsWithheld = "news-withheld" by "lease_respected" | "one_holder" | "liveness",
    /// Followers of an election are not told what a snapshot brought.
    InstallUntold = "install-untold" by "lease_respected" | "one_holder" | "liveness",
    /// The end of a connection is taken for proof of death.
    EndOfFileIsDeath = "end-of-file-is-death" by "lease_respected" | "one_holder",
    /// A process that starts again calls itself what it was called before.
    SameIncarnation = "same-incarnation" by
        "lease_respected" | "acknowledged" | "tokens_rise" | "one_holder" | "liveness" | "stability",
    /// A new session says that nothing runs under the old one, though its work runs.
    SupersedesWhileWorking = "supersedes-while-working" by "work_stopped",
    /// A leader resigns before its work has stopped.
    ResignsWhileWorking = "resigns-while-working" by "work_stopped",
    /// The resource accepts every write.
    GateOpen = "gate-open" by "fence",
    /// Tokens are numbered afresh by each start of a shell.
    TokensCountFromStart = "tokens-count-from-start" by "tokens_rise",
    /// The vote and the term are not on the disk when they are said to be.
    VoteNotWritten = "vote-not-written" by
        "election_safety" | "leader_completeness" | "state_machine_safety" | "log_matching" | "machine_runs",
    /// A write is said to be durable before it is.
    PersistedEarly = "persisted-early" by
        "leader_completeness" | "state_machine_safety" | "election_safety" | "log_matching" | "machine_runs",
    /// A snapshot forgets the open sessions.
    SnapshotForgetsSessions = "snapshot-forgets-sessions" by "state_machine_safety",
    /// A node whose disk was lost comes back empty under its old id.
    LostDiskOldId = "lost-disk-old-id" by
        "leader_completeness" | "state_machine_safety" | "election_safety" | "log_matching" | "machine_runs",
    /// A wish is answered before it is committed.
    AnsweredBeforeCommit = "answered-before-commit" by "acknowledged" | "work_stopped" | "lease_respected",
    /// An unknown outcome is reported as a refusal.
    UnknownIsNo = "unknown-is-no" by "acknowledged" | "liveness",
    /// "This is current" is said without asking the quorum.
    ConfirmedFromMemory = "confirmed-from-memory" by "current_answers",
    /// A watch now and then shows an older state.
    WatchGoesBack = "watch-goes-back" by "views_forward",
    /// A node that was added while this one was away can send to it, but gets no answer.
    StrangersUnanswered = "strangers-unanswered" by "liveness" | "stability",
    /// A report of a death says whose process it was, not which start of it, so that a late one
    /// ends the tenure of the next.
    DeathNamesCandidate = "death-names-candidate" by
        "lease_respected" | "one_holder" | "acknowledged",
    /// A node campaigns without asking first whether anybody would vote for it.
    PreVoteOff = "pre-vote-off" by "stability",
    /// A node that starts while the nodes are changed takes two changes into force at once.
    TwoChangesAtOnce = "two-changes-at-once" by
        "election_safety" | "leader_completeness" | "state_machine_safety" | "log_matching"
            | "machine_runs" | "liveness",
    /// The quorum is asked to shorten a lease while the longer one is still believed in.
    ShortenedAtQuorumFirst = "shortened-at-quorum-first" by "lease_respected" | "one_holder",
    /// A longer lease is counted with before the quorum has granted it.
    LengthenedAtHolderFirst = "lengthened-at-holder-first" by "lease_respected" | "one_holder",
    /// A request whose answer was lost is not sent again.
    NeverRepeats = "never-repeats" by "liveness",
}

impl Mutant {
    /// What a shell with this bug writes instead.
    pub(crate) fn alter_unit(self, unit: &mut Persist) {
        match self {
            Self::VoteNotWritten => {
                if let Some(hard_state) = &mut unit.hard_state {
                    hard_state.vote = None;
                    hard_state.term = hard_state.term.saturating_sub(1).max(1);
                }
            }
            Self::SnapshotForgetsSessions => {
                if let Some(snapshot) = &mut unit.snapshot
                    && let Ok(mut ledger) = decode::<Ledger>(&snapshot.data)
                {
                    let open: Vec<SessionId> = ledger.sessions().map(|(id, _)| id).collect();
                    for session in open {
                        let reason = SessionEnd::Closed;
                        let command = Command::CloseSession { session, reason };
                        ledger.apply(None, WallTime::default(), command);
                    }
                    snapshot.data = encode(&ledger);
                }
            }
            _ => {}
        }
    }
}

/// As much of a message between Raft peers as a bug needs; on the wire it is one of them.
#[derive(Serialize, Deserialize)]
struct Ballot {
    kind: String,
    from: NodeId,
    to: NodeId,
    term: u64,
}

/// The consent to a pre-vote that is asked for in this frame, as if everybody had given it.
pub(crate) fn granted_pre_vote(frame: &PeerFrame) -> Option<PeerFrame> {
    let PeerBody::Raft(message) = &frame.body else { return None };
    let asked: Ballot = decode(&encode(message)).ok()?;
    if asked.kind != "pre_vote" {
        return None;
    }
    let kind = String::from("pre_vote_response");
    let granted = Ballot { kind, from: asked.to, to: asked.from, term: asked.term };
    let granted: RaftMessage = decode(&encode(&granted)).ok()?;
    Some(PeerFrame {
        from: frame.to,
        to: frame.from,
        relayed: false,
        contact_ms: None,
        committed: None,
        body: PeerBody::Raft(Box::new(granted)),
    })
}

/// Takes two of the other voters out of the membership that a disk gave back.
pub(crate) fn change_two_at_once(me: NodeId, disk: &mut Restored) {
    let Some(snapshot) = &mut disk.snapshot else { return };
    let voters = &mut snapshot.membership.voters;
    if voters.len() >= 3 && voters.contains(&me) {
        let mut left = 2;
        voters.retain(|voter| {
            *voter == me || left == 0 || {
                left -= 1;
                false
            }
        });
    }
}
