//! What a node does for its clients: the rules of the real driver, one for one.

use tenure_core::{ElectionName, Revision, SessionId, View, ledger::Command, ledger::SessionEnd};
use tenure_replica::{Answer, Ask, Input, Wish};

use super::{World, net::Close, node::Expecting, process::Role};
use crate::{
    event::{Item, Push, Question, Reply, Who},
    mutant::Mutant,
};

impl World {
    pub(crate) fn on_question(&mut self, at: usize, conn: u64, number: u64, question: Question) {
        if !self.nodes[at].clients.contains_key(&conn) {
            return;
        }
        match question {
            Question::Wish(request, wish) => {
                // Followed before it can be granted: the client misses no word about it.
                if let Wish::Command(Command::Campaign { election, .. }) = &wish {
                    self.follow(at, conn, election.clone());
                }
                if self.mutated(Mutant::AnsweredBeforeCommit) && self.chance.percent(5) {
                    let reply = Reply::Outcome(tenure_core::ledger::Outcome::Done);
                    return self.answer(at, conn, number, reply);
                }
                self.ask(at, conn, number, Expecting::Outcome, Ask::Wish(request, wish));
            }
            Question::Renew(session) => {
                if self.mutated(Mutant::RenewedWithoutRound) && self.nodes[at].leads {
                    self.ask(
                        at,
                        u64::MAX,
                        number,
                        Expecting::Accepted,
                        Ask::Confirm(vec![session]),
                    );
                    return self.answer(at, conn, number, Reply::Renewed);
                }
                let expecting = Expecting::Renewed(session);
                self.ask(at, conn, number, expecting, Ask::Confirm(vec![session]));
            }
            Question::Confirm => {
                if self.mutated(Mutant::ConfirmedFromMemory) {
                    self.law.current.answered(self.now, conn, number, self.revision(at));
                    return self.answer(at, conn, number, Reply::Confirmed);
                }
                self.ask(at, conn, number, Expecting::Confirmed, Ask::Confirm(Vec::new()));
            }
            Question::Subscribe(elections) => self.subscribe(at, conn, &elections),
            Question::TransferQuorum => {
                self.ask(at, conn, number, Expecting::Accepted, Ask::TransferQuorum(None));
            }
        }
    }

    fn ask(&mut self, at: usize, conn: u64, number: u64, expecting: Expecting, ask: Ask) {
        self.nodes[at].expecting.insert((conn, number), expecting);
        self.give(at, Input::Asked { client: conn, number, ask });
    }

    fn revision(&self, at: usize) -> Revision {
        self.nodes[at].replica.as_ref().map_or(Revision::default(), |r| r.ledger().revision())
    }

    pub(crate) fn on_answer(&mut self, at: usize, conn: u64, number: u64, answer: Answer) {
        let Some(expecting) = self.nodes[at].expecting.remove(&(conn, number)) else { return };
        let reply = match (expecting, answer) {
            (_, Answer::Unavailable { .. }) if self.mutated(Mutant::UnknownIsNo) => {
                let election = self.setup.elections[0].clone();
                let refusal = tenure_core::ledger::Refusal::NoElection { election };
                Reply::Outcome(tenure_core::ledger::Outcome::Refused(refusal))
            }
            (_, Answer::Unavailable { .. }) => Reply::Unavailable,
            (_, Answer::Outcome(outcome)) => Reply::Outcome(outcome),
            (Expecting::Renewed(session), Answer::Confirmed { gone })
                if gone.contains(&session) =>
            {
                Reply::Gone
            }
            (Expecting::Renewed(session), Answer::Confirmed { .. }) => {
                // What was kept back while this node did not know goes first.
                self.watch_freshness(at);
                self.catch_up(at, conn, session);
                Reply::Renewed
            }
            (_, Answer::Confirmed { .. }) => {
                self.law.current.answered(self.now, conn, number, self.revision(at));
                Reply::Confirmed
            }
            (_, Answer::Accepted) => Reply::Accepted,
        };
        self.answer(at, conn, number, reply);
    }

    fn answer(&mut self, at: usize, conn: u64, number: u64, reply: Reply) {
        if let Reply::Outcome(_) = &reply {
            let revision = self.revision(at);
            self.law.acknowledged.told(revision);
        }
        self.transmit(Who::Node(at), conn, Item::Answer(number, reply));
    }

    /// A client that came over from another node is told first how its elections stand.
    fn catch_up(&mut self, at: usize, conn: u64, session: SessionId) {
        let node = &self.nodes[at];
        let Some(replica) = &node.replica else { return };
        let (Some(session), Some(followed)) =
            (replica.ledger().session(session), node.clients.get(&conn))
        else {
            return;
        };
        let missing = session.elections().filter(|election| !followed.contains(*election));
        let missing: Vec<ElectionName> = missing.cloned().collect();
        self.subscribe(at, conn, &missing);
    }

    fn follow(&mut self, at: usize, conn: u64, election: ElectionName) {
        if let Some(followed) = self.nodes[at].clients.get_mut(&conn) {
            followed.insert(election);
        }
    }

