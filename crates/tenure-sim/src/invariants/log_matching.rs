//! If two logs hold an entry with the same index and term, it is the same entry and everything
//! before it is the same. Checked by induction: an entry's content and the term of the one
//! before it follow from its index and term. Source: Raft, ATC 2014, figure 3; `LogMatching`
//! in raft.tla.

use std::collections::BTreeMap;

use tenure_core::NodeId;
use tenure_replica::{Entry, Persist, Restored};

use super::Verdict;
use crate::trace::hash_bytes;

const NAME: &str = "log_matching";

/// A node's log as it was handed out to be written: the terms after `base`.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) base: (u64, u64),
    terms: Vec<u64>,
    committed: u64,
}

impl Log {
    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.terms.len() as u64
    }

    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let at = index.checked_sub(self.base.0 + 1)?;
        self.terms.get(usize::try_from(at).ok()?).copied()
    }

    fn rebase(&mut self, index: u64, term: u64) {
        let gone = usize::try_from(index.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        self.terms.drain(..gone.min(self.terms.len()));
        self.base = (index, term);
    }
}

#[derive(Debug, Default)]
pub(crate) struct LogMatching {
    pub(super) verdict: Verdict,
    pub(super) logs: BTreeMap<NodeId, Log>,
    /// By index and term: content, and the term before it.
    entries: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// Entries that are known to be committed: their term, and a term by which they were.
    pub(super) committed: BTreeMap<u64, (u64, u64)>,
}

impl LogMatching {
    pub(super) fn restored(&mut self, id: NodeId, disk: &Restored) {
        let mut log = Log::default();
        if let Some(first) = disk.entries.first() {
            // What was cut away before it is covered by the snapshot.
            log.base = (first.index - 1, 0);
        }
        log.terms = disk.entries.iter().map(|entry| entry.term).collect();
        if let Some(snapshot) = &disk.snapshot
            && disk.entries.is_empty()
        {
            log.base = (snapshot.index, snapshot.term);
        }
        self.logs.insert(id, log);
    }

    pub(super) fn gone(&mut self, id: NodeId) {
        self.logs.remove(&id);
    }

    pub(super) fn appends(&mut self, now: u64, id: NodeId, unit: &Persist) {
        let log = self.logs.entry(id).or_default();
        if let Some(snapshot) = &unit.snapshot
            && log.term(snapshot.index) != Some(snapshot.term)
            && log.base.0 <= snapshot.index
        {
            log.terms.clear();
            log.base = (snapshot.index, snapshot.term);
        }
        if let Some(first) = unit.entries.first() {
            let kept = first.index.saturating_sub(log.base.0 + 1);
            log.terms.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            if first.index != log.last() + 1 {
                let why = format!("node {id} appends {} after {}", first.index, log.last());
                self.verdict.broken(NAME, now, why);
                return;
            }
        }
        for entry in &unit.entries {
            let before = log.term(entry.index - 1).filter(|term| *term > 0);
            log.terms.push(entry.term);
            Self::check(&mut self.entries, &mut self.verdict, now, id, entry, before);
        }
        if let Some(to) = unit.compact_to
            && let Some(term) = log.term(to)
        {
            log.rebase(to, term);
        }
    }

    fn check(
        entries: &mut BTreeMap<(u64, u64), (u64, Option<u64>)>,
        verdict: &mut Verdict,
        now: u64,
        id: NodeId,
        entry: &Entry,
        before: Option<u64>,
    ) {
        let content = hash_bytes(&entry.data);
        let known = entries.entry((entry.index, entry.term)).or_insert((content, before));
        known.1 = known.1.or(before);
        let same = known.0 == content && (before.is_none() || known.1 == before);
        if !same {
            let (index, term) = (entry.index, entry.term);
            let why = format!("node {id} has another entry {index} of term {term} than others");
            verdict.broken(NAME, now, why);
        }
    }

    /// A leader died whose term was not on its disk: its entries were in no message either.
    pub(super) fn forget_terms(&mut self, terms: &[u64]) {
        self.entries.retain(|(_, term), _| !terms.contains(term));
    }

    /// A node in this term says that everything up to here is committed.
    pub(super) fn committed(&mut self, now: u64, id: NodeId, to: u64, in_term: u64) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        for index in log.committed + 1..=to {
            let Some(term) = log.term(index).filter(|term| *term > 0) else { continue };
            let (known, _) = *self.committed.entry(index).or_insert((term, in_term));
            if known != term {
                let why = format!(
                    "entry {index} is committed with term {known}, and at node {id} with {term}"
                );
                self.verdict.broken("state_machine_safety", now, why);
            }
        }
        log.committed = log.committed.max(to);
    }
}
