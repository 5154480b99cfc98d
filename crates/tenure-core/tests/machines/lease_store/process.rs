//! One process: its contender, its registrar, its application.

use std::collections::BTreeMap;

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, SessionId, Token, Value,
    backend::{Change, Effect, News, Registrar, Report, Step, StoreError},
    candidate::{Action, Contender, Notice, Phase},
    ledger::Standing,
    timing::{Drift, Ttl},
};

use super::{super::closed_loop::clock::Clock, Bug};

/// What leaves a process.
#[derive(Debug)]
pub(super) enum Out {
    Step(u64, Step),
    Told(Notice),
}

pub(super) struct Process {
    pub(super) contender: Contender,
    pub(super) registrar: Registrar,
    pub(super) clock: Clock,
    pub(super) life: u64,
    pub(super) paused_until: u64,
    pub(super) wakes_at: u64,
    pub(super) working: BTreeMap<ElectionName, Token>,
    candidate: CandidateId,
    renewals: BTreeMap<u64, (SessionId, u64)>,
    bug: Option<Bug>,
}

impl Process {
    pub(super) fn start(at: u64, life: u64, clock: Clock, ttl: Ttl, bug: Option<Bug>) -> Self {
        let drift = Drift::default();
        let drift = if bug == Some(Bug::OneDrift) { drift } else { drift.of_both_sides() };
        let incarnation = Incarnation::from_random((at + 10) << 32 | life);
        Self {
            contender: Contender::new(incarnation, ttl, drift),
            registrar: Registrar::new(ttl),
            clock,
            life,
            paused_until: 0,
            wakes_at: u64::MAX,
            working: BTreeMap::new(),
            candidate: CandidateId::new(format!("p{at}")).expect("a name"),
            renewals: BTreeMap::new(),
            bug,
        }
    }

    /// Whether it may act as the leader, as far as it knows.
    pub(super) fn believes(&self, election: &ElectionName, now: u64) -> bool {
        let until = self.contender.validity().map_or(Moment::default(), |(_, until)| until);
        self.contender.phase(election) == Phase::Leading && self.clock.at(now) < until
    }

    pub(super) fn campaign(&mut self, election: &ElectionName, now: u64) {
        let moment = self.clock.at(now);
        self.registrar.follow(election, moment);
        let (candidate, value) = (self.candidate.clone(), Value::default());
        let standing = Standing::default();
        self.contender.campaign(election.clone(), candidate, value, standing, moment);
    }

    pub(super) fn stopped(&mut self, election: &ElectionName, now: u64) {
        self.working.remove(election);
        self.contender.stopped(election, self.clock.at(now));
    }

    pub(super) fn resign(&mut self, election: &ElectionName, to: Option<CandidateId>) {
        self.working.remove(election);
        self.contender.resign(election, to);
    }

    pub(super) fn hint(&mut self, change: Change, now: u64) {
        self.registrar.changed(change, self.clock.at(now));
    }

    pub(super) fn done(&mut self, number: u64, result: Result<Report, StoreError>, now: u64) {
        let moment = self.clock.at(now);
        let renewal = self.renewals.remove(&number);
        if let Some((session, renewal)) = renewal {
            let consent = self.bug == Some(Bug::SilenceIsConsent) && result.is_err();
            let unnamed = self.bug == Some(Bug::UnnamedRenewed) && result.is_ok();
            if consent || unnamed {
                self.contender.renewed(session, renewal, moment);
            }
        }
        self.registrar.done(number, result, moment);
    }

    /// Lets both machines run until they rest; gives what leaves the process.
    pub(super) fn run(&mut self, now: u64) -> Vec<Out> {
        let moment = self.clock.at(now);
        let mut out = Vec::new();
        self.contender.tick(moment);
        self.registrar.tick(moment);
        loop {
            if let Some(action) = self.contender.poll() {
                match action {
                    Action::Ask { request, command } => {
                        self.registrar.ask(request, command, moment);
                    }
                    Action::Renew { session, renewal } => self.renew(session, renewal, &mut out),
                    Action::Tell(notice) => out.push(Out::Told(notice)),
                }
            } else if let Some(effect) = self.registrar.poll() {
                self.effect(effect, moment, &mut out);
            } else {
                return out;
            }
        }
    }

    fn renew(&mut self, session: SessionId, renewal: u64, out: &mut Vec<Out>) {
        // What is waiting comes first, so that the next step is the renewal.
        let moment = Moment::default();
        while let Some(effect) = self.registrar.poll() {
            self.effect(effect, moment, out);
        }
        self.registrar.renew(session, renewal);
        if let Some(effect) = self.registrar.poll() {
            if let Effect::Run { number, .. } = &effect {
                self.renewals.insert(*number, (session, renewal));
            }
            self.effect(effect, moment, out);
        }
    }

    fn effect(&mut self, effect: Effect, moment: Moment, out: &mut Vec<Out>) {
        match effect {
            Effect::Run { number, step } => out.push(Out::Step(number, step)),
            Effect::Follow(_) | Effect::Unfollow(_) => {}
            Effect::Say(News::Outcome(request, outcome)) => {
                self.contender.answered(request, &outcome, moment);
            }
            Effect::Say(News::Renewed(session, renewal)) => {
                self.contender.renewed(session, renewal, moment);
            }
            Effect::Say(News::Gone(session)) => self.contender.session_gone(session, moment),
            Effect::Say(News::Seen(word)) => {
                if let Some(seen) = &word.seen {
                    self.contender.seen(&word.election, seen, moment);
                }
            }
        }
    }
}
