//! Operators: hand-overs, evictions, pauses, and changes of the nodes.

use tenure_core::{
    ElectionName, RequestId,
    ledger::{Command, Ledger, Outcome, Role as Vote},
};
use tenure_replica::{MemberWish, Wish};

use super::{
    MS, World,
    net::Close,
    process::{Role, candidate},
    setup::node_name,
};
use crate::{
    event::{Event, Happening, Question, Who},
    faults::Kind,
};

impl World {
    fn operator(&self) -> Option<usize> {
        (0..self.processes.len()).find(|at| self.processes[*at].role == Role::Operator)
    }

    pub(crate) fn operator_is_idle(&self) -> bool {
        let operator = self.operator().map(|at| &self.processes[at]);
        operator.is_some_and(|operator| operator.up && operator.line.open.is_empty())
    }

    /// The ledger of whoever has applied the most.
    pub(crate) fn best_ledger(&self) -> Option<&Ledger> {
        let ledgers = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        ledgers.map(tenure_replica::Replica::ledger).max_by_key(|ledger| ledger.revision())
    }

    pub(crate) fn order(&mut self, wish: Wish) {
        let Some(at) = self.operator() else { return };
        let process = &mut self.processes[at];
        if !process.up {
            return;
        }
        process.requests += 1;
        let request = RequestId { process: process.incarnation, number: process.requests };
        self.trace.line(self.now, || format!("the operator orders {wish:?}"));
        self.line_ask(at, request, wish);
        self.process_follow(at);
    }

    pub(crate) fn operate(&mut self, kind: Kind) {
        let election = self.setup.elections[self.chance.index(self.setup.elections.len())].clone();
        let if_token = None;
        let command = match kind {
            Kind::Reserved => {
                let to = self.chance.percent(50);
                let to = to.then(|| candidate(self.chance.index(self.setup.candidates)));
                Command::Reserve { election, to, if_token }
            }
            Kind::Unreserved => Command::CancelReserve { election },
            Kind::Evicted => Command::Evict { election, if_token, ban: None },
            Kind::EvictedUnseen => {
                if !self.blind_holder(&election) {
                    return;
                }
                Command::Evict { election, if_token, ban: None }
            }
            Kind::Banned => {
                Command::Evict { election, if_token, ban: Some(self.setup.ttl.get() * 2) }
            }
            Kind::ElectionPaused => Command::Pause { election },
            Kind::ElectionResumed => Command::Resume { election },
            Kind::QuorumMoved => {
                let Some(at) = self.operator() else { return };
                if self.processes[at].line.conn.is_some() && !self.is_paused(Who::Process(at)) {
                    self.counts.add(kind);
                    self.line_say(at, Question::TransferQuorum);
                }
                return;
            }
            _ => return,
        };
        self.counts.add(kind);
        self.order(Wish::Command(command));
    }

    /// The node of whoever leads an election misses what the quorum does next: what is on its
    /// way between it and the quorum's leader is lost, too soon made up for to be noticed.
    fn blind_holder(&mut self, election: &ElectionName) -> bool {
        let Some(holder) = self.candidates().find(|at| self.believes(*at, election)) else {
            return false;
        };
        let conn = self.processes[holder].line.conn;
        let node = conn.and_then(|conn| self.net.other(conn, Who::Process(holder)));
        let Some(Who::Node(node)) = node.map(|end| end.who) else { return false };
        let leads = |node: &super::Node| node.replica.is_some() && node.leads;
        let Some(leader) = self.nodes.iter().position(leads) else { return false };
        let (a, b) = (self.nodes[node].host, self.nodes[leader].host);
        if a == b {
            return false;
        }
        let cut = self.cut(vec![(a, b), (b, a)]);
        let heartbeat = u64::try_from(self.setup.heartbeat.as_nanos()).unwrap_or(MS);
        let lasts = MS + self.chance.below(2 * heartbeat);
        self.after(lasts, Event::Severed { cut, nodes: (leader, node) });
        true
    }

