//! A fenced resource never accepts a write under a lower token than one it has accepted, nor
//! the same token from two processes. Source: promise 3; M. Kleppmann, "How to do distributed
//! locking", 2016.

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Incarnation, Token};

use super::Verdict;
use crate::event::Write;

const NAME: &str = "fence";

#[derive(Debug, Default)]
pub(crate) struct Fence {
    pub(super) verdict: Verdict,
    highest: BTreeMap<ElectionName, (Token, Option<Incarnation>)>,
    /// Writes that the resources turned away.
    pub(crate) refused: u64,
    pub(crate) accepted: u64,
}

impl Fence {
    pub(crate) fn accepted(&mut self, now: u64, write: &Write) {
        self.accepted += 1;
        let highest = self.highest.entry(write.election.clone()).or_default();
        if write.token < highest.0 {
            let why = format!(
                "{} accepted a write under token {} after one under {}",
                write.election, write.token, highest.0
            );
            self.verdict.broken(NAME, now, why);
        } else if write.token == highest.0 && highest.1 != Some(write.process) {
            let why = format!(
                "{} accepted writes of {:?} and {} under token {}",
                write.election, highest.1, write.process, write.token
            );
            self.verdict.broken(NAME, now, why);
        }
        *highest = (highest.0.max(write.token), Some(write.process));
    }
}
