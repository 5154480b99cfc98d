//! Turning what has happened into inputs of the machine.

use tenure_core::{Moment, timing::Ttl};
use tenure_quorum::clock;

use super::{
    super::{
        front,
        jobs::{Job, Kind},
        link::{Heard, Message},
        machine::{End, Input},
        report::Event,
        settings::Settings,
        tree::{self, Change},
        vigil::{Jump, Reading, Renewal},
    },
    Warden,
};
use crate::{
    error::{Exit, Failure},
    output::time,
};

impl Warden {
    pub(super) fn look_at_front(&mut self) {
        loop {
            match self.link.hear() {
                Heard::Message(Message::Signal { number, terminal }, _) => {
                    self.on_signal(number, terminal);
                }
                Heard::Message(Message::Ask, _) => _ = self.link.say(&Message::Alive, None),
                Heard::Message(..) => {}
                Heard::Nothing => break,
                Heard::Closed => {
                    if self.front.take().is_some() {
                        self.input(Input::FrontGone);
                    }
                    break;
                }
            }
        }
    }

    pub(super) fn on_signal(&mut self, number: i32, terminal: bool) {
        // In one group with the front, the command has heard what came from the terminal.
        self.heard_already = terminal && self.settings.options.child.foreground;
        self.input(Input::Signal(number));
        if front::is_terminal_stop(number) && self.jobs.command().is_none() {
            let _ = self.link.say(&Message::Stopped, None);
        }
    }

    pub(super) fn look_at_clocks(&mut self) {
        let now = clock::moment();
        let deadline = self.lease.deadline();
        let ttl = self.lease.ttl().and_then(|ttl| Ttl::new(ttl).ok());
        let ttl = ttl.unwrap_or(self.settings.budget.ttl);
        let renewal = self.renewals.look(deadline, ttl, now);
        let remaining_ms = deadline.map_or(0, |at| time::millis(at.since(now)));
        match (renewal, self.token) {
            (Some(Renewal::Came), Some(token)) if self.settings.verbose => {
                self.report.tell(&Event::Renewed { token, remaining_ms });
            }
            (Some(Renewal::Overdue), Some(token)) => {
                self.report.tell(&Event::RenewFailed { token, remaining_ms });
            }
            _ => {}
        }
        let running = Moment::from_nanos(clock::monotonic_nanos());
        let jump = self.clocks.look(Reading { boot: now, running, wall: clock::wall() });
        if let Some(Jump { suspended, wall_ms }) = jump {
            let suspended_ms = time::millis(suspended);
            self.report.tell(&Event::ClockJump { suspended_ms, wall_ms });
        }
    }

    pub(super) fn look_at_children(&mut self) {
        loop {
            match tree::next_change() {
                Change::Ended(pid, end) => {
                    if let Some(job) = self.jobs.ended(pid) {
                        self.on_ended(job, end);
                    }
                }
                Change::Stopped(pid, signal) => {
                    let ours = self.jobs.command() == Some(pid);
                    if ours && front::is_terminal_stop(signal) && self.jobs.has_terminal() {
                        let _ = self.link.say(&Message::Stopped, None);
                    }
                }
                Change::Nothing => break,
                Change::Empty => {
                    self.input(Input::TreeEmpty);
                    break;
                }
            }
        }
    }

    pub(super) fn on_ended(&mut self, job: Job, end: End) {
        let (code, signal) = match end {
            End::Code(code) => (Some(code), None),
            End::Signal(signal) => (None, Some(signal)),
        };
        let ok = code == Some(0);
        match job.kind {
            Kind::Command => {
                self.jobs.take_terminal_back();
                self.report.tell(&Event::ChildExited { token: self.token, code, signal });
                self.input(Input::ChildExited(end));
            }
            Kind::Promote | Kind::Demote => {
                let hook = if job.kind == Kind::Promote { "promote" } else { "demote" };
                self.report.tell(&Event::HookEnded { hook, code, signal });
                if !ok && job.kind == Kind::Promote {
                    self.failure = Some(hook_failed(&self.settings, end));
                }
                self.input(Input::HookDone { ok });
            }
            Kind::Aside(hook) => self.report.tell(&Event::HookEnded { hook, code, signal }),
            kind @ (Kind::Check | Kind::ReadyCheck) => self.on_checked(kind, ok),
        }
    }
}

fn hook_failed(settings: &Settings, end: End) -> Failure {
    let hook = settings.hooks.promote.as_ref().map(|hook| hook.file.display().to_string());
    let how = match end {
        End::Code(code) => format!("it ended with code {code}"),
        End::Signal(signal) => format!("it died of signal {signal}"),
    };
    Failure::new(
        Exit::Tool,
        format!("the hook {} did not succeed", hook.unwrap_or_default()),
        format!("{how}; the command was not started"),
        "mend the hook, or leave --on-promote out",
    )
}
