//! Tokens strictly increase over all grants of a store, each has one owner, and processes are
//! told of them in that order. Source: promise 2; M. Burrows, "The Chubby lock service", OSDI
//! 2006 (sequencers).

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Incarnation, SessionId, Token};

use super::Verdict;

const NAME: &str = "tokens_rise";

#[derive(Debug)]
pub(crate) struct TokensRise {
    pub(super) verdict: Verdict,
    lying: bool,
    highest: Token,
    grants: u64,
    owners: BTreeMap<Token, (ElectionName, SessionId)>,
    led: BTreeMap<ElectionName, Token>,
    users: BTreeMap<(ElectionName, Token), Incarnation>,
    /// For a mutant: what one life of one shell has counted.
    counted: BTreeMap<(usize, u32), Vec<Token>>,
}

impl TokensRise {
    pub(super) fn new(lying: bool) -> Self {
        Self {
            verdict: Verdict::default(),
            lying,
            highest: Token::default(),
            grants: 0,
            owners: BTreeMap::new(),
            led: BTreeMap::new(),
            users: BTreeMap::new(),
            counted: BTreeMap::new(),
        }
    }

    pub(crate) fn grants(&self) -> u64 {
        self.grants
    }

    pub(crate) fn granted(
        &mut self,
        now: u64,
        election: &ElectionName,
        token: Token,
        session: SessionId,
    ) {
        self.grants += 1;
        if token <= self.highest {
            let why = format!("token {token} of {election} was granted after {}", self.highest);
            self.verdict.broken(NAME, now, why);
        }
        self.highest = self.highest.max(token);
        self.owners.insert(token, (election.clone(), session));
    }

    /// A process was told that it leads.
    pub(crate) fn led(
        &mut self,
        now: u64,
        election: &ElectionName,
        token: Token,
        process: Incarnation,
    ) {
        let before = self.led.insert(election.clone(), token).unwrap_or_default();
        if before >= token && !self.lying {
            let why = format!("{process} was told of token {token} of {election} after {before}");
            self.verdict.broken(NAME, now, why);
        }
        let user = *self.users.entry((election.clone(), token)).or_insert(process);
        if user != process {
            let why = format!("token {token} of {election} was given to {user} and to {process}");
            self.verdict.broken(NAME, now, why);
        }
        match self.owners.get(&token) {
            Some((owned, session)) if owned == election && session.process == process => {}
            owner => {
                let why = format!(
                    "{process} leads {election} with token {token}, which the ledger gave to {owner:?}"
                );
                self.verdict.broken(NAME, now, why);
            }
        }
    }

    /// For a mutant that numbers the grants which one life of one shell has seen.
    pub(crate) fn recount(&mut self, shell: usize, life: u32, token: Token) -> Token {
        let seen = self.counted.entry((shell, life)).or_default();
        let at = seen.iter().position(|known| *known == token).unwrap_or_else(|| {
            seen.push(token);
            seen.len() - 1
        });
        Token::new(at as u64 + 1)
    }
}
