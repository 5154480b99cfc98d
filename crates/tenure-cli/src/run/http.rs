//! Answers for others on this machine: load balancers, probes, scripts.

use std::{
    convert::Infallible,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tenure_core::{CandidateId, ElectionName, Token};
use tenure_quorum::clock;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{contest::Lease, parse::Listen};
use crate::{
    error::{Exit, Failure, Outcome},
    output::time,
};

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Longest time for the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may be seen.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) election: ElectionName,
    pub(crate) id: CandidateId,
    lease: Lease,
    pub(crate) token: Option<Token>,
    pub(crate) child: Option<u32>,
    pub(crate) contends: bool,
    pub(crate) connected: bool,
    /// Who was seen to lead last.
    pub(crate) leader: Option<(CandidateId, Token)>,
}

impl Status {
    pub(crate) fn new(election: ElectionName, id: CandidateId, lease: Lease) -> Self {
        let (token, child, leader) = (None, None, None);
        Self { election, id, lease, token, child, contends: false, connected: false, leader }
    }

    fn answer(&self, path: &str) -> (StatusCode, Value) {
        // Asked of the lease at this very moment: nothing that was remembered can be stale.
        let token = self.lease.token();
        let leads = token.is_some();
        let waits = self.contends && !leads;
        let left = self.lease.deadline().map(|at| at.since(clock::moment()));
        let word = if leads { "leader" } else { "standby" };
        let yes = |yes| if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let own = json!({
            "id": self.id,
            "election": self.election,
            "role": word,
            "token": token,
            "remaining_ms": left.map(time::millis),
            "child": self.child,
            "connected": self.connected,
            "leader": self.leader.as_ref().map(|(id, token)| json!({ "id": id, "token": token })),
        });
        match path {
            "/leader" => (yes(leads), own),
            "/standby" => (yes(waits), own),
            "/livez" => (StatusCode::OK, json!({ "alive": true })),
            "/readyz" => (yes(self.connected && (leads || waits)), own),
            "/v1/self" => (StatusCode::OK, own),
            // As the elector of Kubernetes answers.
            "/" => {
                let seen = self.leader.as_ref().map(|(id, _)| id);
                let name = if leads { Some(&self.id) } else { seen };
                (StatusCode::OK, json!({ "name": name.map_or("", |id| id.as_str()) }))
            }
            _ => (
                StatusCode::NOT_FOUND,
                json!({ "error": "no such page", "next": "/leader /standby /livez /readyz /v1/self" }),
            ),
        }
    }
}

/// A place that listens, and answers nothing yet.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Listens, so that nothing is started when it cannot.
pub(crate) fn bind(listen: &Listen) -> Outcome<Bound> {
    let (bound, place) = match listen {
        Listen::Tcp(address) => (tcp(address), address.clone()),
        Listen::Unix(path) => (unix(path), path.display().to_string()),
    };
    bound.map_err(|error| {
        let (exit, next) = match error.kind() {
            io::ErrorKind::AddrInUse => {
                (Exit::Conflict, "stop what listens there, or give another place with --listen")
            }
            _ => (Exit::Tool, "give another place with --listen"),
        };
        Failure::new(exit, format!("cannot answer HTTP on {place}"), error, next)
    })
}

fn tcp(address: &str) -> io::Result<Bound> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Bound::Tcp(listener))
}

fn unix(path: &Path) -> io::Result<Bound> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A socket that nobody listens to was left behind by a process that was killed.
            if UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(Bound::Unix(listener))
}

/// Answers from now on. Must be called in the runtime.
pub(crate) fn start(bound: Bound, status: Arc<Mutex<Status>>) {
    let accepting = match bound {
        Bound::Tcp(listener) => TcpListener::from_std(listener).map(Listening::Tcp),
        Bound::Unix(listener) => UnixListener::from_std(listener).map(Listening::Unix),
    };
    match accepting {
        Ok(listening) => _ = tokio::spawn(listening.answer_all(status)),
        Err(error) => tracing::error!(%error, "cannot answer HTTP"),
    }
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    async fn answer_all(self, status: Arc<Mutex<Status>>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let status = Arc::clone(&status);
            let accepted = match &self {
                Self::Tcp(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| drop(tokio::spawn(answer(stream, status, place))))
                }
                Self::Unix(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| drop(tokio::spawn(answer(stream, status, place))))
                }
            };
            if accepted.is_err() {
                // Out of files, for example: no reason to spin.
                tokio::time::sleep(PATIENCE / 50).await;
            }
        }
    }
}

/// Answers one connection, which has a place of those that there are.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    status: Arc<Mutex<Status>>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &status);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // Who asked has gone, or has not said what for in time.
    let _ = connection.await;
}

fn respond(request: &Request<Incoming>, status: &Mutex<Status>) -> Response<Full<Bytes>> {
    let (code, body) = match *request.method() {
        Method::GET | Method::HEAD => {
            let status = status.lock().unwrap_or_else(PoisonError::into_inner);
            status.answer(request.uri().path())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "only GET and HEAD" })),
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    response
}
