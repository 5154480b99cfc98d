//! What the time asks for.

use std::time::Duration;

use tenure_core::Moment;

use super::{Effect, Machine, Phase, Why};

/// A hard kill is repeated this often: a fork may have slipped through the last one.
const KILL_AGAIN: Duration = Duration::from_millis(10);

impl Machine {
    /// When [`Input::Tick`] must come at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let risk = self.deadline.filter(|_| self.leads()).map(|at| self.rules.budget.soft_at(at));
        let own = match self.phase {
            Phase::Promoting { until } | Phase::Delaying { until } | Phase::Resting { until } => {
                Some(until)
            }
            Phase::Preparing | Phase::Contending => self.rules.wait.map(|wait| self.began + wait),
            Phase::Stopping { .. } | Phase::Demoting { .. } => Some(self.kill_due()),
            _ => None,
        };
        risk.into_iter().chain(own).min()
    }

    /// Until when something may act in the name of this leader, while something does.
    pub(crate) fn armed(&self) -> Option<Moment> {
        self.deadline.filter(|_| self.tree)
    }

    pub(super) fn kill_due(&self) -> Moment {
        self.struck.map_or_else(|| self.kill_at(), |at| at + KILL_AGAIN)
    }

    pub(super) fn kill_at(&self) -> Moment {
        let asked = match self.phase {
            Phase::Stopping { asked } => Some(asked + self.rules.budget.stop_timeout),
            Phase::Demoting { until } => Some(until),
            _ => None,
        };
        let lease = self.deadline.map(|at| self.rules.budget.kill_at(at));
        asked.into_iter().chain(lease).min().unwrap_or_default()
    }

    /// What the time asks for.
    ///
    /// The alarm waits for a tick: news of the death may have come together with other news.
    pub(super) fn advance(&mut self, now: Moment, is_tick: bool) {
        let at_risk = self.deadline.is_some_and(|at| now >= self.rules.budget.soft_at(at));
        if self.leads() && at_risk {
            return self.stop(Why::AtRisk, now);
        }
        match self.phase {
            Phase::Preparing | Phase::Contending
                if self.rules.wait.is_some_and(|wait| now >= self.began + wait) =>
            {
                self.stop(Why::TimedOut, now);
            }
            Phase::Promoting { until } if now >= until => self.stop(Why::PromoteFailed, now),
            Phase::Delaying { until } | Phase::Resting { until } if now >= until => self.start(now),
            Phase::Stopping { .. } | Phase::Demoting { .. } if self.tree => {
                if now >= self.kill_due() {
                    self.kill(now);
                }
                if is_tick && !self.alarmed && self.deadline.is_some_and(|at| now >= at) {
                    self.alarmed = true;
                    self.act(Effect::Alarm);
                }
            }
            _ => {}
        }
    }
}