    /// A cut ends, and the connections of two nodes with it.
    pub(crate) fn severed(&mut self, cut: u64, (one, other): (usize, usize)) {
        let (one, other) = (Who::Node(one), Who::Node(other));
        let calm = self.calm;
        let between = |conn: &&super::net::Conn| {
            conn.ends.iter().all(|end| end.open && (end.who == one || end.who == other))
        };
        let all = self.net.conns.iter().filter(|(_, conn)| between(conn));
        let conns: Vec<u64> = all.map(|(id, _)| *id).filter(|_| !calm).collect();
        for conn in conns {
            self.close(one, conn, Close::Reset);
            self.happen(one, self.life(one), Happening::Down { conn });
        }
        self.mend(cut);
    }

    /// Whether every voter that the cluster counts on has its disk, and no change of the nodes
    /// is under way: only then may one more be lost.
    pub(crate) fn members_are_whole(&self) -> bool {
        let Some(ledger) = self.best_ledger() else { return false };
        let present = |id| self.node_with(id).is_some_and(|at| !self.nodes[at].retired);
        let whole = ledger.members().iter().all(|(id, _)| present(id));
        // A majority knows of the last change: the one that is lost could be the only one.
        let replicas = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let informed = replicas.filter(|r| r.ledger().members() == ledger.members()).count();
        let voters = ledger.members().voters();
        whole && self.operator_is_idle() && voters >= 3 && informed > voters / 2 + 1
    }

    pub(crate) fn add_member(&mut self) {
        let few =
            self.nodes.len() < 9 && self.nodes.iter().filter(|node| !node.retired).count() < 7;
        if !few || !self.operator_is_idle() {
            return;
        }
        let name = node_name(self.nodes.len() + 1);
        let directory = self.chance.next();
        self.counts.add(Kind::MemberAdded);
        self.order(Wish::Member(MemberWish::Add {
            name,
            address: String::from("a:1"),
            directory,
            zone: None,
        }));
    }

    pub(crate) fn remove_member(&mut self) {
        if !self.members_are_whole() {
            return;
        }
        let Some(ledger) = self.best_ledger() else { return };
        let voters = ledger.members().iter().filter(|(_, member)| member.role == Vote::Voter);
        let names: Vec<_> = voters.map(|(_, member)| member.name.clone()).collect();
        let name = names[self.chance.index(names.len())].clone();
        self.counts.add(Kind::MemberRemoved);
        self.order(Wish::Member(MemberWish::Remove { name }));
    }

    /// A disk is lost with everything on it: the node comes back as another one.
    pub(crate) fn lose_disk(&mut self, at: usize) {
        if !self.members_are_whole() || self.nodes[at].retired {
            return;
        }
        self.counts.add(Kind::DiskLost);
        self.node_dies(at, false);
        let node = &mut self.nodes[at];
        node.disk = super::disk::Disk::default();
        if self.mutant == Some(crate::mutant::Mutant::LostDiskOldId) {
            let wait = self.chance.below(1000 * MS);
            self.after(wait, Event::Start(Who::Node(at)));
            return;
        }
        node.retired = true;
        let name = node.name.clone();
        self.order(Wish::Member(MemberWish::Remove { name }));
        self.add_replacement();
    }

    fn add_replacement(&mut self) {
        if self.nodes.len() < 9 {
            let name = node_name(self.nodes.len() + 1);
            let directory = self.chance.next();
            let address = String::from("a:1");
            self.order(Wish::Member(MemberWish::Add { name, address, directory, zone: None }));
        }
    }

    pub(crate) fn operator_told(&mut self, _at: usize, wish: &Wish, outcome: &Outcome) {
        let (Wish::Member(MemberWish::Add { name, directory, .. }), Outcome::Member { id }) =
            (wish, outcome)
        else {
            return;
        };
        if self.node_with(*id).is_none() {
            let host = self.add_host();
            self.place_node(*id, name.clone(), None, host, *directory);
        }
    }
}
