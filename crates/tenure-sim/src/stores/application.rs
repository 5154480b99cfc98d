//! What the applications of the candidates do, and the resource that they write to.

use tenure_core::{ElectionName, Token, Value, candidate::Notice, ledger::Standing};

use super::{
    StoreMutant,
    world::{Act, Event, MS, Mail, World},
};
use crate::{event::Write, faults::Kind};

impl World {
    pub(super) fn begin_application(&mut self, at: usize) {
        for election in self.elections.clone() {
            let wait = self.chance.below(100 * MS);
            self.plan(at, wait, Act::Campaign(election));
        }
    }

    fn plan(&mut self, at: usize, wait: u64, act: Act) {
        let life = self.processes[at].life;
        self.after(wait, Event::Mail { to: at, life, mail: Mail::Act(act) });
    }

    pub(super) fn act(&mut self, at: usize, act: Act) {
        let now = self.moment(at);
        match act {
            Act::Campaign(election) => {
                let process = &mut self.processes[at];
                process.registrar.follow(&election, now);
                let (id, value) = (process.candidate.clone(), Value::default());
                process.contender.campaign(election, id, value, Standing::default(), now);
            }
            Act::Finish(election, token) => self.finish(at, &election, token),
            Act::Write(election, token) => self.write(at, election, token),
        }
    }

    /// The work of a tenure has stopped.
    fn finish(&mut self, at: usize, election: &ElectionName, token: Token) {
        let now = self.moment(at);
        let process = &mut self.processes[at];
        if process.holds.get(election).is_none_or(|(held, _)| *held != token) {
            return;
        }
        let Some((_, leading)) = process.holds.remove(election) else { return };
        process.working.remove(election);
        if leading {
            self.counts.add(Kind::ResignedToStore);
            process.contender.resign(election, None);
        } else {
            process.contender.stopped(election, now);
        }
    }

    pub(super) fn told(&mut self, at: usize, notice: Notice) {
        self.trace.line(self.now, || format!("p{at}: {notice:?}"));
        match notice {
            Notice::Elected { election, token } => self.elected(at, election, token),
            Notice::Waiting { .. } => {}
            Notice::HandoverAsked { election, token } | Notice::Lost { election, token, .. } => {
                if let Some((_, leading)) = self.processes[at].holds.get_mut(&election) {
                    *leading = false;
                }
                let wait = self.chance.below(self.odds.late_stop);
                self.plan(at, wait, Act::Finish(election, token));
            }
            Notice::Left { election } | Notice::Refused { election, .. } => {
                // Some have had enough of this election but go on with the other, under the same
                // session; the first never does, so that somebody is left to lead.
                let quits = at > 0 && self.elections.len() > 1 && !self.calm;
                if quits && self.chance.percent(15) {
                    return self.counts.add(Kind::QuitStore);
                }
                let wait = self.chance.below(self.ttl_ns());
                self.plan(at, wait, Act::Campaign(election));
            }
        }
    }

    fn elected(&mut self, at: usize, election: ElectionName, token: Token) {
        let process = &mut self.processes[at];
        process.holds.insert(election.clone(), (token, true));
        process.working.insert(election.clone(), token);
        let incarnation = process.incarnation;
        if let Some(since) = self.vacated.remove(&election) {
            self.longest_failover = self.longest_failover.max(self.now - since);
        }
        // What a store forgot may be told after what came in its place.
        if !self.is_excused() {
            self.law.tokens.led(self.now, &election, token, incarnation);
        }
        self.plan(at, MS, Act::Write(election.clone(), token));
        if !self.calm && self.chance.permille(self.odds.resigns) {
            let wait = self.chance.below(3 * self.ttl_ns());
            self.plan(at, wait, Act::Finish(election, token));
        }
    }

    /// The application checks its leadership, then writes; between the two anything may pass.
    fn write(&mut self, at: usize, election: ElectionName, token: Token) {
        if self.processes[at].working.get(&election) != Some(&token) {
            return;
        }
        let next = self.ttl_ns() / 4 + self.chance.below(self.ttl_ns() / 4);
        self.plan(at, next, Act::Write(election.clone(), token));
        if self.believes(at, &election) {
            let late = MS + self.chance.below(self.odds.late_write);
            let process = self.processes[at].incarnation;
            self.after(late, Event::Write(Write { election, token, process }));
        }
    }

    pub(super) fn write_arrives(&mut self, write: &Write) {
        let highest = self.resources.entry(write.election.clone()).or_default();
        let accepted = write.token >= *highest || self.mutant == Some(StoreMutant::GateOpen);
        *highest = (*highest).max(write.token);
        self.trace.note(&[3, self.now, write.token.get(), u64::from(accepted)]);
        match accepted {
            true => self.law.fence.accepted(self.now, write),
            false => self.law.fence.refused += 1,
        }
    }
}
