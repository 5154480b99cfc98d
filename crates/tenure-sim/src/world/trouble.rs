//! Whoever makes trouble: draws a kind of fault from time to time and applies it.

use super::{MS, World, net::Close};
use crate::{
    event::{Act, Event, Happening, Who},
    faults::Kind,
};

impl World {
    pub(crate) fn trouble(&mut self) {
        if self.calm {
            return;
        }
        let every = self.faults.trouble_every_ms * MS;
        let wait = every / 4 + self.chance.below(every * 3 / 2);
        self.after(wait, Event::Trouble);
        let faults = self.faults.clone();
        if let Some(kind) = faults.pick(&mut self.chance) {
            self.apply(kind);
        }
    }

    fn apply(&mut self, kind: Kind) {
        match kind {
            Kind::HalfOpen | Kind::Reset => self.break_connection(kind),
            Kind::NodeKilled | Kind::DiskError | Kind::DiskFull => self.kill_node(kind),
            Kind::PowerLost => self.lose_power(),
            Kind::SlowDisk => self.slow_disk(),
            Kind::DiskLost => {
                let at = self.chance.index(self.nodes.len());
                self.lose_disk(at);
            }
            Kind::NodePaused => self.pause_node(),
            Kind::Suspended => self.suspend(),
            Kind::Rate | Kind::BadRate => self.change_rate(kind),
            Kind::WallJump => {
                self.counts.add(kind);
                let host = self.chance.index(self.net.hosts.len());
                let seconds = self.chance.pick(&[-3600, -5, 1, 5, 3600]);
                self.net.hosts[host].clock.jump_wall(seconds * 1_000_000);
            }
            Kind::ProcessKilled | Kind::ProcessPaused | Kind::ProcessClosed => {
                self.hit_process(kind);
            }
            Kind::MemberAdded => self.add_member(),
            Kind::MemberRemoved => self.remove_member(),
            Kind::Reserved
            | Kind::Unreserved
            | Kind::Evicted
            | Kind::Banned
            | Kind::EvictedUnseen
            | Kind::ElectionPaused
            | Kind::ElectionResumed
            | Kind::QuorumMoved => self.operate(kind),
            _ => self.partition(kind),
        }
    }

    fn break_connection(&mut self, kind: Kind) {
        let conns: Vec<u64> = self.net.conns.keys().copied().collect();
        if conns.is_empty() {
            return;
        }
        let conn = conns[self.chance.index(conns.len())];
        let side = self.chance.index(2);
        let Some(end) = self.net.conns.get(&conn).map(|conn| &conn.ends[side]) else { return };
        if !end.open {
            return;
        }
        let (who, life) = (end.who, end.life);
        self.counts.add(kind);
        let how = match kind {
            Kind::HalfOpen => Close::Silent,
            _ if self.chance.percent(50) => Close::Reset,
            _ => Close::Finish,
        };
        self.trace.line(self.now, || format!("{who:?} gives a connection up ({how:?})"));
        self.close(who, conn, how);
        self.happen(who, life, Happening::Down { conn });
    }

    /// A node, the leader of the quorum more often than others.
    fn pick_node(&mut self) -> usize {
        let leader = self.nodes.iter().position(|node| node.replica.is_some() && node.leads);
        match leader {
            Some(leader) if self.chance.percent(40) => leader,
            _ => self.chance.index(self.nodes.len()),
        }
    }

    fn comes_back(&mut self, who: Who) {
        let longest = self.chance.pick(&[20, 500, 5000]) * MS;
        let wait = 5 * MS + self.chance.below(longest);
        self.after(wait, Event::Start(who));
    }

    fn kill_node(&mut self, kind: Kind) {
        let at = self.pick_node();
        if self.nodes[at].replica.is_none() {
            return;
        }
        self.counts.add(kind);
        if kind == Kind::NodeKilled && self.chance.percent(25) {
            self.trace.line(self.now, || format!("n{} is asked to end", at + 1));
            let life = self.nodes[at].life;
            return self.happen(Who::Node(at), life, Happening::Act(Act::Close));
        }
        self.node_dies(at, false);
        if kind == Kind::DiskFull {
            // Somebody has to make room first.
            let wait = 1000 * MS + self.chance.below(5000 * MS);
            return self.after(wait, Event::Start(Who::Node(at)));
        }
        self.comes_back(Who::Node(at));
    }

