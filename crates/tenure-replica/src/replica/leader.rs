//! What only the Raft leader does: propose, keep the clocks, answer for the quorum.

use std::collections::VecDeque;

use tenure_core::{
    Moment, NodeId, RequestId, WallTime,
    ledger::{Command, MemberChange, Refusal, Role},
};

use super::{Now, Replica, voters::Voting};
use crate::{
    MemberWish, NamedWish, PeerBody, Proposal, Wish,
    clocks::Clocks,
    codec,
    proposal::MemberProposal,
    raft::MembershipChange,
    rounds::{Question, Rounds},
};

#[derive(Debug)]
pub(super) struct MemberRequest {
    from: NodeId,
    request: Option<RequestId>,
    at: WallTime,
    wish: MemberWish,
}

/// State that lives as long as one leadership of the Raft group.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) clocks: Clocks,
    /// An entry of this term is applied, and with it everything that was committed before: the
    /// clocks know every lease as its holder does.
    pub(super) up_to_date: bool,
    pub(super) rounds: Rounds,
    /// Rounds that a quorum confirmed, with what must be applied before they are answered.
    pub(super) confirmed: VecDeque<(u64, u64)>,
    members: VecDeque<MemberRequest>,
    /// Encoded proposals of clients that enter the log together.
    proposals: Vec<Vec<u8>>,
    pub(super) voting: Voting,
}

impl Leading {
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.clocks.next_deadline().filter(|_| self.up_to_date)
    }
}

/// A lease of fewer heartbeats than this is renewed at once: renewals come every quarter of it,
/// and two of them would otherwise wait for one heartbeat.
const SHORT_LEASE: u32 = 8;

impl Replica {
    pub(super) fn start_leading(&mut self, now: Now) {
        self.leading = Some(Leading {
            clocks: Clocks::start(self.config.drift, &self.ledger, now.moment),
            up_to_date: false,
            rounds: Rounds::default(),
            confirmed: VecDeque::new(),
            members: VecDeque::new(),
            proposals: Vec::new(),
            voting: Voting::start(now.moment),
        });
    }

    /// Does what is due for the Raft leader.
    pub(super) fn lead(&mut self, now: Now) {
        let Some(leading) = &mut self.leading else { return };
        let mut due = match leading.up_to_date {
            true => leading.clocks.due(now.moment),
            false => Vec::new(),
        };
        // Sessions that run out together, as after a restart of everything: those that only
        // wait go first, so that no election passes from one of the dead to the next.
        due.sort_by_cached_key(|command| self.ends_a_tenure(command));
        for command in due {
            self.propose_or_retry(command, now);
        }
        self.run_rounds(now);
        self.change_members(now);
    }

    fn ends_a_tenure(&self, command: &Command) -> bool {
        let Command::CloseSession { session, .. } = command else { return false };
        let mut elections = self.ledger.session(*session).into_iter().flat_map(|s| s.elections());
        let tenure = |election| self.ledger.election(election).and_then(|e| e.tenure());
        elections.any(|election| tenure(election).is_some_and(|tenure| tenure.session == *session))
    }

    fn run_rounds(&mut self, now: Now) {
        while let Some(answers) = self.finish_round() {
            for (from, body) in answers {
                self.send(from, body, now);
            }
        }
        self.begin_round(now, false);
    }

    /// Begins a round if one is wanted; before a heartbeat, so that both are one message.
    pub(super) fn begin_round(&mut self, now: Now, heartbeat_is_due: bool) {
        let Some(leading) = &mut self.leading else { return };
        let patience = self.pulse.heartbeat();
        // Whoever adapts measures with every heartbeat.
        let wanted = heartbeat_is_due && self.pulse.adapts();
        if let Some(round) = leading.rounds.begin(now.moment, patience, heartbeat_is_due, wanted)
            && self.consensus.read_barrier(round)
        {
            leading.rounds.began(round, now.moment);
        }
    }

