//! What a client was promised holds for ever: what was done stays done, what was refused does
//! not happen, and the same request has one answer. An unknown outcome stays unknown: nothing
//! is asserted about a request without an answer. Source: promise 6; the oracle of openraft's
//! tests-turmoil.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{
    NodeId, RequestId, Revision, SessionId, Token,
    ledger::{Command, Event, EventKind, Outcome},
};
use tenure_replica::Wish;

use super::Verdict;

const NAME: &str = "acknowledged";

#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    pub(super) verdict: Verdict,
    told: BTreeMap<RequestId, Outcome>,
    highest: Revision,
    opened: BTreeSet<SessionId>,
    /// Sessions that were opened and have ended since.
    closed: BTreeSet<SessionId>,
    refused: BTreeSet<SessionId>,
    granted: BTreeMap<Token, SessionId>,
    ended: BTreeSet<Token>,
    members: BTreeSet<NodeId>,
    unanswered: BTreeSet<RequestId>,
}

impl Acknowledged {
    pub(crate) fn asked(&mut self, request: RequestId) {
        self.unanswered.insert(request);
    }

    /// Somebody was answered by a node whose ledger stands here.
    pub(crate) fn told(&mut self, revision: Revision) {
        self.highest = self.highest.max(revision);
    }

    /// A change became fact.
    pub(super) fn happened(&mut self, now: u64, change: &Event) {
        match &change.kind {
            EventKind::SessionOpened { session, .. } => {
                self.opened.insert(*session);
                if self.refused.contains(session) {
                    let why = format!("session {session} was opened after that was refused");
                    self.verdict.broken(NAME, now, why);
                }
            }
            EventKind::SessionClosed { session, .. } => _ = self.closed.insert(*session),
            EventKind::Elected { leader, session, .. } => {
                self.granted.insert(leader.token, *session);
            }
            EventKind::Ended { token, .. } => _ = self.ended.insert(*token),
            EventKind::MemberAdded { id, .. } => _ = self.members.insert(*id),
            _ => {}
        }
    }

    /// A client is told what became of its wish.
    pub(crate) fn outcome(&mut self, now: u64, request: RequestId, wish: &Wish, outcome: &Outcome) {
        self.unanswered.remove(&request);
        let known = self.told.entry(request).or_insert_with(|| outcome.clone());
        if known != outcome {
            let why = format!("{request} was answered {known:?}, then {outcome:?}");
            self.verdict.broken(NAME, now, why);
        }
        if let Some(why) = self.contradiction(wish, outcome) {
            self.verdict.broken(NAME, now, format!("{request} was told {outcome:?}, but {why}"));
        }
    }

    fn contradiction(&mut self, wish: &Wish, outcome: &Outcome) -> Option<String> {
        match (wish, outcome) {
            (Wish::Command(Command::OpenSession { session, .. }), Outcome::Done) => {
                let opened = self.opened.contains(session);
                (!opened).then(|| format!("session {session} was never opened"))
            }
            (Wish::Command(Command::OpenSession { session, .. }), Outcome::Refused(_)) => {
                self.refused.insert(*session);
                // The answers to a session's requests go with it: asked again after its end, it
                // is refused as used.
                let open = self.opened.contains(session) && !self.closed.contains(session);
                open.then(|| format!("session {session} was opened"))
            }
            (Wish::Command(Command::Campaign { session, .. }), Outcome::Leading { token }) => {
                let owner = self.granted.get(token);
                (owner != Some(session)).then(|| format!("token {token} went to {owner:?}"))
            }
            (
                Wish::Command(
                    Command::Resign { token, .. }
                    | Command::Yield { token, .. }
                    | Command::Transfer { token, .. },
                ),
                Outcome::Done,
            ) => (!self.ended.contains(token)).then(|| format!("token {token} never ended")),
            (Wish::Member(_), Outcome::Member { id }) => {
                // The founding members are there without a change.
                let known = self.members.contains(id) || id.get() <= 8;
                (!known).then(|| format!("node {id} was never added"))
            }
            _ => None,
        }
    }

    /// At the end: a node that is up to date knows everything that was acknowledged.
    pub(crate) fn survives(&mut self, now: u64, node: usize, revision: Revision) {
        if revision < self.highest {
            let why = format!(
                "change {} was acknowledged, but n{} only knows {revision}",
                self.highest,
                node + 1
            );
            self.verdict.broken(NAME, now, why);
        }
    }
}
