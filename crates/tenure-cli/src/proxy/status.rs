//! For probes and for Prometheus, on a port of its own: the other one belongs to the upstream.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::StatusCode;
use tenure_core::ElectionName;
use tokio::net::TcpListener;

use super::Proxy;
use crate::http::{Listening, Page, TEXT};

/// What became of requests, by election and code.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<(String, &'static str), u64>>);

impl Counts {
    pub(crate) fn count(&self, election: Option<&ElectionName>, outcome: &'static str) {
        let election = election.map(ToString::to_string).unwrap_or_default();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((election, outcome)).or_default() += 1;
    }

    /// Whether a mark could not be kept: nobody is let in any more.
    fn is_broken(&self) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.keys().any(|(_, outcome)| *outcome == "mark")
    }
}

/// Answers from now on.
pub(crate) fn start(listener: TcpListener, proxy: Arc<Proxy>) {
    tokio::spawn(Listening::Tcp(listener).show(move |path| page(path, &proxy)));
}

fn page(path: &str, proxy: &Proxy) -> Page {
    let (code, text) = match path {
        "/livez" => (StatusCode::OK, String::from("alive\n")),
        "/readyz" if proxy.counts.is_broken() => (
            StatusCode::SERVICE_UNAVAILABLE,
            String::from("a mark cannot be kept: nobody is let in until the proxy starts anew\n"),
        ),
        "/readyz" => (StatusCode::OK, String::from("ready\n")),
        "/metrics" => (StatusCode::OK, metrics(proxy)),
        _ => (StatusCode::NOT_FOUND, String::from("/livez /readyz /metrics\n")),
    };
    Page { code, kind: TEXT, text }
}

/// Names of elections need no escape: they have neither quotes nor backslashes.
fn metrics(proxy: &Proxy) -> String {
    let mut text = String::from(
        "# HELP tenure_fence_requests_total What became of requests.\n\
         # TYPE tenure_fence_requests_total counter\n",
    );
    let counts = proxy.counts.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut rejections = BTreeMap::<&str, u64>::new();
    for gate in &proxy.gates {
        rejections.insert(gate.election().as_str(), 0);
    }
    for ((election, outcome), count) in &counts {
        let labels = format!("election=\"{election}\",outcome=\"{outcome}\"");
        let _ = writeln!(text, "tenure_fence_requests_total{{{labels}}} {count}");
        if matches!(*outcome, "stale" | "overtaken") {
            *rejections.entry(election).or_default() += count;
        }
    }
    text.push_str(
        "# HELP tenure_fence_rejections_total Requests of leaders that lead no more.\n\
         # TYPE tenure_fence_rejections_total counter\n",
    );
    for (election, count) in rejections {
        let _ = writeln!(text, "tenure_fence_rejections_total{{election=\"{election}\"}} {count}");
    }
    text.push_str(
        "# HELP tenure_fence_newest_token The newest token so far.\n\
         # TYPE tenure_fence_newest_token gauge\n",
    );
    for gate in &proxy.gates {
        let (election, token) = (gate.election(), gate.newest());
        let _ = writeln!(text, "tenure_fence_newest_token{{election=\"{election}\"}} {token}");
    }
    text.push_str(
        "# HELP tenure_fence_under_way Requests under a token that were let in and have not \
         ended.\n# TYPE tenure_fence_under_way gauge\n",
    );
    for gate in &proxy.gates {
        let (election, count) = (gate.election(), gate.under_way());
        let _ = writeln!(text, "tenure_fence_under_way{{election=\"{election}\"}} {count}");
    }
    text
}
