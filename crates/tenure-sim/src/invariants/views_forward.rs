//! What an observer is shown never goes back, and all nodes tell the same story of an election.
//! Source: faults.md, invariant I5; etcd's watch guarantees (ordered, no gaps).

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Revision, SessionId, Token};

use super::Verdict;
use crate::event::Push;

const NAME: &str = "views_forward";

type Told = (Option<Token>, Option<SessionId>, bool, bool);

#[derive(Debug, Default)]
pub(crate) struct ViewsForward {
    pub(super) verdict: Verdict,
    shown: BTreeMap<(u64, ElectionName), Revision>,
    seen: BTreeMap<(usize, u32, ElectionName), Revision>,
    story: BTreeMap<(ElectionName, Revision), Told>,
}

impl ViewsForward {
    /// One life of an observer was shown an election at this revision.
    pub(crate) fn saw(
        &mut self,
        now: u64,
        (observer, life): (usize, u32),
        election: &ElectionName,
        revision: Revision,
    ) {
        let key = (observer, life, election.clone());
        let before = self.seen.insert(key, revision).unwrap_or_default();
        if revision < before {
            let why = format!("p{observer} saw {election} at revision {revision} after {before}");
            self.verdict.broken(NAME, now, why);
        }
    }

    pub(crate) fn pushed(&mut self, now: u64, conn: u64, push: &Push) {
        let key = (conn, push.election.clone());
        let before = self.shown.insert(key, push.revision).unwrap_or_default();
        if push.revision < before {
            let why = format!(
                "{} was shown at revision {} after {before} on one connection",
                push.election, push.revision
            );
            self.verdict.broken(NAME, now, why);
        }
        let told = (push.token, push.holder, push.handover, push.revoked);
        let key = (push.election.clone(), push.revision);
        let known = *self.story.entry(key).or_insert(told);
        if known != told {
            let why = format!(
                "{} at revision {} was shown as {known:?} and as {told:?}",
                push.election, push.revision
            );
            self.verdict.broken(NAME, now, why);
        }
    }
}