    /// Answers of a round that a quorum confirmed and whose index is applied here: only then is
    /// it known which sessions are open.
    fn finish_round(&mut self) -> Option<Vec<(NodeId, PeerBody)>> {
        let applied = self.consensus.applied();
        let leading = self.leading.as_mut()?;
        let (round, index) = leading.confirmed.pop_front_if(|(_, index)| *index <= applied)?;
        let answer = |question: Question| {
            let Question { from, number, mut sessions } = question;
            sessions.retain(|&session| !leading.clocks.is_open(session));
            (from, PeerBody::Confirmed { number, index, gone: sessions })
        };
        Some(leading.rounds.confirmed(round).into_iter().map(answer).collect())
    }

    /// Puts a command into the log. False when this node does not lead (any more), is handing
    /// over, or has too much under way.
    pub(super) fn propose(
        &mut self,
        request: Option<RequestId>,
        at: WallTime,
        command: Command,
    ) -> bool {
        self.consensus.propose(vec![codec::encode(&Proposal { request, at, command })]).is_ok()
    }

    /// Puts what clients wish into the log, all that came together as one append.
    pub(super) fn propose_wishes(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        let proposals = std::mem::take(&mut leading.proposals);
        if !proposals.is_empty() {
            // Not taken: whoever wishes sends it again.
            let _ = self.consensus.propose(proposals);
        }
    }

    /// Proposes what a clock asked for; what the log cannot take now is asked for again.
    fn propose_or_retry(&mut self, command: Command, now: Now) {
        if !self.propose(None, now.wall, command.clone())
            && let Some(leading) = &mut self.leading
        {
            leading.clocks.again(command, now.moment + self.config.heartbeat);
        }
    }

    pub(super) fn on_wish(&mut self, from: NodeId, wish: NamedWish) {
        let Some(leading) = &mut self.leading else { return };
        let NamedWish { request, at, wish } = wish;
        match wish {
            Wish::Command(command) => {
                let proposal = Proposal { request: Some(request), at, command };
                leading.proposals.push(codec::encode(&proposal));
            }
            Wish::Member(wish) => {
                let known = |other: &MemberRequest| other.request == Some(request);
                if !leading.members.iter().any(known) {
                    leading.members.push_back(MemberRequest {
                        from,
                        request: Some(request),
                        at,
                        wish,
                    });
                }
            }
        }
    }

    pub(super) fn on_confirm(
        &mut self,
        from: NodeId,
        number: u64,
        sessions: Vec<tenure_core::SessionId>,
        now: Now,
    ) {
        let Some(leading) = &mut self.leading else { return };
        for &session in &sessions {
            leading.clocks.renew(session, now.moment);
        }
        let patient = SHORT_LEASE * self.pulse.heartbeat();
        let lease = |session| self.ledger.session(session).map(|it| it.ttl().get());
        let short = sessions.iter().any(|id| lease(*id).is_some_and(|ttl| ttl < patient));
        let hurry = short || sessions.is_empty();
        leading.rounds.ask(Question { from, number, sessions }, hurry);
        // What this node asks itself is taken in when everything else is done for now.
        self.begin_round(now, false);
    }

    pub(super) fn on_dead(
        &mut self,
        process: tenure_core::Incarnation,
        observed: WallTime,
        now: Now,
    ) {
        let Some(leading) = &mut self.leading else { return };
        for command in leading.clocks.died(process, observed) {
            self.propose_or_retry(command, now);
        }
    }

    pub(super) fn on_hello(&mut self, from: NodeId, directory: u64, now: Now) {
        if self.leading.is_some() {
            let change = MemberChange::Seen { id: from, directory };
            if self.ledger.members().check(&change).is_ok() {
                self.propose(None, now.wall, Command::Member(change));
            }
        }
    }

    pub(super) fn on_transfer_quorum(&mut self, to: Option<NodeId>) {
        if self.leading.is_some()
            && let Some(to) = to.or_else(|| self.consensus.heir(|_| true))
        {
            self.consensus.transfer_to(to);
        }
    }

