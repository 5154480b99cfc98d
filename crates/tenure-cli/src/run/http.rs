//! Answers for others on this machine: load balancers, probes, scripts.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::StatusCode;
use serde_json::{Value, json};
use tenure_core::{CandidateId, ElectionName, Token};
use tenure_quorum::clock;
use tokio::net::{TcpListener, UnixListener};

use super::{contest::Lease, parse::Listen};
use crate::{
    error::{Exit, Failure, Outcome},
    http::{JSON, Listening, Page},
    output::time,
};

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
            "ttl_ms": self.lease.ttl().map(time::millis),
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
        Ok(listening) => _ = tokio::spawn(listening.show(move |path| page(path, &status))),
        Err(error) => tracing::error!(%error, "cannot answer HTTP"),
    }
}

fn page(path: &str, status: &Mutex<Status>) -> Page {
    let (code, body) = status.lock().unwrap_or_else(PoisonError::into_inner).answer(path);
    Page { code, kind: JSON, text: format!("{body}\n") }
}