    /// A node that was asked to end has nothing to hand over any more.
    pub(crate) fn node_ends(&mut self, at: usize) {
        self.node_dies(at, false);
        self.comes_back(Who::Node(at));
    }

    fn lose_power(&mut self) {
        let at = self.pick_node();
        let host = self.nodes[at].host;
        if self.net.hosts[host].down {
            return;
        }
        self.counts.add(Kind::PowerLost);
        for who in self.living_on(host) {
            match who {
                Who::Node(at) => self.node_dies(at, true),
                Who::Process(at) => self.process_dies(at, true),
            }
            self.comes_back(who);
        }
        self.net.hosts[host].down = true;
    }

    pub(crate) fn living_on(&self, host: usize) -> Vec<Who> {
        let nodes = (0..self.nodes.len()).map(Who::Node);
        let all = nodes.chain((0..self.processes.len()).map(Who::Process));
        all.filter(|who| self.host(*who) == host && self.is_up(*who)).collect()
    }

    fn slow_disk(&mut self) {
        let at = self.pick_node();
        self.counts.add(Kind::SlowDisk);
        self.nodes[at].disk.slow = true;
        let wait = self.chance.below(5000 * MS);
        self.after(wait, Event::FastDisk(at));
    }

    /// Often longer than any lease.
    fn pause_length(&mut self) -> u64 {
        let longest = self.chance.pick(&[100 * MS, self.setup.ttl_ns(), 3 * self.setup.ttl_ns()]);
        MS + self.chance.below(longest)
    }

    fn pause_node(&mut self) {
        let at = self.pick_node();
        if self.nodes[at].replica.is_none() {
            return;
        }
        self.counts.add(Kind::NodePaused);
        let length = self.pause_length();
        self.nodes[at].paused_until = self.now + length;
        self.trace.line(self.now, || format!("n{} is paused for {} ms", at + 1, length / MS));
        let life = self.nodes[at].life;
        self.after(length, Event::Resume { who: Who::Node(at), life });
    }

    fn suspend(&mut self) {
        let host = self.chance.index(self.net.hosts.len());
        if self.net.hosts[host].suspended_until > self.now {
            return;
        }
        self.counts.add(Kind::Suspended);
        let length = self.pause_length();
        self.net.hosts[host].suspended_until = self.now + length;
        self.net.hosts[host].slept += length;
        self.trace.line(self.now, || format!("host {host} is suspended for {} ms", length / MS));
        for who in self.living_on(host) {
            let life = self.life(who);
            self.after(length, Event::Resume { who, life });
        }
    }

    fn change_rate(&mut self, kind: Kind) {
        let host = self.chance.index(self.net.hosts.len());
        self.counts.add(kind);
        let ppm = match kind {
            Kind::BadRate => self.chance.pick(&[-500_000, 400_000, 2_000_000]),
            _ => self.drawn_rate(),
        };
        self.set_rate(host, ppm);
    }

    /// Who lives there wakes earlier or later by true time.
    pub(crate) fn set_rate(&mut self, host: usize, ppm: i64) {
        let now = self.now;
        self.net.hosts[host].clock.set_rate(now, ppm);
        self.trace.line(now, || format!("the clock of host {host} runs at {ppm} ppm"));
        for who in self.living_on(host) {
            match who {
                Who::Node(at) => self.nodes[at].wakes_at = u64::MAX,
                Who::Process(at) => self.processes[at].wakes_at = u64::MAX,
            }
            self.alarm(who, now + 1);
        }
    }

    fn hit_process(&mut self, kind: Kind) {
        let candidates: Vec<usize> =
            self.candidates().filter(|at| self.processes[*at].up).collect();
        if candidates.is_empty() {
            return;
        }
        let leads: Vec<usize> =
            candidates.iter().copied().filter(|at| !self.processes[*at].holds.is_empty()).collect();
        let from = if !leads.is_empty() && self.chance.percent(50) { leads } else { candidates };
        let at = from[self.chance.index(from.len())];
        self.counts.add(kind);
        match kind {
            Kind::ProcessKilled => {
                self.process_dies(at, false);
                self.comes_back(Who::Process(at));
            }
            Kind::ProcessPaused => {
                let length = self.pause_length();
                self.processes[at].paused_until = self.now + length;
                self.trace.line(self.now, || format!("p{at} is paused for {} ms", length / MS));
                let life = self.processes[at].life;
                self.after(length, Event::Resume { who: Who::Process(at), life });
            }
            _ => self.plan_act(at, 1, Act::Close),
        }
    }
}
