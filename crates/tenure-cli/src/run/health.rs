//! When a check is due, and when it has failed too often.

use std::time::Duration;

use tenure_core::Moment;

use super::{machine::Phase, settings::Settings};

/// The state of the checks.
#[derive(Debug)]
pub(crate) struct Health {
    checks_leader: bool,
    checks_candidate: bool,
    interval: Duration,
    most: u32,
    failures: u32,
    next: Moment,
    running: bool,
}

impl Health {
    pub(crate) fn new(settings: &Settings) -> Self {
        let health = &settings.options.health;
        Self {
            checks_leader: settings.hooks.check.is_some(),
            checks_candidate: settings.hooks.ready_check.is_some(),
            interval: health.check_interval,
            most: health.check_fail,
            failures: 0,
            next: Moment::default(),
            running: false,
        }
    }

    fn applies(&self, phase: Phase) -> bool {
        match phase {
            Phase::Running | Phase::Holding => self.checks_leader,
            // Who failed as a leader must be well before it contends again.
            Phase::Preparing => self.checks_candidate || self.has_failed(),
            _ => false,
        }
    }

    /// Whether the leader was found ill.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures >= self.most
    }

    /// When the next check is due.
    pub(crate) fn next_deadline(&self, phase: Phase) -> Option<Moment> {
        (!self.running && self.applies(phase)).then_some(self.next)
    }

    /// Whether a check is to start now; gives when it must have ended.
    pub(crate) fn due(&mut self, phase: Phase, now: Moment) -> Option<Moment> {
        self.next_deadline(phase).filter(|next| *next <= now)?;
        self.running = true;
        self.next = now + self.interval;
        Some(now + self.interval)
    }

    /// The command has begun: it has one interval to get ready.
    pub(crate) fn command_started(&mut self, now: Moment) {
        (self.failures, self.next) = (0, now + self.interval);
    }

    /// A check has ended; gives how often it has failed in a row.
    pub(crate) fn ended(&mut self, ok: bool) -> u32 {
        self.running = false;
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn health(checks_candidate: bool) -> Health {
        let interval = Duration::from_millis(10);
        let (failures, next) = (0, at(0));
        let checks_leader = true;
        Health {
            checks_leader,
            checks_candidate,
            interval,
            most: 2,
            failures,
            next,
            running: false,
        }
    }

    #[test]
    fn so_many_failures_in_a_row_are_one_too_many() {
        let mut health = health(false);
        health.command_started(at(0));
        assert_eq!(health.due(Phase::Running, at(9)), None);
        assert_eq!(health.due(Phase::Running, at(10)), Some(at(20)));
        assert_eq!(health.due(Phase::Running, at(30)), None, "one at a time");
        assert_eq!((health.ended(false), health.has_failed()), (1, false));
        assert!(health.due(Phase::Running, at(30)).is_some());
        assert_eq!((health.ended(true), health.has_failed()), (0, false));
        for failures in 1..=2 {
            assert!(health.due(Phase::Running, at(30 + failures * 10)).is_some());
            assert_eq!(u64::from(health.ended(false)), failures);
        }
        assert!(health.has_failed());
        // It must be well again before it contends.
        assert!(health.next_deadline(Phase::Preparing).is_some());
        assert_eq!(health.next_deadline(Phase::Contending), None);
        health.ended(true);
        assert_eq!(health.next_deadline(Phase::Preparing), None);
    }

    #[test]
    fn a_candidate_is_checked_only_if_asked_for() {
        assert_eq!(health(false).next_deadline(Phase::Preparing), None);
        assert_eq!(health(true).next_deadline(Phase::Preparing), Some(at(0)));
    }
}
