//! Who votes: the Raft leader keeps as many live voters as are wanted, spread over the zones.

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;
use tenure_core::{
    Moment, NodeId, NodeName, Zone,
    ledger::{Command, Member, MemberChange, Refusal, Role},
};

use super::{Now, Replica};
use crate::spread::{self, Place};

/// A learner whose log ends this close to the commit index has caught up.
const CAUGHT_UP: u64 = 16;
/// A member counts as healthy for this long after somebody said that it is connected.
const HEALTHY: Duration = Duration::from_secs(3);
/// A member that was enrolled may take this long to receive the log.
const ENROLMENT: Duration = Duration::from_secs(10);
/// Votes that one Raft leader moves for a better spread: more than seven voters ever need.
const MOVES: u32 = 16;

/// What a Raft leader remembers for it.
#[derive(Debug)]
pub(super) struct Voting {
    since: Moment,
    /// When each member was last said to be connected with somebody.
    healthy: BTreeMap<NodeId, Moment>,
    /// The last member that was enrolled, and when.
    enrolled: Option<(NodeId, Moment)>,
    /// Since when votes are missing.
    short: Option<Moment>,
    /// Since when a vote would lie better elsewhere.
    uneven: Option<Moment>,
    /// Votes moved.
    moves: u32,
    /// When it last tried to hand over because its own vote is to go.
    gave_way: Option<Moment>,
    /// When all members were last looked at; none when one of them has changed since.
    looked: Option<Moment>,
}

impl Voting {
    pub(super) fn start(now: Moment) -> Self {
        Self {
            since: now,
            healthy: BTreeMap::new(),
            enrolled: None,
            short: None,
            uneven: None,
            moves: 0,
            gave_way: None,
            looked: None,
        }
    }
}

/// How near a node is to a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// A learner that has caught up.
    Ready,
    /// A learner that has not.
    Coming,
    /// A healthy member.
    Healthy,
}

impl Replica {
    /// One step towards as many live voters as are wanted, where they are wanted. Whoever takes
    /// another one's place votes before that one gives its vote up or is removed, so the quorum
    /// never rests on fewer.
    ///
    /// It is asked after every input, and there may be a thousand members: while none changes and
    /// no vote is missing, a look at them in each heartbeat is enough.
    pub(super) fn keep_voters(&mut self, now: Now) {
        let Some(leading) = &mut self.leading else { return };
        let voting = &mut leading.voting;
        let recent = voting.looked.is_some_and(|at| now.moment.since(at) < self.config.heartbeat);
        if recent && voting.short.is_none() {
            return;
        }
        voting.looked = Some(now.moment);
        let change = self.retire(now).or_else(|| self.fill_up(now)).or_else(|| self.even_out(now));
        if let Some(change) = change {
            self.propose_member(None, now.wall, change, now);
        }
    }

