//! Leases that change their length while they are held, in some of the runs.
//!
//! What is drawn for it comes from a stream of its own, so that the other runs stay what they
//! were. No lease is longer than the one that the run was set up with: the bounds on the time
//! until everybody is served rest on that.

use core::time::Duration;
use tenure_core::{
    RequestId, SessionId,
    ledger::{Command, Outcome},
    timing::{Ttl, adaptive::TtlRange},
};
use tenure_replica::Wish;

use super::World;
use crate::{
    chance::Chance,
    event::{Act, Event},
    faults::Kind,
    mutant::Mutant,
};

/// Apart from every other stream of the same seed.
const STREAM: u64 = 0x7e71_3e00_0000_0000;
/// Share of the runs in which leases change, in percent.
const SHARE: u32 = 40;
/// Requests that no contender made are numbered from here.
const EARLY: u64 = 1 << 40;

/// What a shell with a bug asks for before its turn, and what it has to number anew for that.
#[derive(Debug, Default)]
pub(crate) struct Early {
    asked: u32,
    last: u32,
}

impl Early {
    /// The contender's own requests come after those.
    pub(crate) fn after_all(&mut self, command: Command) -> Command {
        match command {
            Command::Retime { session, ttl, number } => {
                self.last = number + self.asked;
                Command::Retime { session, ttl, number: self.last }
            }
            Command::OpenSession { .. } => {
                *self = Self::default();
                command
            }
            _ => command,
        }
    }
}

impl World {
    pub(crate) fn begin_retiming(&mut self, seed: u64) {
        let mut chance = Chance::new(seed ^ STREAM);
        if chance.percent(SHARE) {
            self.retimer = Some(chance);
            self.after(self.setup.ttl_ns(), Event::Retime);
        }
    }

    /// Everybody goes back to the lease that the run was set up with.
    pub(crate) fn stop_retiming(&mut self) {
        if self.retimer.take().is_some() {
            for at in 0..self.processes.len() {
                self.plan_act(at, 0, Act::SetTtl(self.setup.ttl.into()));
            }
        }
    }

    pub(crate) fn retime(&mut self) {
        let Some(chance) = &mut self.retimer else { return };
        let longest = u64::from(self.setup.ttl);
        let length = |share: u64| Ttl::try_from((longest / share).max(30)).expect("in range");
        let longer = length(chance.pick(&[1, 1, 2]));
        let shorter = length(chance.pick(&[1, 2, 3, 4]));
        let range = match chance.percent(30) {
            true => TtlRange::new(shorter.min(longer), longer).expect("in order"),
            false => TtlRange::from(shorter),
        };
        let at = chance.index(self.setup.candidates);
        let wait = chance.below(self.setup.ttl_ns() * 3 / 2);
        self.plan_act(at, 0, Act::SetTtl(range));
        self.after(wait, Event::Retime);
    }

    pub(crate) fn set_ttl(&mut self, at: usize, range: TtlRange) {
        self.counts.add(Kind::Retimed);
        self.processes[at].contender.set_ttl(range);
        let contender = &self.processes[at].contender;
        if let Some((session, _)) = contender.validity()
            && range.longest() < contender.ttl()
            && self.mutated(Mutant::ShortenedAtQuorumFirst)
        {
            self.shorten_early(at, session, range.longest());
        }
    }

    /// The bug: the quorum is asked for a shorter lease while the longer one is believed in.
    fn shorten_early(&mut self, at: usize, session: SessionId, ttl: Ttl) {
        let process = &mut self.processes[at];
        process.early.asked += 1;
        process.early.last += 1;
        process.requests += 1;
        let number = process.early.last;
        let request = RequestId { process: session.process, number: EARLY + process.requests };
        let command = Command::Retime { session, ttl, number };
        self.line_ask(at, request, Wish::Command(command));
    }

    /// The bug: a longer lease is counted with at once, and the quorum is asked for it after the
    /// time given back.
    pub(crate) fn believed_early(
        &mut self,
        at: usize,
        request: RequestId,
        command: &Command,
    ) -> Duration {
        let Command::Retime { ttl, .. } = command else { return Duration::ZERO };
        let longer = *ttl > self.processes[at].contender.ttl();
        if !longer || !self.mutated(Mutant::LengthenedAtHolderFirst) {
            return Duration::ZERO;
        }
        let now = self.moment(at);
        self.processes[at].contender.answered(request, &Outcome::Done, now);
        2 * self.setup.ttl.get()
    }
}