    // Membership: one change at a time

    fn change_members(&mut self, now: Now) {
        let Some(leading) = &mut self.leading else { return };
        if self.consensus.has_pending_membership() {
            return;
        }
        // Whoever becomes a plain member changes nothing for the Raft group: any number at once.
        let at_once = leading.members.len();
        for _ in 0..at_once {
            let Some(leading) = &mut self.leading else { return };
            let Some(request) = leading.members.pop_front() else { break };
            self.change_member(request, now);
            if self.consensus.has_pending_membership() {
                return;
            }
        }
        if at_once == 0 {
            self.keep_voters(now);
        }
    }

    /// What a node becomes that joins: somebody who may soon vote while votes are missing.
    fn role_of_newcomer(&self) -> Role {
        let wanted = self.config.keepers.max(self.config.voters);
        let log = self.ledger.members().iter().filter(|(_, member)| member.role != Role::Member);
        if log.count() < wanted { Role::Learner } else { Role::Member }
    }

    fn change_member(&mut self, request: MemberRequest, now: Now) {
        let MemberRequest { from, request: id, at, wish } = request;
        let members = self.ledger.members();
        let change = match wish {
            MemberWish::Add { name, address, directory, zone } => match members.find(&name) {
                // The same node asks again because the answer was lost.
                Some((known, member)) if member.directory == Some(directory) => {
                    Ok(MemberChange::Seen { id: known, directory })
                }
                _ => {
                    let (id, role) = (members.next_id(), self.role_of_newcomer());
                    Ok(MemberChange::Add { id, name, address, directory, role, zone })
                }
            },
            MemberWish::Remove { name } => match members.find(&name) {
                Some((id, _)) => Ok(MemberChange::Remove { id }),
                None => Err(Refusal::Member { why: format!("no node is named {name}") }),
            },
            MemberWish::Enrol { id } => Ok(MemberChange::Enrol { id }),
            MemberWish::Promote { id } => Ok(MemberChange::Promote { id, instead_of: None }),
            MemberWish::Vote { name, instead_of } => self.vote(&name, instead_of.as_ref(), now),
        };
        let checked = change.and_then(|change| members.check(&change).map(|()| change));
        match checked {
            Ok(MemberChange::Remove { id: node }) if node == self.config.id => {
                // Another leader must remove this one: hand over first; the wish comes again.
                self.on_transfer_quorum(None);
            }
            Ok(change) => self.propose_member(id, at, change, now),
            Err(refusal) => {
                if let Some(request) = id {
                    self.send(from, PeerBody::Declined { request, refusal }, now);
                }
            }
        }
    }

    pub(super) fn propose_member(
        &mut self,
        request: Option<RequestId>,
        at: WallTime,
        change: MemberChange,
        now: Now,
    ) {
        if let MemberChange::Enrol { id } = change {
            self.note_enrolment(id, now.moment);
        }
        let logs = |id| self.ledger.members().get(id).is_none_or(|it| it.role != Role::Member);
        let raft_change = match change {
            MemberChange::Add { id, role: Role::Learner, .. } | MemberChange::Enrol { id } => {
                MembershipChange::AddLearner(id)
            }
            MemberChange::Promote { id, .. } => MembershipChange::AddVoter(id),
            MemberChange::Demote { id } => MembershipChange::DropVote(id),
            MemberChange::Remove { id } if logs(id) => MembershipChange::Remove(id),
            MemberChange::Add { .. }
            | MemberChange::Remove { .. }
            | MemberChange::Seen { .. }
            | MemberChange::Locate { .. } => {
                // Not taken: whoever wishes sends it again.
                let _ = self.propose(request, at, Command::Member(change));
                return;
            }
        };
        let data = codec::encode(&MemberProposal { request, at, change });
        // Refused only when leadership is being lost: the wish is sent again to the next leader.
        let _ = self.consensus.propose_membership(raft_change, data);
    }
}
