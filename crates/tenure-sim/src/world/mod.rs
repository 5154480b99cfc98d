//! The world: true time, hosts, networks, disks, processes, and whoever makes trouble.

mod application;
pub(crate) mod disk;
mod heal;
mod line;
pub(crate) mod net;
mod node;
mod operator;
mod output;
mod partition;
mod peers;
mod process;
mod resource;
mod retime;
mod serve;
mod setup;
mod shape;
mod trouble;

use std::collections::BTreeMap;

use tenure_core::ElectionName;

use crate::{
    chance::Chance,
    event::{Event, Happening, Schedule, Who},
    faults::{Counts, Faults},
    invariants::{Law, Violation},
    mutant::Mutant,
    trace::Trace,
};
use net::Net;
pub(crate) use node::Node;
use process::{Process, Role};
use resource::Resource;
pub(crate) use setup::{Setup, node_name};

pub(crate) const MS: u64 = 1_000_000;
/// A run has some ten thousand events; one with more than this goes in circles.
const MOST_EVENTS: u64 = 2_000_000;

/// One cluster with everything around it.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) now: u64,
    queue: Schedule<Event>,
    pub(crate) setup: Setup,
    pub(crate) faults: Faults,
    pub(crate) counts: Counts,
    /// The faults have stopped.
    pub(crate) calm: bool,
    /// Draws how leases change, in the runs in which they do.
    retimer: Option<Chance>,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) processes: Vec<Process>,
    resources: BTreeMap<ElectionName, Resource>,
    pub(crate) law: Law,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) trace: Trace,
    incarnations: u64,
    cuts: u64,
    /// When the holder of an election died.
    vacated: BTreeMap<ElectionName, u64>,
    pub(crate) longest_failover: u64,
}

impl World {
    pub(crate) fn life(&self, who: Who) -> u32 {
        match who {
            Who::Node(at) => self.nodes[at].life,
            Who::Process(at) => self.processes[at].life,
        }
    }

    pub(crate) fn host(&self, who: Who) -> usize {
        match who {
            Who::Node(at) => self.nodes[at].host,
            Who::Process(at) => self.processes[at].host,
        }
    }

    pub(crate) fn is_paused(&self, who: Who) -> bool {
        let until = match who {
            Who::Node(at) => self.nodes[at].paused_until,
            Who::Process(at) => self.processes[at].paused_until,
        };
        until.max(self.net.hosts[self.host(who)].suspended_until) > self.now
    }

