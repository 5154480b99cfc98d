//! Pages for others on this machine: load balancers, probes, Prometheus.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Longest time for the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until the next attempt when no connection could be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Type of a page for programs.
pub(crate) const JSON: &str = "application/json";
/// Type of a page for people and for Prometheus.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a path shows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) code: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// Where pages are asked for.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Answers every request with the page of its path, until it is dropped.
    pub(crate) async fn show(self, page: impl Fn(&str) -> Page + Send + Sync + 'static) {
        let (places, page) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(page));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let page = Arc::clone(&page);
            let accepted = match &self {
                Self::Tcp(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| drop(tokio::spawn(answer(stream, page, place))))
                }
                Self::Unix(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| drop(tokio::spawn(answer(stream, page, place))))
                }
            };
            if accepted.is_err() {
                // Out of files, for example: no reason to spin.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one connection, which has a place of those that there are.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    page: Arc<impl Fn(&str) -> Page>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let page = match *request.method() {
            Method::GET | Method::HEAD => page(request.uri().path()),
            _ => {
                let text = String::from("only GET and HEAD\n");
                Page { code: StatusCode::METHOD_NOT_ALLOWED, kind: TEXT, text }
            }
        };
        async move { Ok::<_, Infallible>(response(page)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // Who asked has gone, or has not said what for in time.
    let _ = connection.await;
}

fn response(page: Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() = page.code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
