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
    /// Tried last, or connected.
    tried: Option<Endpoint>,
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
        Self { given, learned, preference, tried: None, failures: 0, reasons, backoff, hello, how }
    }

    fn len(&self) -> usize {
        self.given.len() + self.learned.len()
    }

    /// The one after that which was tried last, wherever that stands by now: a node that has just
    /// fallen silent is the last to be tried again.
    fn choose(&mut self) -> Option<Endpoint> {
        let all: Vec<_> = self.given.iter().chain(&self.learned).collect();
        let last = self.tried.as_ref().and_then(|tried| all.iter().position(|it| *it == tried));
        let next = last.map_or(0, |last| last + 1) % all.len().max(1);
        self.tried = all.get(next).map(|it| (*it).clone());
        self.tried.clone()
    }

    /// Tries the next endpoint: at once, or after a pause when all have failed in a row.
    pub(super) fn attempt(
        &mut self,
    ) -> impl Future<Output = (Endpoint, Result<Line, DialError>)> + use<> {
        let count = self.len().max(1);
        let endpoint = self.choose();
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
    use crate::transport::tests::client_hello;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::Tcp(format!("127.0.0.1:{port}"))
    }

    /// Members were connected to a voter that was stopped, looked in vain for one to three seconds,
    /// and said that they did not know: the one that they dialled next was the same.
    #[test]
    fn whoever_fell_silent_is_tried_last_also_when_other_addresses_were_learned_since() {
        let how = Dialling {
            deadline: Duration::from_secs(1),
            silence: Duration::from_secs(1),
            local_proof: false,
        };
        let mut route = Route::new(vec![endpoint(1)], None, client_hello(), how);
        route.learn(vec![endpoint(1).to_string(), endpoint(2).to_string()]);
        assert_eq!(route.choose(), Some(endpoint(1)));
        assert_eq!(route.choose(), Some(endpoint(2)));
        // Connected there, it hears of more nodes, which come before it.
        let addresses = [3, 4, 2].map(|port| endpoint(port).to_string());
        route.learn(addresses.to_vec());
        let order: Vec<_> = (0..4).filter_map(|_| route.choose()).collect();
        assert_eq!(order, [1, 3, 4, 2].map(endpoint));
    }

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
