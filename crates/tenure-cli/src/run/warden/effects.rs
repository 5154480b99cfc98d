//! Carrying out what the machine has decided.

use std::os::fd::AsFd;

use tenure_quorum::clock;

use super::{
    super::{
        contest::Order,
        jobs::Kind,
        link::Message,
        machine::{Effect, FAILED, Input, LOST, Why},
        report::Event,
    },
    Warden,
};
use crate::{error::Failure, output::time};

impl Warden {
    /// Tells those who act in this process's place what they would have to do, and when.
    pub(in crate::run) fn arm(&mut self) {
        let armed = self.machine.armed();
        if armed == self.armed {
            return;
        }
        if armed.is_some() != self.armed.is_some() {
            self.deadman.arm(armed.is_some());
        }
        self.armed = armed;
        // Who is killing is alive, and what remains to be told is worth its life.
        let burns = armed.filter(|_| !self.machine.kills());
        self.fuse.set(burns.map(|deadline| self.settings.budget.fuse_at(deadline)));
        let Some(deadline) = armed else {
            self.lock_is_shared = false;
            let _ = self.link.say(&Message::Disarmed, None);
            return;
        };
        let until = self.settings.budget.guard_at(deadline);
        let message = Message::Armed { until, cgroup: self.jobs.cgroup.clone() };
        let lock = self.jobs.lock.as_ref().filter(|_| !self.lock_is_shared);
        let said = self.link.say(&message, lock.map(AsFd::as_fd));
        self.lock_is_shared |= said.is_ok();
    }

    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.machine.poll() {
            self.act(effect);
        }
        self.publish();
    }

    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare => self.begin_ready_check(),
            Effect::Contend => {
                self.report.tell(&Event::Campaigning);
                if self.connected {
                    self.order(Order::Contend);
                } else {
                    self.contend_when_connected = true;
                }
                self.notify("READY=1\nSTATUS=waits to lead");
            }
            Effect::Promote => self.start_own_hook(Kind::Promote),
            Effect::Demote => self.start_own_hook(Kind::Demote),
            Effect::Start => self.start_command(),
            Effect::Forward(signal) => self.jobs.forward(signal, self.heard_already),
            Effect::SoftStop => {
                self.tell_why();
                self.jobs.soft_stop();
            }
            Effect::HardKill => {
                self.report.tell(&Event::ChildKilled { token: self.token });
                // Before it: what cannot be killed is looked for again and again.
                self.fuse.set(None);
                self.jobs.hard_kill();
            }
            Effect::Alarm => self.report.tell(&Event::SafetyAlarm { token: self.token }),
            Effect::Release { stay } => self.release(stay),
            Effect::Exit(code) => {
                let reason = self.machine.why().map_or("failed", Why::as_str);
                self.report.tell(&Event::Exiting { code, reason });
                self.notify("STOPPING=1");
                self.exit = Some(code);
            }
        }
    }

    pub(super) fn tell_why(&mut self) {
        let reason = self.machine.why().map_or("exited", Why::as_str);
        if let (Some(Why::AtRisk), Some(token)) = (self.machine.why(), self.token) {
            let left = self.lease.deadline().map(|at| at.since(clock::moment()));
            let remaining_ms = time::millis(left.unwrap_or_default());
            self.report.tell(&Event::AtRisk { token, remaining_ms });
        }
        self.report.tell(&Event::Demoting { token: self.token, reason });
    }

    pub(super) fn start_command(&mut self) {
        let Some(deadline) = self.lease.deadline() else {
            // It was lost in this very moment; the news is on its way.
            return self.input(Input::StartFailed(LOST));
        };
        // Whoever acts in this process's place knows before there is something to act upon.
        self.arm();
        if let Some(token) = self.token {
            self.report.tell(&Event::Promoted { token });
        }
        let occasion = self.occasion("promoted", true);
        match self.jobs.start(&occasion, self.settings.budget.soft_at(deadline)) {
            Ok(child) => {
                self.health.command_started(clock::moment());
                if let Some(token) = self.token {
                    self.report.tell(&Event::ChildStarted { token, child });
                }
                self.notify(&format!("STATUS=leads {}", self.election));
            }
            Err(error) => {
                self.failure = Some(Failure::io("cannot start the command", &error, "try again"));
                self.input(Input::StartFailed(FAILED));
                self.input(Input::TreeEmpty);
            }
        }
    }

    pub(super) fn release(&mut self, stay: bool) {
        self.arm();
        self.jobs.take_terminal_back();
        let why = self.machine.why();
        if let Some(token) = self.token {
            self.report.tell(&Event::Demoted { token: Some(token) });
            match why {
                Some(Why::Lost) => {}
                Some(Why::Handover) => self.report.tell(&Event::Handover { token }),
                _ => self.report.tell(&Event::Resigned { token }),
            }
            if matches!(why, Some(Why::Lost | Why::AtRisk)) {
                self.queue_hook("loss", false);
            }
        }
        self.token = None;
        // Nothing runs: what is started from now on is no part of this tenure.
        self.jobs.lock = None;
        self.order(Order::Release { stay });
    }

    pub(in crate::run) fn order(&mut self, order: Order) {
        if self.orders.send(order).is_err() {
            // That side has ended, so nothing is held any more.
            self.input(Input::Released);
        }
    }

    pub(super) fn notify(&self, text: &str) {
        let _ = self.link.say(&Message::Notify(text.to_owned()), None);
    }
}
