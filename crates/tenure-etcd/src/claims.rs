//! This process's own candidacies: which keys it wants in etcd, and which it does not want
//! any more.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{
    ElectionName, SessionId, WallTime,
    backend::{Bid, Record},
};

use crate::keys::{Keys, lease_of};

/// One candidacy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) key: Vec<u8>,
    /// What its key says, or is to say.
    pub(crate) record: Record,
    /// The revision that created the key, and the place in the queue then, once they are known.
    pub(crate) joined: Option<Joined>,
}

/// A candidacy that etcd has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) created: i64,
    pub(crate) position: u32,
}

/// All candidacies of this process.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    of: BTreeMap<(ElectionName, SessionId), Claim>,
    leases: BTreeSet<i64>,
    made: u64,
}

impl Claims {
    /// The session's lease may exist from now on.
    pub(crate) fn opens(&mut self, session: SessionId) {
        self.leases.insert(lease_of(session));
    }

    /// Nothing is wanted any more that rode on the session.
    pub(crate) fn closes(&mut self, session: SessionId) {
        self.of.retain(|(_, claimant), _| *claimant != session);
    }

    /// The candidacy of a bid, a new one when there is none or it says something else.
    pub(crate) fn of(&mut self, bid: &Bid, keys: &Keys, now: WallTime) -> Claim {
        let claim = self.of.entry((bid.election.clone(), bid.session)).or_insert_with(|| {
            self.made += 1;
            let key = keys.candidacy(&bid.election, lease_of(bid.session), self.made);
            Claim { key, record: Record::of(bid, Some(now)), joined: None }
        });
        if !claim.record.is_of(bid) {
            // The key is written once more; its place in the queue is kept.
            claim.record = Record::of(bid, Some(now));
            claim.joined = None;
        }
        claim.clone()
    }

    pub(crate) fn get(&self, session: SessionId, election: &ElectionName) -> Option<&Claim> {
        self.of.get(&(election.clone(), session))
    }

    /// etcd has confirmed what the claim says, unless it has changed meanwhile.
    pub(crate) fn joined(
        &mut self,
        session: SessionId,
        election: &ElectionName,
        claim: &Claim,
        joined: Joined,
    ) {
        if let Some(known) = self.of.get_mut(&(election.clone(), session))
            && known.key == claim.key
            && known.record == claim.record
        {
            known.joined = Some(joined);
        }
    }

    /// The key is not there any more, or was never seen.
    pub(crate) fn end(&mut self, session: SessionId, election: &ElectionName, key: &[u8]) {
        let at = (election.clone(), session);
        if self.of.get(&at).is_some_and(|claim| claim.key == key) {
            self.of.remove(&at);
        }
    }

    /// A key of one of this process's sessions that nobody wants: what a request left behind
    /// that took effect after its candidacy was over.
    pub(crate) fn is_stray(&self, keys: &Keys, key: &[u8]) -> bool {
        let Some(parts) = keys.parts(key) else { return false };
        let wanted = |((election, _), claim): (&(ElectionName, SessionId), &Claim)| {
            *election == parts.election && claim.key == key
        };
        let first = SessionId { process: tenure_core::Incarnation::from_random(0), number: 0 };
        let from = (parts.election.clone(), first);
        let mut same = self.of.range(from..).take_while(|((name, _), _)| *name == parts.election);
        self.leases.contains(&parts.lease) && !same.any(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::{CandidateId, Incarnation, Value, timing::Ttl};

    fn bid(value: &str) -> Bid {
        Bid {
            session: SessionId { process: Incarnation::from_random(7), number: 1 },
            election: ElectionName::new("e").unwrap(),
            candidate: CandidateId::new("c").unwrap(),
            value: Value::new(value).unwrap(),
            ttl: Ttl::try_from(2000).unwrap(),
        }
    }

    #[test]
    fn each_candidacy_has_a_key_of_its_own_and_only_the_present_one_is_wanted() {
        let (mut claims, keys) = (Claims::default(), Keys::below(String::from("t/")));
        let bid = bid("v");
        claims.opens(bid.session);
        let first = claims.of(&bid, &keys, WallTime::from_micros(1));
        assert_eq!(claims.of(&bid, &keys, WallTime::from_micros(2)), first, "a repeated bid");
        assert!(!claims.is_stray(&keys, &first.key));
        claims.end(bid.session, &bid.election, &first.key);
        assert!(claims.is_stray(&keys, &first.key));
        let second = claims.of(&bid, &keys, WallTime::from_micros(3));
        assert_ne!(first.key, second.key);
        assert!(claims.is_stray(&keys, &first.key) && !claims.is_stray(&keys, &second.key));
        let foreign = keys.candidacy(&bid.election, 99, 1);
        assert!(!claims.is_stray(&keys, &foreign), "somebody else's");
        claims.closes(bid.session);
        assert!(claims.is_stray(&keys, &second.key));
    }

    #[test]
    fn another_value_is_written_under_the_same_key() {
        let (mut claims, keys) = (Claims::default(), Keys::below(String::from("t/")));
        let first = claims.of(&bid("v"), &keys, WallTime::from_micros(1));
        let joined = Joined { created: 5, position: 1 };
        claims.joined(bid("v").session, &bid("v").election, &first, joined);
        let known = claims.get(bid("v").session, &bid("v").election).unwrap();
        assert_eq!(known.joined, Some(joined));
        let second = claims.of(&bid("w"), &keys, WallTime::from_micros(2));
        assert_eq!((&second.key, second.joined), (&first.key, None));
        // The answer to the first comes late.
        claims.joined(bid("v").session, &bid("v").election, &first, joined);
        assert_eq!(claims.of(&bid("w"), &keys, WallTime::from_micros(3)).joined, None);
    }
}
