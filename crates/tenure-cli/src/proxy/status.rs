//! For probes and for Prometheus, on a port of its own: the other one belongs to the upstream.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tenure_core::ElectionName;
use tokio::{net::TcpListener, sync::Semaphore};

use super::{Proxy, server::PATIENCE};

/// Connections at once; more wait.
const CONNECTIONS: usize = 16;

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
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PATIENCE / 100).await;
                continue;
            };
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = respond(request.method(), request.uri().path(), &proxy);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
                drop(place);
            });
        }
    });
}

fn respond(method: &Method, path: &str, proxy: &Proxy) -> Response<Full<Bytes>> {
    let (status, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, String::from("alive\n")),
        (&Method::GET | &Method::HEAD, "/readyz") if proxy.counts.is_broken() => (
            StatusCode::SERVICE_UNAVAILABLE,
            String::from("a mark cannot be kept: nobody is let in until the proxy starts anew\n"),
        ),
        (&Method::GET | &Method::HEAD, "/readyz") => (StatusCode::OK, String::from("ready\n")),
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics(proxy)),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, String::from("/livez /readyz /metrics\n"))
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::from("only GET and HEAD\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
