//! A fenced resource for each election: leaders write to it, also late, also twice.

use tenure_core::{ElectionName, Token};

use super::{MS, World};
use crate::{
    event::{Act, Event, Write},
    faults::Kind,
    mutant::Mutant,
};

/// What a resource must remember to be safe: the highest token it has seen.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    highest: Token,
}

impl Resource {
    fn accepts(&mut self, token: Token) -> bool {
        let accepted = token >= self.highest;
        self.highest = self.highest.max(token);
        accepted
    }
}

impl World {
    /// The application acts: it checks its leadership, then writes. Between the two, and on the
    /// way, anything may pass.
    pub(crate) fn write(&mut self, at: usize, election: ElectionName, token: Token) {
        if self.processes[at].working.get(&election) != Some(&token) {
            return;
        }
        if self.mutated(Mutant::ResignsWhileWorking)
            && !self.processes[at].holds.contains_key(&election)
        {
            self.processes[at].working.remove(&election);
            return;
        }
        let next = self.setup.ttl_ns() / 4 + self.chance.below(self.setup.ttl_ns() / 4);
        self.plan_act(at, next, Act::Write(election.clone(), token));
        if !self.believes(at, &election) {
            return;
        }
        let process = self.processes[at].incarnation;
        let write = Write { election, token, process };
        let late = self.chance.below(self.faults.late_write_ms * MS);
        if late > 100 * MS {
            self.counts.add(Kind::LateWrite);
        }
        if self.chance.permille(self.faults.twice_written) {
            self.counts.add(Kind::TwiceWritten);
            self.after(
                late + MS + self.chance.clone().below(1000 * MS),
                Event::Write(Box::new(write.clone())),
            );
        }
        self.after(MS + late, Event::Write(Box::new(write)));
    }

    pub(crate) fn write_arrives(&mut self, write: &Write) {
        let Some(resource) = self.resources.get_mut(&write.election) else { return };
        let mut accepted = resource.accepts(write.token);
        if self.mutant == Some(Mutant::GateOpen) {
            accepted = true;
        }
        self.trace.note(&[5, self.now, write.token.get(), u64::from(accepted)]);
        if accepted {
            self.law.fence.accepted(self.now, write);
        } else {
            self.law.fence.refused += 1;
        }
    }
}
