//! What a node shows of its ledger.

use core::time::Duration;
use tenure_core::{
    ElectionName, Moment, Sighting, View,
    ledger::{Election, Event, Ledger},
};
use tenure_replica::Replica;

use crate::{
    clock,
    wire::{ElectionDetail, ElectionLine, MemberView, Push, WaitingCandidate},
};

/// How old the quorum's last word may be before a node says that it does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Freshness(pub(super) Duration);

impl Freshness {
    /// Whether this node may say what it sees.
    pub(super) fn is_known(self, replica: &Replica, now: Moment) -> bool {
        replica.contact_age(now).is_some_and(|age| age <= self.0)
    }

    /// Who leads an election, with its age; unknown, with the reason, when nobody who could
    /// say was heard recently enough.
    pub(super) fn sighting(
        self,
        replica: &Replica,
        election: &ElectionName,
        now: Moment,
    ) -> Sighting {
        let age = replica.contact_age(now);
        let (view, revision) = replica.ledger().view(election);
        match age {
            Some(age) if age <= self.0 => Sighting { view, revision, age, reason: None },
            _ => Sighting {
                view: View::Unknown,
                revision,
                age: age.unwrap_or(Duration::MAX),
                reason: Some(replica.why_unknown(now)),
            },
        }
    }

    pub(super) fn push(
        self,
        replica: &Replica,
        election: &ElectionName,
        events: Vec<Event>,
        now: Moment,
    ) -> Push {
        let state = replica.ledger().election(election);
        let tenure = state.and_then(Election::tenure);
        Push {
            election: election.clone(),
            sighting: self.sighting(replica, election, now),
            holder: tenure.map(|tenure| tenure.session),
            handover: tenure.is_some_and(|tenure| tenure.handover.is_some()),
            revoked: tenure.is_some_and(|tenure| tenure.revoked.is_some()),
            candidates: state.map_or(0, |state| count(state.candidates())),
            events,
            mono_ns: clock::monotonic_nanos(),
        }
    }

    pub(super) fn list(self, replica: &Replica, prefix: &str, now: Moment) -> Vec<ElectionLine> {
        let elections = replica.ledger().elections(prefix);
        elections.map(|(name, election)| self.line(replica, name, election, now)).collect()
    }

    fn line(
        self,
        replica: &Replica,
        name: &ElectionName,
        election: &Election,
        now: Moment,
    ) -> ElectionLine {
        ElectionLine {
            election: name.clone(),
            sighting: self.sighting(replica, name, now),
            candidates: count(election.candidates()),
            paused: election.is_paused(),
        }
    }

    pub(super) fn detail(
        self,
        replica: &Replica,
        name: &ElectionName,
        now: Moment,
    ) -> Option<ElectionDetail> {
        let election = replica.ledger().election(name)?;
        let tenure = election.tenure();
        let waiting = election.waiting().into_iter().map(|candidate| WaitingCandidate {
            id: candidate.id.clone(),
            value: candidate.value.clone(),
            eligible: candidate.standing.eligible,
            priority: candidate.standing.priority,
            rank: candidate.standing.rank,
        });
        let handover = tenure.and_then(|tenure| tenure.handover.as_ref());
        Some(ElectionDetail {
            line: self.line(replica, name, election, now),
            handover: handover.map(|handover| handover.to.clone()),
            revoked: tenure.is_some_and(|tenure| tenure.revoked.is_some()),
            waiting: waiting.collect(),
            banned: election.bans().iter().map(|ban| ban.candidate.clone()).collect(),
            gap: tenure.and_then(|tenure| tenure.gap),
            history: election.history().cloned().collect(),
        })
    }
}

pub(super) fn members(ledger: &Ledger) -> Vec<MemberView> {
    let view = |(id, member): (_, &tenure_core::ledger::Member)| MemberView {
        id,
        name: member.name.clone(),
        address: member.address.clone(),
        role: member.role,
        zone: member.zone.clone(),
        retiring: member.retiring,
    };
    ledger.members().iter().map(view).collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
