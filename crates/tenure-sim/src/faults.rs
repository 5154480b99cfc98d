//! What goes wrong, how often, and how often it really did.
//!
//! The options are drawn anew for every seed, and about half of the kinds are off in each
//! ("swarm testing", A. Groce et al., ISSTA 2012): a fault that is always there hides others.

use crate::chance::Chance;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of fault, or of trouble that people make.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The kind in words.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether it is of the modelled stores, not of the quorum.
            #[must_use]
            pub fn is_of_stores(self) -> bool {
                self >= Self::AnswerLate
            }
        }
    };
}

kinds! {
    /// A packet was lost, and came late by a retransmission.
    Loss = "packet lost and sent again",
    /// A packet took much longer than others.
    Jitter = "latency spike",
    /// Two hosts could not reach each other.
    Cut = "link cut",
    /// One host could not reach another, but the other way round it went.
    OneWay = "one-way cut",
    /// A host heard nobody, but was heard.
    Deaf = "host deaf",
    /// A host was cut off.
    Isolated = "host isolated",
    /// The hosts fell into two halves.
    Halves = "partition in halves",
    /// The hosts formed a chain.
    Chained = "partition as a chain",
    /// Only one host reached the others.
    Star = "partition as a star",
    /// A link went down and up quickly.
    Flapping = "flapping link",
    /// One end of a connection gave it up, the other does not know.
    HalfOpen = "half-open connection",
    /// A connection was reset for no reason.
    Reset = "connection reset",
    /// Words of an old connection were read after those of a newer one.
    Overtaken = "old connection read late",
    /// A node was killed, or, one time in four, asked to end.
    NodeKilled = "node killed",
    /// A host lost power.
    PowerLost = "host lost power",
    /// A write under way was lost in a crash.
    WriteLost = "unsynced write lost",
    /// A write under way survived a crash without having been confirmed.
    WriteKept = "unconfirmed write kept",
    /// A write under way was torn: a part of it is on the disk.
    TornTail = "torn write cut back",
    /// A disk was slow.
    SlowDisk = "slow disk",
    /// A disk failed a write: its node stopped.
    DiskError = "disk error",
    /// A disk was full: its node stopped until there was room.
    DiskFull = "disk full",
    /// A disk was lost with everything on it.
    DiskLost = "disk lost",
    /// A node was stopped for a while (SIGSTOP).
    NodePaused = "node paused",
    /// A host was suspended: everything on it stood still, its clock went on.
    Suspended = "host suspended",
    /// A clock changed its rate within the bound.
    Rate = "clock rate changed",
    /// A clock ran outside the bound.
    BadRate = "clock rate outside the bound",
    /// A wall clock jumped.
    WallJump = "wall clock jumped",
    /// A timer rang late.
    LateTimer = "timer late",
    /// A candidate's process was killed.
    ProcessKilled = "candidate killed",
    /// A candidate's process was stopped for a while.
    ProcessPaused = "candidate paused",
    /// A candidate's process said farewell and came back later.
    ProcessClosed = "candidate closed",
    /// A death was reported late.
    DeathLate = "death reported late",
    /// A death was reported again.
    DeathAgain = "death reported twice",
    /// Several nodes reported the same death.
    DeathWitnessed = "death with several witnesses",
    /// A leader resigned.
    Resigned = "leader resigned",
    /// A leader handed over to a named candidate.
    Transferred = "leader transferred",
    /// A candidate withdrew while it waited.
    Withdrew = "candidate withdrew",
    /// An application took long to stop its work.
    LateStop = "work stopped late",
    /// A write to the resource was late.
    LateWrite = "resource write late",
    /// A write to the resource came twice.
    TwiceWritten = "resource write twice",
    /// An operator asked for a hand-over.
    Reserved = "hand-over asked for",
    /// An operator took the wish back.
    Unreserved = "hand-over cancelled",
    /// An operator evicted a leader.
    Evicted = "leader evicted",
    /// An operator evicted a leader with a ban.
    Banned = "leader evicted with a ban",
    /// An operator evicted a leader whose node missed that for a moment.
    EvictedUnseen = "leader evicted behind its node's back",
    /// An operator paused an election.
    ElectionPaused = "election paused",
    /// An operator resumed an election.
    ElectionResumed = "election resumed",
    /// An operator moved the Raft leadership.
    QuorumMoved = "Raft leadership transferred",
    /// A candidate's lease was to have another length.
    Retimed = "lease to be changed",
    /// A node was cut off and came back while all else was well.
    Rejoined = "node cut off in calm",
    /// A node was added.
    MemberAdded = "node added",
    /// A node was removed.
    MemberRemoved = "node removed",
    /// A store's answer took longer than usual.
    AnswerLate = "store: answer late",
    /// A store's answer came when nobody waited for it any more.
    AnswerTooLate = "store: answer given up on",
    /// A question reached a store twice.
    AskedTwice = "store: asked twice",
    /// A question to a store was lost.
    QuestionLost = "store: question lost",
    /// A store's answer was lost.
    AnswerLost = "store: answer lost",
    /// A store's hint was lost.
    HintLost = "store: hint lost",
    /// Another machine took a store over.
    StoreFailedOver = "store: failed over",
    /// And went back to an older state.
    StoreForgot = "store: forgot",
    /// A clock around a store changed its rate.
    StoreClockChanged = "store: clock changed",
    /// A candidate of a store was killed.
    StoreUserKilled = "store: candidate killed",
    /// A candidate of a store was stopped for a while.
    StoreUserPaused = "store: candidate paused",
    /// A candidate was cut off from its store.
    StoreCutOff = "store: candidate cut off",
    /// A leader over a store resigned.
    ResignedToStore = "store: leader resigned",
    /// A candidate of a store left one of its elections for good.
    QuitStore = "store: candidate left for good",
}

