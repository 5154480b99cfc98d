//! What the warden does about news from the store, checks and hooks.

use std::sync::PoisonError;

use tenure_core::{Moment, View};
use tenure_quorum::clock;

use super::{
    contest::{News, Order},
    jobs::Kind,
    machine::{Input, Phase},
    parse::Hook,
    report::Event,
    warden::Warden,
};
use crate::error::Failure;

impl Warden {
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Connected => {
                self.connected = true;
                if std::mem::take(&mut self.contend_when_connected)
                    && self.machine.phase() == Phase::Contending
                {
                    self.order(Order::Contend);
                }
            }
            News::Waiting(position) => {
                self.report.tell(&Event::Standby { position });
                self.queue_hook("standby", false);
                if self.settings.options.time.no_wait {
                    self.input(Input::GiveUp);
                }
            }
            News::Elected(election, token, lock) => {
                self.jobs.lock = lock;
                (self.election, self.token, self.loss) = (election, Some(token), None);
                self.report.election = self.election.clone();
                self.report.tell(&Event::Elected { token });
                // Nothing left of it means that it is over already, and said so next.
                let deadline = self.lease.deadline().unwrap_or_default();
                self.input(Input::Elected(deadline));
            }
            News::Taken(slot) => {
                let (slot, token) = (slot.name.to_string(), slot.token);
                self.report.tell(&Event::SlotTaken { slot, slot_token: token });
                self.input(Input::NothingToDo);
            }
            News::Lost(reason) => {
                self.loss = Some(reason);
                if let Some(token) = self.token {
                    self.report.tell(&Event::Lost { token, reason });
                }
                let deadline = self.lease.deadline().unwrap_or_else(clock::moment);
                self.input(Input::Lost(deadline));
            }
            News::HandoverAsked => {
                if let Some(token) = self.token {
                    self.report.tell(&Event::HandoverAsked { token });
                }
                self.input(Input::HandoverAsked);
            }
            News::Refused(reason) => self.report.tell(&Event::Refused { reason }),
            News::Failed(failure) => {
                self.failure = Some(failure);
                self.input(Input::Failed);
            }
            News::Released => self.input(Input::Released),
            News::Seen(sighting) => {
                let leader = sighting.view.leader();
                let (id, token) = (leader.map(|l| l.id.clone()), leader.map(|l| l.token));
                let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
                let same = status.leader.as_ref().map(|(_, token)| *token) == token;
                status.leader = id.clone().zip(token);
                drop(status);
                if sighting.view == View::Unknown || same {
                    return;
                }
                self.report.tell(&Event::Changed { leader: id.clone(), leader_token: token });
                if id.as_ref() != Some(&self.id) {
                    self.previous = id.or(self.previous.take());
                }
                self.queue_hook("change", self.token.is_some());
            }
        }
    }

    /// Remembers a hook that nothing waits for.
    pub(super) fn queue_hook(&mut self, name: &'static str, leads: bool) {
        let hooks = &self.settings.hooks;
        let hook = match name {
            "standby" => &hooks.standby,
            "change" => &hooks.change,
            _ => &hooks.loss,
        };
        if let Some(hook) = hook.clone() {
            let occasion = self.occasion(name, leads);
            self.jobs.queue.push_back((name, hook, occasion));
        }
    }

    /// Starts the next hook that nothing waits for: one at a time, in order, and none while
    /// everything is being stopped.
    pub(super) fn next_hook(&mut self) {
        if !self.is_calm() || self.jobs.runs(|kind| matches!(kind, Kind::Aside(_))) {
            return;
        }
        let Some((name, hook, occasion)) = self.jobs.queue.pop_front() else { return };
        let until = clock::moment() + self.settings.options.hooks.hook_timeout;
        match self.jobs.start_hook(Kind::Aside(name), &hook, &occasion, Some(until)) {
            Ok(_) => self.input(Input::JobStarted),
            Err(error) => {
                tracing::warn!(%error, hook = name, "cannot start a hook");
                self.report.tell(&Event::HookSkipped { hook: name, reason: "cannot be started" });
            }
        }
    }

    /// Starts one of the two hooks around the command.
    pub(super) fn start_own_hook(&mut self, kind: Kind) {
        self.arm();
        let hooks = &self.settings.hooks;
        let (hook, event) = match kind {
            Kind::Promote => (hooks.promote.clone(), "promote"),
            _ => (hooks.demote.clone(), "demote"),
        };
        let occasion = self.occasion(event, true);
        if let Some(error) =
            hook.and_then(|hook: Hook| self.jobs.start_hook(kind, &hook, &occasion, None).err())
        {
            if kind == Kind::Promote {
                self.failure = Some(Failure::io("cannot start a hook", &error, "try again"));
            }
            self.report.tell(&Event::HookSkipped { hook: event, reason: "cannot be started" });
            self.input(Input::HookDone { ok: false });
            self.input(Input::TreeEmpty);
        }
    }

    /// See whether anything keeps this process from contending.
    pub(super) fn begin_ready_check(&mut self) {
        if self.health.next_deadline(Phase::Preparing).is_none() {
            self.input(Input::Prepared);
        }
    }

    pub(super) fn on_health_due(&mut self, now: Moment) {
        let phase = self.machine.phase();
        let Some(until) = self.health.due(phase, now) else { return };
        let hooks = &self.settings.hooks;
        let ready = phase == Phase::Preparing && !self.health.has_failed();
        let hook = if ready { hooks.ready_check.clone() } else { hooks.check.clone() };
        let kind = if ready { Kind::ReadyCheck } else { Kind::Check };
        let occasion = self.occasion("check", phase != Phase::Preparing);
        let started = hook.map(|hook| self.jobs.start_hook(kind, &hook, &occasion, Some(until)));
        match started {
            Some(Ok(_)) => self.input(Input::JobStarted),
            // What cannot be checked is not well.
            _ => self.on_checked(kind, false),
        }
    }

    pub(super) fn on_checked(&mut self, kind: Kind, ok: bool) {
        let failures = self.health.ended(ok);
        if failures > 0 && self.machine.phase() != Phase::Preparing {
            self.report.tell(&Event::CheckFailed { failures });
        }
        if self.machine.phase() == Phase::Preparing {
            // Who is well again may have to be ready, too.
            if ok && (kind == Kind::ReadyCheck || self.settings.hooks.ready_check.is_none()) {
                self.input(Input::Prepared);
            }
        } else if self.health.has_failed() {
            self.input(Input::CheckFailed);
        }
    }

    /// What others may see.
    pub(super) fn publish(&mut self) {
        let phase = self.machine.phase();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.election = self.election.clone();
        status.child = self.jobs.command();
        status.token = self.token;
        status.contends = phase == Phase::Contending;
        status.connected = self.connected;
    }
}
