//! Why things end, and with which exit code.

use super::Machine;

/// Leadership was lost, and the command had stopped in time.
pub(crate) const LOST: u8 = 120;
/// Leadership was lost, and the command had to be killed.
pub(crate) const LOST_KILLED: u8 = 121;
/// The command could not be confirmed dead before the lease was over.
pub(crate) const ALARM: u8 = 122;
/// Tenure itself failed.
pub(crate) const FAILED: u8 = 125;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl End {
    /// As shells put it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 | signal,
        }
    }
}

/// Why a tenure, or the wait for it, ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The command has ended.
    Exited,
    /// The command could not be started.
    StartFailed(u8),
    /// A signal asked for it.
    Signal(i32),
    /// The process that the user started is gone.
    FrontGone,
    /// The store said so, or the lease ran out.
    Lost,
    /// The store does not acknowledge renewals, and the lease is nearly over.
    AtRisk,
    /// The leader was asked to hand over.
    Handover,
    /// The health check failed.
    CheckFailed,
    /// The hook before the command failed.
    PromoteFailed,
    /// The campaign cannot go on.
    Failed,
    /// Not elected in time.
    TimedOut,
    /// Somebody has done it before.
    NothingToDo,
}

impl Why {
    /// In one word, for machines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::StartFailed(_) => "start_failed",
            Self::Signal(_) => "signal",
            Self::FrontGone => "front_gone",
            Self::Lost => "lost",
            Self::AtRisk => "at_risk",
            Self::Handover => "handover",
            Self::CheckFailed => "check_failed",
            Self::PromoteFailed => "promote_failed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::NothingToDo => "slot_taken",
        }
    }
}

/// What comes after a tenure, or after the wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Exit(u8),
    Again,
}

impl Machine {
    pub(super) fn verdict(&self) -> Verdict {
        if self.alarmed {
            return Verdict::Exit(ALARM);
        }
        let command = self.end.map(End::code);
        match self.leave.or(self.why) {
            Some(Why::Signal(signal)) => {
                // No signal has a number above 64.
                let number = u8::try_from(signal).unwrap_or(0);
                Verdict::Exit(command.unwrap_or(128 | number))
            }
            Some(Why::NothingToDo) => Verdict::Exit(0),
            Some(Why::Exited) => Verdict::Exit(command.unwrap_or(0)),
            Some(Why::StartFailed(code)) => Verdict::Exit(code),
            Some(Why::TimedOut) => Verdict::Exit(self.rules.timeout_code),
            Some(Why::PromoteFailed | Why::Failed | Why::FrontGone) | None => Verdict::Exit(FAILED),
            Some(Why::Lost | Why::AtRisk | Why::Handover | Why::CheckFailed) => self.after_loss(),
        }
    }

    fn after_loss(&self) -> Verdict {
        if self.rules.standby_after_loss {
            return Verdict::Again;
        }
        // Somebody else may have killed it in time, when this process could not.
        let killed = self.killed || self.end == Some(End::Signal(9));
        let code = if killed { LOST_KILLED } else { LOST };
        Verdict::Exit(self.rules.lost_code.unwrap_or(code))
    }
}