    pub(crate) fn is_up(&self, who: Who) -> bool {
        match who {
            Who::Node(at) => self.nodes[at].replica.is_some(),
            Who::Process(at) => self.processes[at].up,
        }
    }

    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.queue.plan(self.now + wait, event);
    }

    /// Runs until a true time, or until a promise is broken.
    pub(crate) fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some((at, event)) = self.queue.next(end) {
            self.now = at;
            self.trace.count();
            self.dispatch(event);
            if self.trace.events() > MOST_EVENTS {
                self.law.stops.broken(at, format!("no end after {MOST_EVENTS} events"));
            }
            if let Some(violation) = self.law.broken() {
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Arrive { conn, side } => self.arrive(conn, side),
            Event::At { who, life, what } => self.happen(who, life, *what),
            Event::Wake { who, life } => self.wake(who, life),
            Event::Flushed { node, life } => self.flushed(node, life),
            Event::Resume { who, life } => self.resume(who, life),
            Event::Write(write) => self.write_arrives(&write),
            Event::Mend(cut) => self.mend(cut),
            Event::Severed { cut, nodes } => self.severed(cut, nodes),
            Event::Flap(cut) => self.flap(cut),
            Event::Start(who) => self.start(who),
            Event::FastDisk(node) => self.nodes[node].disk.slow = false,
            Event::Release(conn) => self.release(conn),
            Event::Audit => self.audit(),
            Event::Trouble => self.trouble(),
            Event::Retime => self.retime(),
        }
    }

    /// Something happens at somebody: now, or when it goes on.
    pub(crate) fn happen(&mut self, who: Who, life: u32, what: Happening) {
        if self.life(who) != life || !self.is_up(who) {
            return;
        }
        if self.is_paused(who) {
            match who {
                Who::Node(at) => self.nodes[at].inbox.push_back(what),
                Who::Process(at) => self.processes[at].inbox.push_back(what),
            }
            return;
        }
        match who {
            Who::Node(at) => {
                self.at_node(at, what);
                self.node_follow(at);
            }
            Who::Process(at) => {
                self.at_process(at, what);
                self.process_follow(at);
            }
        }
    }

    /// A pause may be over: what came meanwhile is read in bursts.
    fn resume(&mut self, who: Who, life: u32) {
        if self.life(who) != life || !self.is_up(who) || self.is_paused(who) {
            return;
        }
        self.trace.line(self.now, || format!("{who:?} goes on"));
        // Whether a timer or the mail comes first is left to chance.
        let timer_first = self.chance.percent(50);
        match who {
            Who::Node(at) => {
                let mut inbox = std::mem::take(&mut self.nodes[at].inbox);
                if timer_first {
                    self.node_tick(at);
                    self.node_follow(at);
                }
                while !inbox.is_empty() && self.life(who) == life && self.is_up(who) {
                    for what in inbox.drain(..inbox.len().min(64)) {
                        self.at_node(at, what);
                    }
                    self.node_follow(at);
                }
                self.node_tick(at);
                self.node_follow(at);
            }
            Who::Process(at) => {
                let inbox = std::mem::take(&mut self.processes[at].inbox);
                if timer_first {
                    self.process_follow(at);
                }
                for what in inbox {
                    if self.life(who) == life && self.is_up(who) {
                        self.at_process(at, what);
                        self.process_follow(at);
                    }
                }
                self.process_follow(at);
            }
        }
    }

    fn wake(&mut self, who: Who, life: u32) {
        if self.life(who) != life || !self.is_up(who) {
            return;
        }
        let wakes_at = match who {
            Who::Node(at) => &mut self.nodes[at].wakes_at,
            Who::Process(at) => &mut self.processes[at].wakes_at,
        };
        if *wakes_at != self.now {
            return;
        }
        *wakes_at = u64::MAX;
        if self.is_paused(who) {
            return;
        }
        match who {
            Who::Node(at) => {
                self.node_tick(at);
                self.node_follow(at);
            }
            Who::Process(at) => self.process_follow(at),
        }
    }

    /// Somebody wants to be woken at a true time; perhaps it rings a little late.
    pub(crate) fn alarm(&mut self, who: Who, due: u64) {
        let mut due = due.max(self.now + 1);
        let wakes_at = match who {
            Who::Node(at) => self.nodes[at].wakes_at,
            Who::Process(at) => self.processes[at].wakes_at,
        };
        if due >= wakes_at {
            return;
        }
        if self.chance.permille(self.faults.late_timers) {
            self.counts.add(crate::faults::Kind::LateTimer);
            due += self.chance.below(200 * MS);
        }
        match who {
            Who::Node(at) => self.nodes[at].wakes_at = due,
            Who::Process(at) => self.processes[at].wakes_at = due,
        }
        let life = self.life(who);
        self.queue.plan(due, Event::Wake { who, life });
    }

    fn start(&mut self, who: Who) {
        if self.is_up(who) {
            return;
        }
        let host = self.host(who);
        if self.net.hosts[host].down {
            self.net.hosts[host].down = false;
            self.unstall();
        }
        match who {
            Who::Node(at) => self.start_node(at),
            Who::Process(at) => self.start_process(at),
        }
    }

    pub(crate) fn new_incarnation(&mut self) -> tenure_core::Incarnation {
        self.incarnations += 1;
        tenure_core::Incarnation::from_random(self.incarnations << 32)
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = usize> {
        (0..self.processes.len()).filter(|at| self.processes[*at].role == Role::Candidate)
    }
}
