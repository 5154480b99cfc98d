//! At each instant of true time at most one process believes, within its own validity deadline,
//! that it holds an election. Source: promise 1 of the safety rules; C. Gray, D. Cheriton,
//! "Leases", SOSP 1989.

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Token};

use super::Verdict;

const NAME: &str = "one_holder";

#[derive(Debug)]
pub(crate) struct OneHolder {
    pub(super) verdict: Verdict,
    lying: bool,
}

impl OneHolder {
    pub(super) fn new(lying: bool) -> Self {
        Self { verdict: Verdict::default(), lying }
    }

    pub(crate) fn check(&mut self, now: u64, believers: &[(ElectionName, usize, Token)]) {
        if self.lying || believers.len() < 2 {
            return;
        }
        let mut first: BTreeMap<&ElectionName, (usize, Token)> = BTreeMap::new();
        for (election, process, token) in believers {
            if let Some((other, others)) = first.insert(election, (*process, *token)) {
                let why = format!(
                    "p{other} (token {others}) and p{process} (token {token}) both believe that \
                     they hold {election}"
                );
                self.verdict.broken(NAME, now, why);
            }
        }
    }
}
