//! Which client follows which elections.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{ByName, ElectionName};

/// Why a client follows an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interest {
    /// It contends: it hears of every change once that can be believed.
    Contends,
    /// It wants to see how things stand, also that this node does not know.
    Observes,
}

/// Elections that one client follows.
#[derive(Debug, Default)]
struct Followed {
    elections: BTreeSet<ElectionName>,
    prefixes: BTreeSet<String>,
}

/// Clients by what they follow.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    clients: BTreeMap<u64, Followed>,
    followers: ByName<BTreeMap<u64, Interest>>,
    /// Clients that follow at least one prefix.
    by_prefix: BTreeSet<u64>,
}

impl Subscriptions {
    pub(super) fn follow(&mut self, client: u64, election: ElectionName, interest: Interest) {
        let followers = self.followers.get_or_default(&election);
        let known = followers.entry(client).or_insert(interest);
        *known = interest.max(*known);
        self.clients.entry(client).or_default().elections.insert(election);
    }

    pub(super) fn follow_prefix(&mut self, client: u64, prefix: String) {
        self.by_prefix.insert(client);
        self.clients.entry(client).or_default().prefixes.insert(prefix);
    }

    pub(super) fn follows(&self, client: u64, election: &ElectionName) -> bool {
        self.clients.get(&client).is_some_and(|followed| followed.elections.contains(election))
    }

    pub(super) fn forget(&mut self, client: u64) {
        self.by_prefix.remove(&client);
        let followed = self.clients.remove(&client).unwrap_or_default();
        for election in followed.elections {
            if let Some(followers) = self.followers.get_mut(&election) {
                followers.remove(&client);
                if followers.is_empty() {
                    self.followers.remove(&election);
                }
            }
        }
    }

    /// Everybody who follows an election at least as much, each once.
    pub(super) fn followers(&self, election: &ElectionName, least: Interest) -> BTreeSet<u64> {
        let by_name = self.followers.get(election).into_iter().flatten();
        let by_name = by_name.filter(|(_, interest)| **interest >= least);
        let mut followers: BTreeSet<_> = by_name.map(|(client, _)| *client).collect();
        let matching = self.by_prefix.iter().filter(|client| {
            self.clients.get(client).is_some_and(|followed| {
                followed.prefixes.iter().any(|prefix| election.as_str().starts_with(prefix))
            })
        });
        followers.extend(matching);
        followers
    }

    /// Elections that somebody follows by name, and how much.
    pub(super) fn elections(&self) -> impl Iterator<Item = (&ElectionName, Interest)> {
        let interest = |followers: &BTreeMap<u64, Interest>| followers.values().max().copied();
        self.followers.iter().filter_map(move |(name, all)| Some((name, interest(all)?)))
    }

    pub(super) fn has_prefixes(&self) -> bool {
        !self.by_prefix.is_empty()
    }
}
