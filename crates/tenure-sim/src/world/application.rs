//! What the applications of the candidates do, and when they do it late.

use tenure_core::{
    ElectionName, Token, Value,
    candidate::{Notice, Phase},
    ledger::{EndReason, Standing},
};

use super::{
    MS, World,
    process::{Hold, Role, candidate},
};
use crate::{
    event::{Act, Question},
    faults::Kind,
    mutant::Mutant,
};

impl World {
    pub(crate) fn begin_application(&mut self, at: usize) {
        match self.processes[at].role {
            Role::Candidate => {
                for election in self.setup.elections.clone() {
                    let wait = self.chance.below(200 * MS);
                    self.plan_act(at, wait, Act::Campaign(election));
                }
            }
            Role::Observer => {
                for election in self.setup.elections.clone() {
                    self.follow_line(at, election);
                }
                self.plan_act(at, 300 * MS, Act::Confirm);
            }
            Role::Operator => {}
        }
    }

    pub(crate) fn act(&mut self, at: usize, act: Act) {
        let now = self.moment(at);
        match act {
            Act::Campaign(election) if !self.processes[at].closing => {
                self.follow_line(at, election.clone());
                let process = &mut self.processes[at];
                let (id, value) = (process.candidate.clone(), Value::default());
                process.contender.campaign(election, id, value, Standing::default(), now);
            }
            Act::Campaign(_) => {}
            Act::Finish(election, token, to) => self.finish(at, &election, token, to),
            Act::Withdraw(election) => {
                if self.processes[at].contender.phase(&election) == Phase::Waiting {
                    self.counts.add(Kind::Withdrew);
                    self.processes[at].contender.resign(&election, None);
                }
            }
            Act::Write(election, token) => self.write(at, election, token),
            Act::Close => self.close_application(at),
            Act::SetTtl(range) => self.set_ttl(at, range),
            Act::Confirm => {
                self.line_say(at, Question::Confirm);
                let wait = 100 * MS + self.chance.below(500 * MS);
                self.plan_act(at, wait, Act::Confirm);
            }
        }
    }

    /// The work of a tenure has stopped.
    fn finish(
        &mut self,
        at: usize,
        election: &ElectionName,
        token: Token,
        to: Option<tenure_core::CandidateId>,
    ) {
        let now = self.moment(at);
        let early = self.mutated(Mutant::ResignsWhileWorking);
        let process = &mut self.processes[at];
        if process.holds.get(election).is_none_or(|(held, _)| *held != token) {
            return;
        }
        let Some((_, hold)) = process.holds.remove(election) else { return };
        if !early {
            process.working.remove(election);
        }
        match hold {
            Hold::Leading => {
                self.counts.add(if to.is_some() { Kind::Transferred } else { Kind::Resigned });
                process.contender.resign(election, to);
            }
            Hold::Stopping => process.contender.stopped(election, now),
        }
        if early {
            self.plan_act(at, 100 * MS, Act::Write(election.clone(), token));
        }
    }

    fn close_application(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if process.closing {
            return;
        }
        // Everything stops, then the farewell.
        process.holds.clear();
        process.working.clear();
        process.closing = true;
        process.contender.close();
        self.trace.line(self.now, || format!("p{at} says farewell"));
    }

    pub(crate) fn told(&mut self, at: usize, notice: Notice) {
        self.trace.line(self.now, || format!("p{at}: {notice:?}"));
        match notice {
            Notice::Elected { election, token } => self.elected(at, election, token),
            Notice::Waiting { election, .. } => {
                if self.chance.permille(self.faults.withdraws) {
                    let wait = self.chance.below(2 * self.setup.ttl_ns());
                    self.plan_act(at, wait, Act::Withdraw(election));
                }
            }
            Notice::HandoverAsked { election, token } | Notice::Lost { election, token, .. } => {
                if let Some((_, hold)) = self.processes[at].holds.get_mut(&election) {
                    *hold = Hold::Stopping;
                }
                let wait = self.chance.below(self.faults.late_stop_ms * MS);
                if wait > 100 * MS {
                    self.counts.add(Kind::LateStop);
                }
                self.plan_act(at, wait, Act::Finish(election, token, None));
            }
            Notice::Left { election } | Notice::Refused { election, .. } => {
                self.processes[at].line.followed.remove(&election);
                let wait = self.chance.below(self.setup.ttl_ns());
                self.plan_act(at, wait, Act::Campaign(election));
            }
        }
    }

    fn elected(&mut self, at: usize, election: ElectionName, token: Token) {
        let process = &mut self.processes[at];
        process.holds.insert(election.clone(), (token, Hold::Leading));
        process.working.insert(election.clone(), token);
        let incarnation = process.incarnation;
        if let Some(since) = self.vacated.remove(&election) {
            self.longest_failover = self.longest_failover.max(self.now - since);
        }
        self.law.tokens.led(self.now, &election, token, incarnation);
        self.plan_act(at, self.chance.clone().below(50 * MS), Act::Write(election.clone(), token));
        if !self.calm && self.chance.permille(self.faults.resigns) {
            let to = self.chance.percent(50);
            let to = to.then(|| candidate(self.chance.index(self.setup.candidates)));
            let wait = self.chance.below(3 * self.setup.ttl_ns());
            self.plan_act(at, wait, Act::Finish(election, token, to));
        }
    }

    /// A tenure has ended in the ledger: nobody may believe in it, and what its holder said
    /// about its work must be true.
    pub(crate) fn check_ended(&mut self, election: &ElectionName, token: Token, reason: EndReason) {
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            if process.holds.get(election).is_some_and(|(held, _)| *held == token)
                && self.believes(at, election)
            {
                self.law.respected.broken(self.now, at, election, token, reason);
            }
            let own_word =
                matches!(reason, EndReason::Resigned | EndReason::Transferred | EndReason::Closed);
            if own_word && process.up && process.working.get(election) == Some(&token) {
                self.law.stopped.broken(self.now, at, election, token, reason);
            }
        }
    }
}