    /// A member has changed: all are looked at again.
    pub(super) fn note_member(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.voting.looked = None;
        }
    }

    pub(super) fn note_enrolment(&mut self, id: NodeId, now: Moment) {
        if let Some(leading) = &mut self.leading {
            leading.voting.enrolled = Some((id, now));
        }
    }

    /// A voter in whose stead another one votes gives its vote up, once a quorum of the others
    /// is there.
    fn retire(&mut self, now: Now) -> Option<MemberChange> {
        let retiring = |(_, member): &(NodeId, &Member)| member.retiring;
        let (id, _) = self.ledger.members().iter().find(retiring)?;
        let others: Vec<_> = self.of_role(Role::Voter).filter(|other| *other != id).collect();
        let live = others.iter().filter(|other| self.is_live(**other, now)).count();
        if live * 2 <= others.len() {
            return None;
        }
        if id != self.config.id {
            return Some(MemberChange::Demote { id });
        }
        let patience = self.config.election_timeout;
        let voting = &mut self.leading.as_mut()?.voting;
        if voting.gave_way.is_none_or(|at| now.moment.since(at) >= patience) {
            voting.gave_way = Some(now.moment);
            self.on_transfer_quorum(None);
        }
        None
    }

    /// Replaces who is dead, and fills up to the number that is wanted.
    fn fill_up(&mut self, now: Now) -> Option<MemberChange> {
        let (voters, wanted) = (self.steady_voters().count(), self.config.voters);
        let dead = self.silent_voter(now);
        if let Some(id) = dead.filter(|_| voters > wanted) {
            return Some(MemberChange::Remove { id });
        }
        let voting = &mut self.leading.as_mut()?.voting;
        if voters >= wanted + usize::from(dead.is_some()) {
            voting.short = None;
            return None;
        }
        let since = *voting.short.get_or_insert(now.moment);
        self.next_voter(since, now)
    }

    /// Moves a vote to a zone with fewer, when that was better for a while.
    fn even_out(&mut self, now: Now) -> Option<MemberChange> {
        let limit = self.config.replace_after?;
        let (all, steady) = (self.ledger.members().voters(), self.steady_voters().count());
        let calm = all == steady
            && steady >= self.config.voters
            && self.steady_voters().all(|id| self.is_live(id, now));
        let stages = self.candidates(now);
        let voters = self.places(self.steady_voters());
        let candidates = self.places(stages.iter().map(|(id, _)| *id));
        let better = spread::better(&voters, &candidates, self.config.id);
        let voting = &mut self.leading.as_mut()?.voting;
        let Some(spread::Move { from, to }) = better else {
            voting.uneven = None;
            return None;
        };
        let since = *voting.uneven.get_or_insert(now.moment);
        if !calm || voting.moves >= MOVES || now.moment.since(since) < limit {
            return None;
        }
        match stages.iter().find(|(id, _)| *id == to)?.1 {
            Stage::Ready => {
                (voting.uneven, voting.moves) = (None, voting.moves + 1);
                Some(MemberChange::Promote { id: to, instead_of: Some(from) })
            }
            Stage::Coming => None,
            Stage::Healthy => {
                voting.moves += 1;
                Some(MemberChange::Enrol { id: to })
            }
        }
    }

    /// What an operator's wish that somebody votes comes to.
    pub(super) fn vote(
        &self,
        name: &NodeName,
        instead_of: Option<&NodeName>,
        now: Now,
    ) -> Result<MemberChange, Refusal> {
        let members = self.ledger.members();
        let refuse = |why: String| Err(Refusal::Member { why });
        let find = |name: &NodeName| {
            let none = || Refusal::Member { why: format!("no node is named {name}") };
            members.find(name).ok_or_else(none)
        };
        let (id, member) = find(name)?;
        let stages = self.candidates(now);
        let stage = stages.iter().find(|(known, _)| *known == id).map(|(_, stage)| *stage);
        let instead_of = instead_of.map(find).transpose()?;
        if let Some((other, voter)) = instead_of {
            if voter.role != Role::Voter {
                return refuse(format!("{} does not vote: it can make no room", voter.name));
            }
            self.check_spread(id, other)?;
        }
        match (member.role, stage) {
            (Role::Voter, _) => return refuse(format!("{name} votes already")),
            // Voters tell it once a second; a new Raft leader, or a new member, is not known yet.
            (Role::Member, None) if self.config.replace_after.is_some() => {
                let why = format!("no voter says that {name} is connected");
                return Err(Refusal::Later { why });
            }
            (Role::Member, _) => return Ok(MemberChange::Enrol { id }),
            (Role::Learner, Some(Stage::Ready)) => {}
            (Role::Learner, Some(_)) => {
                let why = format!("{name} has not caught up with the log yet");
                return Err(Refusal::Later { why });
            }
            (Role::Learner, None) => return refuse(format!("{name} says nothing")),
        }
        if let Some((_, other)) = members.iter().find(|(_, member)| member.retiring) {
            let why = format!("{} is still giving its vote up", other.name);
            return Err(Refusal::Later { why });
        }
        let instead_of = match instead_of {
            Some((other, _)) => Some(other),
            None => self.relieved_by(id, now),
        };
        Ok(MemberChange::Promote { id, instead_of })
    }

    /// Who gives its vote up when this node gets one, if somebody must: one that is silent, or
    /// one of the zone with the most votes.
    fn relieved_by(&self, id: NodeId, now: Now) -> Option<NodeId> {
        if self.of_role(Role::Voter).count() < self.config.voters {
            return None;
        }
        let silent = self.of_role(Role::Voter).find(|id| !self.is_live(*id, now));
        let voters = self.places(self.of_role(Role::Voter));
        silent.or_else(|| spread::relieved(&voters, self.place(id)?, self.config.id))
    }

    /// An exchange that the next look at the spread would undo is refused.
    fn check_spread(&self, takes: NodeId, gives: NodeId) -> Result<(), Refusal> {
        let before = self.places(self.of_role(Role::Voter));
        let rest = self.of_role(Role::Voter).filter(|id| *id != gives);
        let after = self.places(rest.chain([takes]));
        if before.iter().chain(&after).any(|it| it.zone.is_none())
            || !spread::is_worse(&before, &after)
        {
            return Ok(());
        }
        let name = |id| self.ledger.members().get(id).map(|it| it.name.to_string());
        let (takes, gives) = (name(takes).unwrap_or_default(), name(gives).unwrap_or_default());
        let most = match spread::majority(&after) {
            Some((zone, votes)) => format!("zone {zone} would have {votes} of {}", after.len()),
            None => String::from("more of them would go with one zone than now"),
        };
        let why = format!(
            "with {takes} instead of {gives} the votes would be spread worse: {most}. Name a \
             voter of the same zone as {takes}"
        );
        Err(Refusal::Member { why })
    }

    /// A voter that nobody will miss.
    fn silent_voter(&self, now: Now) -> Option<NodeId> {
        let limit = self.config.replace_after?;
        let leading = self.leading.as_ref()?;
        if now.moment.since(leading.voting.since) < limit {
            return None;
        }
        self.steady_voters().find(|id| !self.spoke_within(*id, limit, now))
    }

    fn is_live(&self, id: NodeId, now: Now) -> bool {
        self.spoke_within(id, self.config.election_timeout, now)
    }

    fn spoke_within(&self, id: NodeId, limit: Duration, now: Now) -> bool {
        id == self.config.id || self.contact.heard_within(id, limit, now.moment)
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = NodeId> {
        let members = self.ledger.members().iter();
        members.filter(move |(_, member)| member.role == role).map(|(id, _)| id)
    }

    /// Voters that are to stay.
    fn steady_voters(&self) -> impl Iterator<Item = NodeId> {
        let members = self.ledger.members().iter();
        let steady = |member: &Member| member.role == Role::Voter && !member.retiring;
        members.filter(move |(_, member)| steady(member)).map(|(id, _)| id)
    }

    fn place(&self, id: NodeId) -> Option<Place<'_>> {
        let member = self.ledger.members().get(id)?;
        Some(Place { id, zone: member.zone.as_ref() })
    }

    fn places(&self, ids: impl Iterator<Item = NodeId>) -> Vec<Place<'_>> {
        ids.filter_map(|id| self.place(id)).collect()
    }

    /// The next step of somebody towards a vote. The zone with the fewest votes of live voters
    /// comes first; but when votes are missing since long ago, whoever can vote now.
    fn next_voter(&self, short_since: Moment, now: Now) -> Option<MemberChange> {
        let mut stages = self.candidates(now);
        let ready = |(_, stage): &(NodeId, Stage)| *stage == Stage::Ready;
        if now.moment.since(short_since) >= ENROLMENT && stages.iter().any(ready) {
            stages.retain(ready);
        }
        let limit = self.config.replace_after;
        let alive = |id: &NodeId| limit.is_none_or(|limit| self.spoke_within(*id, limit, now));
        let voters = self.places(self.steady_voters().filter(alive));
        let candidates = self.places(stages.iter().map(|(id, _)| *id));
        let id = spread::next(&voters, &candidates)?;
        match stages.iter().find(|(known, _)| *known == id)?.1 {
            Stage::Ready => Some(MemberChange::Promote { id, instead_of: None }),
            Stage::Coming => None,
            Stage::Healthy => Some(MemberChange::Enrol { id }),
        }
    }

    /// Who may get a vote, the nearest to it first.
    fn candidates(&self, now: Now) -> Vec<(NodeId, Stage)> {
        let Some(leading) = &self.leading else { return Vec::new() };
        let Voting { healthy, enrolled, .. } = &leading.voting;
        let behind = self.consensus.committed().saturating_sub(CAUGHT_UP);
        let has_caught_up =
            |id| self.consensus.matched(id).is_some_and(|at| at > 0 && at >= behind);
        // One that was enrolled lately has not been heard yet.
        let lately =
            |id| enrolled.is_some_and(|(last, at)| last == id && now.moment.since(at) < ENROLMENT);
        let learner = |id| match self.is_live(id, now) {
            true if has_caught_up(id) => Some((id, Stage::Ready)),
            true => Some((id, Stage::Coming)),
            false => lately(id).then_some((id, Stage::Coming)),
        };
        let mut all: Vec<_> = self.of_role(Role::Learner).filter_map(learner).collect();
        all.sort_by_key(|(_, stage)| *stage);
        if self.config.replace_after.is_some() {
            let fresh =
                |id: &NodeId| healthy.get(id).is_some_and(|at| now.moment.since(*at) < HEALTHY);
            all.extend(self.of_role(Role::Member).filter(fresh).map(|id| (id, Stage::Healthy)));
        }
        all
    }

    pub(super) fn on_members(&mut self, members: BTreeSet<NodeId>, now: Now) {
        if let Some(leading) = &mut self.leading {
            let healthy = &mut leading.voting.healthy;
            healthy.extend(members.into_iter().map(|id| (id, now.moment)));
            healthy.retain(|_, at| now.moment.since(*at) < HEALTHY);
        }
    }

    /// Writes down who is in another zone now. What the log does not take is told again.
    pub(super) fn on_located(&mut self, zones: BTreeMap<NodeId, Option<Zone>>, now: Now) {
        if self.leading.is_none() {
            return;
        }
        for (id, zone) in zones {
            if self.ledger.members().get(id).is_some_and(|member| member.zone != zone) {
                let change = MemberChange::Locate { id, zone };
                self.propose(None, now.wall, Command::Member(change));
            }
        }
    }
}
