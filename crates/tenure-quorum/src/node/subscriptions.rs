//! Which client follows which elections.

use std::collections::{BTreeMap, BTreeSet};

use tenure_core::ElectionName;

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
    followers: BTreeMap<ElectionName, BTreeSet<u64>>,
    /// Clients that follow at least one prefix.
    by_prefix: BTreeSet<u64>,
}

impl Subscriptions {
    pub(super) fn follow(&mut self, client: u64, election: ElectionName) {
        self.followers.entry(election.clone()).or_default().insert(client);
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

    /// Everybody who follows an election, each once.
    pub(super) fn followers(&self, election: &ElectionName) -> BTreeSet<u64> {
        let mut followers = self.followers.get(election).cloned().unwrap_or_default();
        let matching = self.by_prefix.iter().filter(|client| {
            self.clients.get(client).is_some_and(|followed| {
                followed.prefixes.iter().any(|prefix| election.as_str().starts_with(prefix))
            })
        });
        followers.extend(matching);
        followers
    }

    /// Elections that somebody follows by name.
    pub(super) fn elections(&self) -> impl Iterator<Item = &ElectionName> {
        self.followers.keys()
    }

    pub(super) fn has_prefixes(&self) -> bool {
        !self.by_prefix.is_empty()
    }
}
