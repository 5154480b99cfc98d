//! What a supervisor does next: start, soft stop, hard kill, resign, exit.
//!
//! No clock, no processes, no sockets: every input comes with the time, and what must be done
//! comes out of [`Machine::poll`], to be carried out in order before the next input. The shell
//! around it is `warden`.
//!
//! **Invariant:** leadership is given up only after [`Input::TreeEmpty`], which the kernel
//! proves: whatever could act in its name is dead.
//! **Invariant:** nothing is started when there would be no time left to stop it.

mod due;
mod ending;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::VecDeque, time::Duration};

use tenure_core::Moment;

use ending::Verdict;
pub(crate) use ending::{End, FAILED, LOST, LOST_KILLED, Why};
pub(crate) use words::{Effect, Input, OnExit, Phase, Rules};

/// The signals that ask to end.
pub(crate) const STOP_SIGNALS: [i32; 3] = [2, 3, 15];
const HANG_UP: i32 = 1;

/// One supervisor, from its start to its exit code.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    phase: Phase,
    began: Moment,
    /// Until when this process may believe that it leads.
    deadline: Option<Moment>,
    /// Something that was started here may be alive.
    tree: bool,
    /// The last hard kill of what runs now.
    struck: Option<Moment>,
    /// The command of this tenure did not stop by itself.
    killed: bool,
    alarmed: bool,
    /// Why the present tenure, or the wait for it, ends.
    why: Option<Why>,
    /// The user wants an end, whatever else happens.
    leave: Option<Why>,
    /// How the command of this tenure ended.
    end: Option<End>,
    started: Moment,
    restarts: u32,
    pause: Duration,
    effects: VecDeque<Effect>,
}

impl Machine {
    pub(crate) fn new(rules: Rules, now: Moment) -> Self {
        let mut machine = Self {
            rules,
            phase: Phase::Preparing,
            began: now,
            deadline: None,
            tree: false,
            struck: None,
            killed: false,
            alarmed: false,
            why: None,
            leave: None,
            end: None,
            started: now,
            restarts: 0,
            pause: Duration::ZERO,
            effects: VecDeque::new(),
        };
        machine.effects.push_back(Effect::Prepare);
        machine
    }

