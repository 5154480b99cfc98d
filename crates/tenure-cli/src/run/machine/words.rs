//! What the machine is told, and what it says.

use std::time::Duration;

use tenure_core::Moment;

use super::{super::budget::Budget, End};

/// What the user decided.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The time there is.
    pub(crate) budget: Budget,
    /// Give up when not elected after this long.
    pub(crate) wait: Option<Duration>,
    /// Pause between winning and starting.
    pub(crate) delay: Duration,
    /// Contend again after a loss, instead of ending.
    pub(crate) standby_after_loss: bool,
    /// What happens when the command has ended by itself.
    pub(crate) on_exit: OnExit,
    /// Exit code when not elected in time.
    pub(crate) timeout_code: u8,
    /// Exit code after a loss, in place of 120 and 121.
    pub(crate) lost_code: Option<u8>,
    /// Signals that are passed on to the command.
    pub(crate) forward: Vec<i32>,
    /// A hang-up ends whoever only waits: the terminal is gone.
    pub(crate) hang_up_ends_waiting: bool,
    /// There is a hook to run before the command starts.
    pub(crate) promote: bool,
    /// There is a hook to run after the command is dead, before leadership is given up.
    pub(crate) demote: bool,
    /// Longest time for one hook.
    pub(crate) hook_timeout: Duration,
    /// Something must succeed before each campaign, so that the place in the queue is left.
    pub(crate) checked: bool,
}

/// What happens when the command has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExit {
    /// Give leadership up, and end with the command's exit code.
    Resign,
    /// Start it again after a pause that doubles.
    Restart { first: Duration, longest: Duration, at_most: Option<u32> },
    /// Stay the leader without it.
    Hold,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing stands in the way of contending.
    Prepared,
    /// This process leads until then.
    Elected(Moment),
    /// A renewal was acknowledged.
    Deadline(Moment),
    /// Leadership is lost; the lease lasts until then all the same.
    Lost(Moment),
    /// The leader is asked to hand over.
    HandoverAsked,
    /// The campaign cannot go on.
    Failed,
    /// It leads, and there is nothing to do.
    NothingToDo,
    /// Somebody else leads, and nobody wants to wait.
    GiveUp,
    /// The hook that was asked for has ended.
    HookDone { ok: bool },
    /// The command could not be started.
    StartFailed(u8),
    /// Something else was started in the name of the leader.
    JobStarted,
    /// The command itself has ended.
    ChildExited(End),
    /// No process is left that was started here, nor any descendant.
    TreeEmpty,
    /// A signal came for the command.
    Signal(i32),
    /// The health check failed too often.
    CheckFailed,
    /// The process that the user started is gone.
    FrontGone,
    /// The store knows that leadership was given up, or was asked for long enough.
    Released,
    /// Time has passed, and all that has happened by now was told.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// See whether it may contend; answered with [`Input::Prepared`].
    Prepare,
    /// Contend.
    Contend,
    /// Run the hook before the command.
    Promote,
    /// Start the command.
    Start,
    /// Run the hook after the command.
    Demote,
    /// Pass a signal on to the command.
    Forward(i32),
    /// Ask everything to stop.
    SoftStop,
    /// Kill everything.
    HardKill,
    /// Say that something may still act although the lease is over.
    Alarm,
    /// Give up leadership, or the place in the queue; keep the latter if `stay`.
    Release { stay: bool },
    /// End.
    Exit(u8),
}

/// Where things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Seeing whether it may contend.
    Preparing,
    /// In the queue.
    Contending,
    /// The hook before the command runs.
    Promoting { until: Moment },
    /// Waiting before the first start.
    Delaying { until: Moment },
    /// The command runs.
    Running,
    /// Waiting before another start.
    Resting { until: Moment },
    /// Leading without the command.
    Holding,
    /// Everything is being stopped.
    Stopping { asked: Moment },
    /// The hook after the command runs.
    Demoting { until: Moment },
    /// Leadership, or the place in the queue, is being given up.
    Releasing,
    /// The end.
    Over,
}
