//! Which node to try next, and when.

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tenure_core::ClusterId;
use tokio::time::sleep;

use super::{ClientError, Endpoint, line::Line};
use crate::{
    transport::{
        backoff::Backoff,
        handshake::{DialError, Dialling, Target, dial},
    },
    wire::{Hello, Rejected},
};

/// Pauses between two fruitless rounds over all endpoints.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The endpoints of a quorum, and what is known about each.
#[derive(Debug)]
pub(super) struct Route {
    given: Vec<Endpoint>,
    /// Told by a node; tried after those that were given.
    learned: Vec<Endpoint>,
    /// Which of the learned ones come first: another order for each who has another number.
    preference: Option<u64>,
    next: usize,
    /// Failures in a row since a connection was last made.
    failures: usize,
    reasons: BTreeMap<Endpoint, DialError>,
    backoff: Backoff,
    hello: Hello,
    how: Dialling,
}

impl Route {
    pub(super) fn new(
        mut given: Vec<Endpoint>,
        preference: Option<u64>,
        hello: Hello,
        how: Dialling,
    ) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (learned, reasons) = (Vec::new(), BTreeMap::new());
        order(&mut given, preference);
        Self { given, learned, preference, next: 0, failures: 0, reasons, backoff, hello, how }
    }

    fn len(&self) -> usize {
        self.given.len() + self.learned.len()
    }

    /// Tries the next endpoint: at once, or after a pause when all have failed in a row.
    pub(super) fn attempt(
        &mut self,
    ) -> impl Future<Output = (Endpoint, Result<Line, DialError>)> + use<> {
        let count = self.len().max(1);
        let at = self.next % count;
        self.next = at + 1;
        let all = self.given.iter().chain(&self.learned);
        let endpoint = all.clone().nth(at).or(all.last()).cloned();
        let exhausted = self.failures > 0 && self.failures.is_multiple_of(count);
        let pause = if exhausted { self.backoff.pause() } else { Duration::ZERO };
        let (hello, how) = (self.hello.clone(), self.how);
        async move {
            let Some(endpoint) = endpoint else { return std::future::pending().await };
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let target = match &endpoint {
                Endpoint::Tcp(address) => Target::Tcp(address),
                Endpoint::Unix(path) => Target::Unix(path),
            };
            let dialled = dial(target, &hello, how).await;
            (endpoint, dialled.map(Line::over_socket))
        }
    }

    /// The endpoint works. From now on only this cluster will do.
    pub(super) fn succeeded(&mut self, cluster: ClusterId) {
        self.hello.cluster = Some(cluster);
        self.failures = 0;
        self.reasons.clear();
        self.backoff.reset();
    }

    pub(super) fn failed(&mut self, endpoint: Endpoint, error: DialError) {
        self.failures += 1;
        self.reasons.insert(endpoint, error);
    }

    /// The addresses of the nodes that keep the log, as a node told them.
    pub(super) fn learn(&mut self, addresses: Vec<String>) {
        let endpoints = addresses.into_iter().map(Endpoint::Tcp);
        self.learned = endpoints.filter(|endpoint| !self.given.contains(endpoint)).collect();
        order(&mut self.learned, self.preference);
    }

    /// When every endpoint said no for good, why.
    pub(super) fn hopeless(&self) -> Option<ClientError> {
        let is_final = |error: &DialError| {
            matches!(
                error,
                DialError::Rejected(
                    Rejected::Cluster { .. }
                        | Rejected::Protocol { .. }
                        | Rejected::NotMember { .. }
                        | Rejected::Directory { .. }
                ) | DialError::Protocol(_)
            )
        };
        if self.reasons.len() < self.len() || !self.reasons.values().all(is_final) {
            return None;
        }
        self.reasons.iter().find_map(|(endpoint, error)| match error {
            DialError::Rejected(why) => {
                Some(ClientError::Rejected { endpoint: endpoint.to_string(), why: why.clone() })
            }
            _ => None,
        })
    }

    /// What happened last at each endpoint, in words.
    pub(super) fn why(&self) -> String {
        let mut text = String::new();
        for (endpoint, error) in &self.reasons {
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{endpoint}: {error}");
        }
        if text.is_empty() { String::from("still connecting") } else { text }
    }
}

/// Puts endpoints in an order of this number's own. Whoever loses its first choice together
/// with many others has another second choice than most of them (rendezvous hashing: D. Thaler,
/// C. Ravishankar, 1996).
fn order(endpoints: &mut [Endpoint], preference: Option<u64>) {
    let Some(preference) = preference else { return };
    endpoints.sort_by_cached_key(|endpoint| {
        let mut hasher = DefaultHasher::new();
        (preference, endpoint).hash(&mut hasher);
        hasher.finish()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_lose_one_node_together_spread_over_all_others() {
        let all: Vec<_> = (1..=5).map(|port| Endpoint::Tcp(format!("127.0.0.1:{port}"))).collect();
        let mut second = BTreeMap::<Endpoint, u32>::new();
        for preference in 0..1000 {
            let mut mine = all.clone();
            order(&mut mine, Some(preference));
            if mine[0] == all[0] {
                *second.entry(mine[1].clone()).or_default() += 1;
            }
        }
        assert_eq!(second.len(), 4);
        assert!(second.values().all(|count| (30..=75).contains(count)), "{second:?}");
    }
}