/// How often each kind was applied.
#[derive(Debug, Clone)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Kind::ALL.len()])
    }
}

impl Counts {
    pub(crate) fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// How often this kind was applied.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// All faults.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// Probabilities and sizes, drawn from the seed. Shares are in one thousandth.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    /// Weight of each kind of trouble that is made from time to time.
    pub(crate) weights: Vec<(Kind, u32)>,
    /// Mean time between two troubles, in milliseconds.
    pub(crate) trouble_every_ms: u64,
    /// Shortest one-way latency in microseconds.
    pub(crate) latency_us: u64,
    /// Spread of the latency in microseconds.
    pub(crate) jitter_us: u64,
    /// Share of packets that are lost and sent again.
    pub(crate) loss: u32,
    /// Share of packets that take very long.
    pub(crate) spikes: u32,
    /// Time for a flush in microseconds.
    pub(crate) flush_us: u64,
    /// Share of flushes that are slow, while a disk is slow.
    pub(crate) late_timers: u32,
    /// How late an application stops, at most, in milliseconds.
    pub(crate) late_stop_ms: u64,
    /// How late a write arrives at the resource, at most, in milliseconds.
    pub(crate) late_write_ms: u64,
    /// Share of writes that come twice.
    pub(crate) twice_written: u32,
    /// Share of tenures that a leader ends by itself.
    pub(crate) resigns: u32,
    /// Share of waits that a candidate ends by itself.
    pub(crate) withdraws: u32,
    /// Share of deaths reported late.
    pub(crate) death_late: u32,
    /// Share of deaths reported again.
    pub(crate) death_again: u32,
    /// Clocks may run outside the bound: then only fencing is promised.
    pub(crate) bad_clocks: bool,
}

/// Kinds that are made from time to time, with their usual weight.
const TROUBLES: [(Kind, u32); 33] = [
    (Kind::Cut, 6),
    (Kind::OneWay, 6),
    (Kind::Deaf, 3),
    (Kind::Isolated, 5),
    (Kind::Halves, 4),
    (Kind::Chained, 3),
    (Kind::Star, 3),
    (Kind::Flapping, 3),
    (Kind::HalfOpen, 5),
    (Kind::Reset, 6),
    (Kind::NodeKilled, 8),
    (Kind::PowerLost, 5),
    (Kind::SlowDisk, 4),
    (Kind::DiskError, 2),
    (Kind::DiskFull, 2),
    (Kind::DiskLost, 2),
    (Kind::NodePaused, 6),
    (Kind::Suspended, 4),
    (Kind::Rate, 5),
    (Kind::WallJump, 3),
    (Kind::ProcessKilled, 8),
    (Kind::ProcessPaused, 8),
    (Kind::ProcessClosed, 3),
    (Kind::Reserved, 4),
    (Kind::Unreserved, 1),
    (Kind::Evicted, 5),
    (Kind::Banned, 3),
    (Kind::EvictedUnseen, 3),
    (Kind::ElectionPaused, 2),
    (Kind::ElectionResumed, 3),
    (Kind::QuorumMoved, 4),
    (Kind::MemberAdded, 4),
    (Kind::MemberRemoved, 2),
];

impl Faults {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let mut weights = Vec::new();
        for (kind, weight) in TROUBLES {
            if chance.percent(50) {
                weights.push((kind, weight * chance.pick(&[1, 1, 3])));
            }
        }
        let bad_clocks = chance.percent(4);
        if bad_clocks {
            weights.push((Kind::BadRate, 10));
        }
        if weights.is_empty() {
            weights.push((Kind::NodeKilled, 1));
        }
        Self {
            weights,
            trouble_every_ms: chance.pick(&[200, 500, 1000, 2000]),
            latency_us: chance.pick(&[30, 200, 200, 1000, 10_000, 40_000]),
            jitter_us: chance.pick(&[50, 500, 500, 5_000, 40_000]),
            loss: chance.pick(&[0, 0, 5, 30, 100]),
            spikes: chance.pick(&[0, 0, 2, 20]),
            flush_us: chance.pick(&[50, 500, 500, 5_000, 20_000]),
            late_timers: chance.pick(&[0, 0, 20, 100]),
            late_stop_ms: chance.pick(&[1, 50, 500, 3_000]),
            late_write_ms: chance.pick(&[1, 50, 500, 5_000]),
            twice_written: chance.pick(&[0, 50]),
            resigns: chance.pick(&[0, 200, 600]),
            withdraws: chance.pick(&[0, 0, 200]),
            death_late: chance.pick(&[0, 500]),
            death_again: chance.pick(&[0, 500]),
            bad_clocks,
        }
    }

    /// Nothing goes wrong by itself: for scenarios, and for the end of a run.
    pub(crate) fn none() -> Self {
        Self {
            weights: Vec::new(),
            trouble_every_ms: 1_000_000_000,
            latency_us: 100,
            jitter_us: 200,
            loss: 0,
            spikes: 0,
            flush_us: 200,
            late_timers: 0,
            late_stop_ms: 5,
            late_write_ms: 2,
            twice_written: 0,
            resigns: 0,
            withdraws: 0,
            death_late: 0,
            death_again: 0,
            bad_clocks: false,
        }
    }

    pub(crate) fn pick(&self, chance: &mut Chance) -> Option<Kind> {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = u32::try_from(chance.below(u64::from(total))).ok()?;
        for (kind, weight) in &self.weights {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return Some(*kind),
            }
        }
        None
    }
}