    fn subscribe(&mut self, at: usize, conn: u64, elections: &[ElectionName]) {
        for election in elections {
            self.follow(at, conn, election.clone());
            if let Some(push) = self.sighting(at, election) {
                self.push(at, conn, push);
            }
        }
    }

    pub(crate) fn client_gone(&mut self, at: usize, conn: u64) {
        let node = &mut self.nodes[at];
        node.clients.remove(&conn);
        node.expecting.retain(|(client, _), _| *client != conn);
        self.close(Who::Node(at), conn, Close::Finish);
        if self.mutated(Mutant::EndOfFileIsDeath) {
            // The bug: a closed connection is taken for the death of the process behind it.
            let dead = self.processes.iter().find(|process| process.was_on == Some(conn));
            if let Some(process) = dead.map(|process| process.incarnation) {
                let observed = self.node_wall(at);
                self.give(at, Input::Died { process, observed });
            }
        }
    }

    // What is shown

    fn sighting(&self, at: usize, election: &ElectionName) -> Option<Push> {
        let replica = self.nodes[at].replica.as_ref()?;
        let (view, revision) = replica.ledger().view(election);
        let tenure = replica.ledger().election(election).and_then(|election| election.tenure());
        Some(Push {
            election: election.clone(),
            known: self.knows(at),
            revision,
            token: if let View::Led(leader) = view { Some(leader.token) } else { None },
            holder: tenure.map(|tenure| tenure.session),
            handover: tenure.is_some_and(|tenure| tenure.handover.is_some()),
            revoked: tenure.is_some_and(|tenure| tenure.revoked.is_some()),
        })
    }

    pub(crate) fn knows(&self, at: usize) -> bool {
        let Some(replica) = &self.nodes[at].replica else { return false };
        let age = replica.contact_age(self.node_moment(at));
        age.is_some_and(|age| age <= self.setup.election_timeout)
    }

    fn push(&mut self, at: usize, conn: u64, mut push: Push) {
        if self.mutated(Mutant::WatchGoesBack) && self.chance.percent(1) {
            push.revision = Revision::new(push.revision.get() / 2);
        }
        if !push.known {
            self.nodes[at].unbelieved.insert(push.election.clone());
        }
        if self.mutated(Mutant::NewsWithheld) && push.revoked {
            return;
        }
        if self.mutated(Mutant::TokensCountFromStart) {
            push.token =
                push.token.map(|token| self.law.tokens.recount(at, self.nodes[at].life, token));
        }
        self.law.views.pushed(self.now, conn, &push);
        self.transmit(Who::Node(at), conn, Item::Push(push));
    }

    pub(crate) fn push_to_followers(&mut self, at: usize, election: &ElectionName) {
        self.push_to(at, election, |_, _| true);
    }

    fn push_to(&mut self, at: usize, election: &ElectionName, whom: impl Fn(&Self, u64) -> bool) {
        let Some(push) = self.sighting(at, election) else { return };
        let followers = self.nodes[at].clients.iter();
        let followers: Vec<u64> = followers
            .filter(|(conn, followed)| followed.contains(election) && whom(self, **conn))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in followers {
            self.push(at, conn, push.clone());
        }
    }

    fn observes(&self, conn: u64) -> bool {
        let observers = self.processes.iter().filter(|process| process.role == Role::Observer);
        observers.into_iter().any(|process| process.line.conn == Some(conn))
    }

    pub(crate) fn push_all_followed(&mut self, at: usize) {
        for election in self.setup.elections.clone() {
            self.push_to_followers(at, &election);
        }
    }

    /// Tells observers when this node begins or ceases to know, and contenders what they could not
    /// believe until now.
    pub(crate) fn watch_freshness(&mut self, at: usize) {
        let known = self.knows(at);
        if known != self.nodes[at].known {
            self.nodes[at].known = known;
            for election in self.setup.elections.clone() {
                let unbelieved = known && self.nodes[at].unbelieved.remove(&election);
                self.push_to(at, &election, |world, conn| unbelieved || world.observes(conn));
            }
        }
    }

    // Bugs that a shell could have

    /// The bug: whoever led the quorum until now ends the sessions that it knew.
    pub(crate) fn expire_as_deposed(&mut self, at: usize) {
        let Some(replica) = &self.nodes[at].replica else { return };
        let sessions: Vec<SessionId> = replica.ledger().sessions().map(|(id, _)| id).collect();
        for session in sessions {
            let reason = SessionEnd::Expired { silent: self.setup.ttl.get() };
            self.wish_as_node(at, Command::CloseSession { session, reason });
        }
    }

    /// The bug: the successor of an evicted leader does not wait.
    pub(crate) fn finish_eviction_at_once(
        &mut self,
        at: usize,
        election: &ElectionName,
        token: tenure_core::Token,
    ) {
        self.wish_as_node(at, Command::FinishEviction { election: election.clone(), token });
    }

    pub(crate) fn wish_as_node(&mut self, at: usize, command: Command) {
        let process = self.new_incarnation();
        let request = tenure_core::RequestId { process, number: 1 };
        let ask = Ask::Wish(request, Wish::Command(command));
        self.give(at, Input::Asked { client: u64::MAX, number: 0, ask });
    }
}
