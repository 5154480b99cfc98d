//! Safety first, then liveness: the faults stop, and everybody must be served within a bound.

use std::collections::BTreeMap;

use tenure_core::{
    ElectionName, Token,
    ledger::{Command, Ledger, Role as Vote},
};
use tenure_replica::{MemberWish, Wish};

use super::{MS, World, process::Role};
use crate::{
    event::{Event, Who},
    faults::{Faults, Kind},
    invariants::Violation,
};

/// How a run ended well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// Time from the end of the faults until everybody was served, in nanoseconds.
    pub(crate) recovered_in: u64,
    pub(crate) bound: u64,
}

impl World {
    /// Faults for a while, then none: everybody must be served, and stay so.
    pub(crate) fn run(&mut self) -> Result<Ending, Violation> {
        let end = self.now + self.setup.storm;
        self.run_until(end)?;
        self.calm_down();
        let ending = self.recover()?;
        self.stay_so()?;
        self.rejoin_quietly()?;
        self.last_look();
        match self.law.broken() {
            Some(violation) => Err(violation),
            None => Ok(ending),
        }
    }

    /// Time within which everybody is served after the faults: a quorum leader within ten
    /// election timeouts; connections that are given up and made anew; a lease that the new
    /// leader lets run in full, an eviction and a ban of two leases; and one repetition of
    /// whatever was lost.
    pub(crate) fn bound(&self) -> u64 {
        let setup = &self.setup;
        let patience = u64::try_from(setup.patience.as_nanos()).unwrap_or(u64::MAX);
        10 * setup.election_ns() + 6 * setup.limit() + 6 * setup.ttl_ns() + patience + 4000 * MS
    }

    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.faults = Faults::none();
        self.trace.line(self.now, || String::from("the faults stop"));
        for cut in self.net.cuts.keys().copied().collect::<Vec<_>>() {
            self.net.remove_cut(cut);
        }
        for host in 0..self.net.hosts.len() {
            let asleep = self.net.hosts[host].suspended_until.saturating_sub(self.now);
            self.net.hosts[host].slept -= asleep;
            self.net.hosts[host].suspended_until = 0;
            let ppm = self.drawn_rate();
            self.set_rate(host, ppm);
        }
        let nodes = (0..self.nodes.len()).map(Who::Node);
        let all: Vec<Who> = nodes.chain((0..self.processes.len()).map(Who::Process)).collect();
        for who in all {
            match who {
                Who::Node(at) => {
                    self.nodes[at].paused_until = 0;
                    self.nodes[at].disk.slow = false;
                }
                Who::Process(at) => self.processes[at].paused_until = 0,
            }
            let life = self.life(who);
            self.after(MS, Event::Resume { who, life });
            let wait = self.chance.below(50 * MS);
            self.after(wait, Event::Start(who));
        }
        self.stop_retiming();
        self.unstall();
    }

    /// What operators do when the storm is over: elections are resumed, members whose disks are
    /// gone leave, and nodes that were removed without hearing of it are stopped.
    fn tidy_up(&mut self) {
        let Some(ledger) = self.best_ledger() else { return };
        let mut orders = Vec::new();
        for (election, state) in ledger.elections("") {
            if state.is_paused() {
                orders.push(Wish::Command(Command::Resume { election: election.clone() }));
            }
        }
        for (id, member) in ledger.members().iter() {
            if self.node_with(id).is_some_and(|at| self.nodes[at].retired) {
                orders.push(Wish::Member(MemberWish::Remove { name: member.name.clone() }));
            }
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.replica.is_some() && self.law.was_removed(node.id) {
                self.nodes[at].retired = true;
                self.node_dies(at, false);
            }
        }
        if self.operator_is_idle() {
            for wish in orders {
                self.order(wish);
            }
        }
    }

    fn recover(&mut self) -> Result<Ending, Violation> {
        let (start, bound) = (self.now, self.bound());
        loop {
            self.tidy_up();
            let end = self.now + 20 * MS;
            self.run_until(end)?;
            match self.unserved() {
                None => break,
                Some(why) if self.now > start + bound => {
                    let why = format!("not served within {} ms: {why}", bound / MS);
                    self.law.liveness.broken(self.now, why);
                }
                Some(_) => {}
            }
        }
        let recovered_in = self.now - start;
        self.trace.line(self.now, || format!("served after {} ms", recovered_in / MS));
        Ok(Ending { recovered_in, bound })
    }

    /// Live members of the quorum.
    pub(crate) fn live_members(&self) -> Vec<usize> {
        let Some(ledger) = self.best_ledger() else { return Vec::new() };
        let members = ledger.members();
        let nodes = 0..self.nodes.len();
        nodes
            .filter(|at| {
                self.nodes[*at].replica.is_some() && members.get(self.nodes[*at].id).is_some()
            })
            .collect()
    }

    fn leaders(&self) -> BTreeMap<ElectionName, Token> {
        let believers = self.believers().into_iter();
        believers.map(|(election, _, token)| (election.clone(), token)).collect()
    }

    /// What is missing until everybody is served.
    pub(crate) fn unserved(&self) -> Option<String> {
        let down = |node: &super::Node| node.replica.is_none() && !node.retired;
        if let Some(at) = self.nodes.iter().position(down) {
            return Some(format!("n{} is down", at + 1));
        }
        if !self.operator_is_idle() {
            return Some(String::from("an operator waits for an answer"));
        }
        let paused = |ledger: &Ledger| ledger.elections("").any(|(_, state)| state.is_paused());
        if self.best_ledger().is_some_and(paused) {
            return Some(String::from("an election is paused"));
        }
        let leaders = self.leaders();
        for election in &self.setup.elections {
            let Some(token) = leaders.get(election) else {
                let phases: Vec<_> = self
                    .candidates()
                    .map(|at| self.processes[at].contender.phase(election))
                    .collect();
                return Some(format!("nobody leads {election}: {phases:?}"));
            };
            for at in self.live_members() {
                let shown = self.token_shown(at, election);
                if shown != Some(*token) {
                    return Some(format!(
                        "n{} shows {shown:?} for {election}, not {token}",
                        at + 1
                    ));
                }
            }
            for (at, process) in self.processes.iter().enumerate() {
                let sees = process.views.get(election);
                let sees = sees.filter(|(_, _, known)| *known).and_then(|(_, token, _)| *token);
                if process.role == Role::Observer && sees != Some(*token) {
                    return Some(format!("p{at} sees {sees:?} for {election}, not {token}"));
                }
            }
        }
        None
    }

    /// Where everybody stands, for whoever reads the trace of a failure.
    pub(crate) fn show_all(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let moment = self.node_moment(at);
            let links: Vec<_> = node.peers.iter().map(|(id, peer)| peer.shown(*id)).collect();
            let status = node.replica.as_ref().map(|replica| replica.status(moment));
            self.trace.line(self.now, || {
                format!("at the end: n{} to {} is {status:?}", at + 1, links.join(" "))
            });
        }
        for (at, process) in self.processes.iter().enumerate() {
            let (up, conn) = (process.up, process.line.conn);
            let node = conn.and_then(|conn| self.net.other(conn, Who::Process(at)));
            let (node, open) = (node.map(|end| end.who), process.line.open.len());
            self.trace.line(self.now, || {
                format!("at the end: p{at} up: {up}, on {node:?}, {open} open requests")
            });
        }
    }

    fn terms(&self) -> Vec<u64> {
        let members = self.live_members().into_iter();
        let replicas = members.filter_map(|at| self.nodes[at].replica.as_ref());
        replicas.map(|replica| replica.position().term).collect()
    }

    /// Nothing happens any more: no leader changes without a cause.
    fn stay_so(&mut self) -> Result<(), Violation> {
        // Orders and slow stops from before are still carried out.
        let settle = 4000 * MS + 3 * self.setup.ttl_ns();
        self.run_until(self.now + settle)?;
        let (before, terms) = (self.leaders(), self.terms());
        if let Some(why) = self.unserved() {
            self.law.liveness.unstable(self.now, format!("no longer served: {why}"));
        }
        let watch = 2 * self.setup.ttl_ns() + 4 * self.setup.election_ns();
        self.run_until(self.now + watch)?;
        let (after, terms_after) = (self.leaders(), self.terms());
        if before != after {
            let why = format!("leaders changed without a fault: {before:?}, then {after:?}");
            self.law.liveness.unstable(self.now, why);
        }
        if terms != terms_after {
            let why = format!("terms changed without a fault: {terms:?}, then {terms_after:?}");
            self.law.liveness.unstable(self.now, why);
        }
        Ok(())
    }

    /// A follower that was cut off for a while comes back without deposing anybody: it asked
    /// for votes only where it would have got them. Source: faults.md, invariant I7.
    fn rejoin_quietly(&mut self) -> Result<(), Violation> {
        let Some((leader, follower)) = self.spare_follower() else { return Ok(()) };
        let (host, before) = (self.nodes[follower].host, self.terms());
        let others = self.live_members().into_iter().map(|at| self.nodes[at].host);
        let mut hosts: Vec<usize> = others.filter(|other| *other != host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.insert(0, host);
        self.counts.add(Kind::Rejoined);
        let cut = self.cut(super::shape::isolated(&hosts));
        self.run_until(self.now + 2 * self.setup.limit() + 4 * self.setup.election_ns())?;
        self.mend(cut);
        self.run_until(self.now + 2 * self.setup.limit() + 4 * self.setup.election_ns())?;
        let after = self.terms();
        if before != after || !self.nodes[leader].leads {
            let why = format!(
                "n{} came back from a cut and deposed n{}: terms {before:?}, then {after:?}",
                follower + 1,
                leader + 1
            );
            self.law.liveness.unstable(self.now, why);
        }
        self.law.broken().map_or(Ok(()), Err)
    }

    /// The leader of the quorum and a voter that the others can do without, on another machine.
    fn spare_follower(&self) -> Option<(usize, usize)> {
        let members = self.live_members();
        let votes = |at: &usize| {
            let replica = self.nodes[*at].replica.as_ref()?;
            replica.ledger().members().get(self.nodes[*at].id).map(|it| it.role == Vote::Voter)
        };
        let voters: Vec<usize> = members.into_iter().filter(|at| votes(at) == Some(true)).collect();
        let leader = voters.iter().copied().find(|at| self.nodes[*at].leads)?;
        let host = self.nodes[leader].host;
        let here = |host| voters.iter().filter(|at| self.nodes[**at].host == host).count();
        let apart = |at: &usize| {
            let its = self.nodes[*at].host;
            *at != leader && its != host && here(its) == 1
        };
        let follower = voters.iter().copied().find(apart)?;
        (voters.len() >= 3).then_some((leader, follower))
    }

    /// Everything that was acknowledged is everywhere, and everywhere the same.
    fn last_look(&mut self) {
        for at in self.live_members() {
            self.law.node_installed(self.now, &self.nodes[at]);
            let Some(replica) = &self.nodes[at].replica else { continue };
            let revision = replica.ledger().revision();
            self.law.acknowledged.survives(self.now, at, revision);
            self.trace.note(&[6, at as u64, revision.get()]);
        }
    }
}