    /// The next thing to do, until there is none.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether a hard kill is under way.
    pub(crate) fn kills(&self) -> bool {
        self.struck.is_some()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Why the present tenure ended or is about to.
    pub(crate) fn why(&self) -> Option<Why> {
        self.why
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) {
        match input {
            Input::Prepared if self.phase == Phase::Preparing => {
                self.phase = Phase::Contending;
                self.act(Effect::Contend);
            }
            Input::Elected(deadline) => self.on_elected(deadline, now),
            Input::Deadline(deadline) if self.deadline.is_some() => self.deadline = Some(deadline),
            Input::Lost(deadline) if self.deadline.is_some() => {
                self.deadline = Some(deadline);
                self.stop(Why::Lost, now);
            }
            Input::HandoverAsked if self.leads() => self.stop(Why::Handover, now),
            Input::Failed => self.stop(Why::Failed, now),
            Input::NothingToDo if self.phase == Phase::Contending => {
                self.stop(Why::NothingToDo, now);
            }
            Input::GiveUp if self.phase == Phase::Contending => self.stop(Why::TimedOut, now),
            Input::HookDone { ok } => self.on_hook(ok, now),
            Input::StartFailed(code) if self.phase == Phase::Running => {
                self.stop(Why::StartFailed(code), now);
            }
            Input::JobStarted => self.tree = true,
            Input::ChildExited(end) => self.on_child_exited(end, now),
            Input::TreeEmpty => self.on_tree_empty(now),
            Input::Signal(signal) => self.on_signal(signal, now),
            Input::CheckFailed if self.leads() => self.stop(Why::CheckFailed, now),
            Input::FrontGone => self.on_front_gone(now),
            Input::Released if self.phase == Phase::Releasing => self.on_released(now),
            _ => {}
        }
        self.advance(now, input == Input::Tick);
    }

    fn act(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Whether it leads and nothing speaks against it.
    fn leads(&self) -> bool {
        matches!(
            self.phase,
            Phase::Promoting { .. }
                | Phase::Delaying { .. }
                | Phase::Running
                | Phase::Resting { .. }
                | Phase::Holding
        )
    }

    fn on_elected(&mut self, deadline: Moment, now: Moment) {
        if self.phase != Phase::Contending {
            // Too late: it is being given up already.
            return;
        }
        (self.deadline, self.why, self.end, self.killed) = (Some(deadline), None, None, false);
        (self.restarts, self.pause) = (0, Duration::ZERO);
        if now >= self.rules.budget.soft_at(deadline) {
            self.stop(Why::AtRisk, now);
        } else if self.rules.promote {
            self.tree = true;
            self.phase = Phase::Promoting { until: now + self.rules.hook_timeout };
            self.act(Effect::Promote);
        } else {
            self.delay(now);
        }
    }

    fn delay(&mut self, now: Moment) {
        if self.rules.delay.is_zero() {
            self.start(now);
        } else {
            self.phase = Phase::Delaying { until: now + self.rules.delay };
        }
    }

    fn start(&mut self, now: Moment) {
        (self.tree, self.started, self.phase) = (true, now, Phase::Running);
        self.act(Effect::Start);
    }

    fn on_hook(&mut self, ok: bool, now: Moment) {
        match self.phase {
            Phase::Promoting { .. } if ok => self.delay(now),
            Phase::Promoting { .. } => self.stop(Why::PromoteFailed, now),
            // What the hook left behind goes before leadership does.
            Phase::Demoting { .. } if self.tree => self.kill(now),
            _ => {}
        }
    }

    fn on_child_exited(&mut self, end: End, now: Moment) {
        self.end = Some(end);
        match self.phase {
            // Whoever wakes up after its lease finds the command killed by others, in time.
            Phase::Running if self.deadline.is_some_and(|at| now >= at) => {
                self.stop(Why::Lost, now);
            }
            Phase::Running => self.stop(Why::Exited, now),
            // What it leaves behind was not asked to stop yet.
            Phase::Stopping { .. } if self.struck.is_none() => self.act(Effect::SoftStop),
            _ => {}
        }
    }

    /// The tenure, or the wait for it, is to end.
    fn stop(&mut self, why: Why, now: Moment) {
        match self.phase {
            Phase::Releasing | Phase::Over => return,
            Phase::Stopping { .. } | Phase::Demoting { .. } => {
                // A loss outweighs the wish that came before it.
                if why == Why::Lost {
                    self.why = Some(why);
                }
                return;
            }
            _ => {}
        }
        self.why = Some(why);
        if self.tree {
            self.phase = Phase::Stopping { asked: now };
            match why {
                // The signal itself is passed on, and asks to stop.
                Why::Signal(_) => {}
                Why::FrontGone => self.kill(now),
                _ => self.act(Effect::SoftStop),
            }
        } else {
            self.settle(now);
        }
    }

    fn kill(&mut self, now: Moment) {
        self.struck = Some(now);
        self.killed |= matches!(self.phase, Phase::Stopping { .. }) && self.end.is_none();
        self.act(Effect::HardKill);
    }

    fn on_tree_empty(&mut self, now: Moment) {
        self.tree = false;
        match self.phase {
            Phase::Stopping { .. } => self.settle(now),
            Phase::Demoting { .. } => self.release(),
            _ => {}
        }
    }

    /// Nothing runs any more: what comes after?
    fn settle(&mut self, now: Moment) {
        self.struck = None;
        if self.why == Some(Why::Exited) && self.leave.is_none() && self.deadline.is_some() {
            match self.rules.on_exit {
                OnExit::Hold => return self.phase = Phase::Holding,
                OnExit::Restart { first, longest, at_most } => {
                    if at_most.is_none_or(|most| self.restarts < most) {
                        let ran = now.since(self.started);
                        let longer = (self.pause * 2).clamp(first, longest);
                        self.pause = if ran > longest { first } else { longer };
                        self.restarts += 1;
                        return self.phase = Phase::Resting { until: now + self.pause };
                    }
                }
                OnExit::Resign => {}
            }
        }
        let time_left = self.deadline.is_some_and(|at| now < self.rules.budget.kill_at(at));
        if self.rules.demote && time_left {
            self.tree = true;
            self.phase = Phase::Demoting { until: now + self.rules.hook_timeout };
            self.act(Effect::Demote);
        } else {
            self.release();
        }
    }

    fn release(&mut self) {
        self.deadline = None;
        self.phase = Phase::Releasing;
        let stay = matches!(self.verdict(), Verdict::Again) && !self.rules.checked;
        self.act(Effect::Release { stay });
    }

    fn on_released(&mut self, now: Moment) {
        match self.verdict() {
            Verdict::Exit(code) => {
                self.phase = Phase::Over;
                self.act(Effect::Exit(code));
            }
            Verdict::Again => {
                self.phase = Phase::Preparing;
                (self.why, self.end, self.began) = (None, None, now);
                self.act(Effect::Prepare);
            }
        }
    }

    fn on_signal(&mut self, signal: i32, now: Moment) {
        let asks = STOP_SIGNALS.contains(&signal)
            || (signal == HANG_UP
                && self.rules.hang_up_ends_waiting
                && matches!(self.phase, Phase::Preparing | Phase::Contending));
        let has_command = matches!(self.phase, Phase::Running | Phase::Stopping { .. });
        if !asks {
            if has_command && self.rules.forward.contains(&signal) {
                self.act(Effect::Forward(signal));
            }
            return;
        }
        let again = self.leave.is_some();
        self.leave = Some(Why::Signal(signal));
        if again && self.tree {
            // Whoever asks twice does not want to wait.
            self.stop(Why::Signal(signal), now);
            return self.kill(now);
        }
        if has_command && self.rules.forward.contains(&signal) {
            self.act(Effect::Forward(signal));
        } else if self.tree {
            self.act(Effect::SoftStop);
        }
        self.stop(Why::Signal(signal), now);
    }

    fn on_front_gone(&mut self, now: Moment) {
        self.leave = Some(Why::FrontGone);
        self.stop(Why::FrontGone, now);
        if matches!(self.phase, Phase::Stopping { .. }) && self.struck.is_none() {
            self.kill(now);
        }
    }
}
