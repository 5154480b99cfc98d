//! What is kept in etcd, and under which keys.
//!
//! A candidacy is one key, `PREFIX ELECTION # LEASE . NUMBER`, that lives as long as the lease
//! of its session. `#` occurs in no election's name, so the keys of `a` are never among those of
//! `a/b`. The number makes each candidacy's key one of its own: a request that takes effect late
//! can never touch, or be taken for, the next candidacy of the same session.

use tenure_core::{ElectionName, SessionId};

/// The lease of a session. The same for each attempt to open it, so that an attempt whose answer
/// was lost is found again; different for all sessions of a process, and by chance alone the
/// same for two processes (63 bits).
pub(crate) fn lease_of(session: SessionId) -> i64 {
    // An odd factor keeps the sessions of one process apart.
    let mixed = u64::from(session.number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = (session.process.get() ^ mixed) & i64::MAX.unsigned_abs();
    // Zero asks etcd to choose.
    i64::try_from(id).unwrap_or(1).max(1)
}

/// The names of the keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys(String);

/// A candidacy's key, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) election: ElectionName,
    pub(crate) lease: i64,
}

impl Keys {
    pub(crate) fn below(prefix: String) -> Self {
        Self(prefix)
    }

    /// First key, and the one after the last, of all elections.
    pub(crate) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        range(self.0.clone().into_bytes())
    }

    /// First key, and the one after the last, of one election.
    pub(crate) fn election(&self, election: &ElectionName) -> (Vec<u8>, Vec<u8>) {
        range(format!("{}{election}#", self.0).into_bytes())
    }

    pub(crate) fn candidacy(&self, election: &ElectionName, lease: i64, number: u64) -> Vec<u8> {
        format!("{}{election}#{lease:016x}.{number}", self.0).into_bytes()
    }

    /// The last slot of its work that was taken. `!` occurs in no election's name either.
    pub(crate) fn slot(&self, election: &ElectionName) -> Vec<u8> {
        format!("{}{election}!slot", self.0).into_bytes()
    }

    /// None for a key that no candidate wrote.
    pub(crate) fn parts(&self, key: &[u8]) -> Option<Parts> {
        let key = core::str::from_utf8(key).ok()?.strip_prefix(&self.0)?;
        let (election, candidacy) = key.split_once('#')?;
        let (lease, _) = candidacy.split_once('.')?;
        let lease = i64::from_str_radix(lease, 16).ok()?;
        Some(Parts { election: ElectionName::new(election).ok()?, lease })
    }
}

/// All keys that begin like this.
fn range(start: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut end = start.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    // A lone zero stands for the end of all keys.
    if end.is_empty() {
        end.push(0);
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tenure_core::Incarnation;

    fn session(process: u64, number: u32) -> SessionId {
        SessionId { process: Incarnation::from_random(process), number }
    }

    #[test]
    fn an_election_is_never_among_those_of_another() {
        let keys = Keys::below(String::from("tenure/"));
        let (start, end) = keys.election(&ElectionName::new("a").unwrap());
        let own = keys.candidacy(&ElectionName::new("a").unwrap(), 5, 1);
        let other = keys.candidacy(&ElectionName::new("a/b").unwrap(), 5, 1);
        assert!(start <= own && own < end);
        assert!(other < start || other >= end);
        let (start, end) = keys.all();
        assert!(start <= other && other < end);
    }

    #[test]
    fn a_key_is_taken_apart_as_it_was_made() {
        let keys = Keys::below(String::from("x#/"));
        let election = ElectionName::new("billing/nightly").unwrap();
        let key = keys.candidacy(&election, 0x7fff_0000_0000_0001, 12);
        assert_eq!(keys.parts(&key), Some(Parts { election, lease: 0x7fff_0000_0000_0001 }));
        assert_eq!(keys.parts(b"x#/billing"), None);
        assert_eq!(keys.parts(b"other/a#1.2"), None);
    }

    #[test]
    fn a_range_ends_after_the_last_key_also_at_the_highest_byte() {
        assert_eq!(range(vec![b'a', 0xff]), (vec![b'a', 0xff], vec![b'b']));
        assert_eq!(range(vec![0xff]).1, [0]);
        assert_eq!(range(Vec::new()).1, [0]);
    }

    proptest! {
        #[test]
        fn leases_of_one_process_differ_and_etcd_accepts_them(
            process: u64, one in 1u32.., other in 1u32..
        ) {
            let (a, b) = (lease_of(session(process, one)), lease_of(session(process, other)));
            prop_assert!(a > 0 && b > 0);
            // Zero, which is not a lease, is told apart as one: the only pair that can meet.
            prop_assert!(one == other || a != b || a == 1);
        }
    }
}
