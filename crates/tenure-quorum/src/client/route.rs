//! Which node to try next, and when.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

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
    next: usize,
    /// Failures in a row since a connection was last made.
    failures: usize,
    reasons: BTreeMap<Endpoint, DialError>,
    backoff: Backoff,
    hello: Hello,
    how: Dialling,
}

impl Route {
    pub(super) fn new(given: Vec<Endpoint>, hello: Hello, how: Dialling) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (learned, reasons) = (Vec::new(), BTreeMap::new());
        Self { given, learned, next: 0, failures: 0, reasons, backoff, hello, how }
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

    /// The addresses of all nodes, as a node told them.
    pub(super) fn learn(&mut self, addresses: impl Iterator<Item = String>) {
        let endpoints = addresses.map(Endpoint::Tcp);
        self.learned = endpoints.filter(|endpoint| !self.given.contains(endpoint)).collect();
    }

    /// When every endpoint said no for good, why.
    pub(super) fn hopeless(&self) -> Option<ClientError> {
        let is_final = |error: &DialError| {
            matches!(
                error,
                DialError::Rejected(Rejected::Cluster { .. } | Rejected::Protocol { .. })
                    | DialError::Protocol(_)
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
