//! A reverse proxy as the guard of a resource that speaks HTTP and knows nothing of tokens.
//!
//! `rules.rs` says which guard a request belongs to and which token it brings, `passage.rs` who
//! may pass; neither does I/O. `gate.rs` keeps the mark on the disk, `exchange.rs` carries one
//! request to the upstream and its answer back, `server.rs` listens.
//!
//! What happens to requests that are under way when a newer token comes:
//! - none under an older token begins any more;
//! - those that have not arrived in full are cut, because who sends them leads no more. The
//!   upstream sees a request that breaks off;
//! - for those that the upstream has in full the newer request waits until they are answered,
//!   for a bounded time, then it is told to come again (503). An upstream that does not answer
//!   is cut off after its own time limit, so this ends;
//! - answers that are being delivered have the same time, then they are cut.

mod answer;
mod body;
mod exchange;
mod follow;
mod gate;
mod passage;
mod rules;
mod server;
mod status;
mod upstream;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tenure_core::ElectionName;
use tokio::sync::Semaphore;

use crate::{
    cli::Global,
    command::StopSignals,
    discover,
    error::{Exit, Failure, Outcome},
    output::{Output, json},
};

use gate::Gate;
pub(crate) use rules::{Guarded, Rules};
use status::Counts;
pub(crate) use upstream::Upstream;

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) upstream: Upstream,
    pub(crate) listen: String,
    /// Where to answer for probes and metrics.
    pub(crate) status: Option<String>,
    pub(crate) rules: Rules,
    /// Directory of the marks.
    pub(crate) state: Option<PathBuf>,
    pub(crate) follow: bool,
    pub(crate) limits: Limits,
}

/// What is bounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest wait for effects under an older token.
    pub(crate) drain: Duration,
    /// Longest silence of the upstream, and of a client in the middle of a request.
    pub(crate) patience: Duration,
    /// Longest body of a request, in bytes.
    pub(crate) body: u64,
    /// Connections at once; more wait.
    pub(crate) connections: usize,
}

/// Everything that a request needs.
#[derive(Debug)]
struct Proxy {
    upstream: Upstream,
    rules: Rules,
    gates: Vec<Arc<Gate>>,
    limits: Limits,
    counts: Counts,
    /// Requests at once. One whose client has gone away keeps its place until it is answered.
    places: Arc<Semaphore>,
}

/// Guards until it is asked to end.
pub(crate) async fn run(settings: Settings, global: &Global, output: Output) -> Outcome {
    let mut signals = StopSignals::listen()?;
    let dir = settings.state.unwrap_or_else(|| default_dir(&settings.upstream));
    let _ours = claim(&dir)?;
    let gates: Outcome<Vec<_>> = settings
        .rules
        .elections()
        .map(|election| open(&dir, election, settings.limits.drain))
        .collect();
    let proxy = Arc::new(Proxy {
        upstream: settings.upstream,
        rules: settings.rules,
        gates: gates?,
        limits: settings.limits,
        counts: Counts::default(),
        places: Arc::new(Semaphore::new(settings.limits.connections)),
    });
    let listener = server::bind(&settings.listen, "--listen").await?;
    let at = listener.local_addr().map_err(|error| cannot_listen(&settings.listen, &error))?;
    if let Some(address) = &settings.status {
        status::start(server::bind(address, "--status").await?, Arc::clone(&proxy));
    }
    let _elector = match settings.follow {
        true => Some(follow::start(&proxy.gates, global, output).await?),
        false => None,
    };
    say_ready(&proxy, at, &dir, output)?;
    let ends = tokio::select! {
        why = signals.name() => why,
        never = server::serve(listener, &proxy) => match never {},
    };
    output.talk(&format!("{ends}: no request is taken any more; those under way may end"));
    tokio::select! {
        () = server::emptied(&proxy) => {}
        _ = signals.name() => {}
        () = tokio::time::sleep(settings.limits.drain) => {}
    }
    Ok(Exit::Yes)
}

fn say_ready(proxy: &Proxy, at: std::net::SocketAddr, dir: &Path, output: Output) -> Outcome<()> {
    let newest = proxy.gates.iter().map(|gate| (gate.election().as_str(), gate.newest().get()));
    if output.json {
        let newest: serde_json::Map<_, _> =
            newest.map(|(name, token)| (name.to_owned(), token.into())).collect();
        let line = json!({
            "v": json::VERSION, "event": "listening", "listen": at.to_string(),
            "upstream": proxy.upstream.to_string(), "state": dir, "newest": newest,
        });
        return output.data(&json::text(&line));
    }
    output.talk(&format!("guarding {} at http://{at}", proxy.upstream));
    for (name, token) in newest {
        output.talk(&match token {
            0 => format!("  {name}: no token was presented yet"),
            token => format!("  {name}: newest token {token}"),
        });
    }
    Ok(())
}

/// Two proxies with one mark would each let requests pass that the other keeps out.
fn claim(dir: &Path) -> Outcome<File> {
    let unusable = |error: &io::Error| {
        let what = format!("the marks in {} cannot be used", dir.display());
        Failure::io(what, error, "give another directory with --state, on a local file system")
    };
    fs::create_dir_all(dir).map_err(|error| unusable(&error))?;
    let mut options = File::options();
    let lock = options.create(true).truncate(false).write(true).open(dir.join("lock"));
    let lock = lock.map_err(|error| unusable(&error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::new(
            Exit::Conflict,
            format!("the marks in {} are in use", dir.display()),
            "another proxy guards with them, and what one lets in the other could not keep out",
            "send all requests through that one, or guard another resource with another --state",
        )),
        Err(error) => Err(unusable(&error.into())),
    }
}

fn open(dir: &Path, election: &ElectionName, drain: Duration) -> Outcome<Arc<Gate>> {
    let path = dir.join(file_name(election));
    let gate = Gate::open(path, election.clone(), drain);
    gate.map(Arc::new).map_err(|error| {
        let what = format!("the mark of {election} cannot be used");
        Failure::new(Exit::Tool, what, error, "mend that, or give another directory with --state")
    })
}

/// Letters, digits, dots, dashes and underlines as they are, anything else as %XX.
fn file_name(election: &ElectionName) -> String {
    let mut name = String::from("mark-");
    for byte in election.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                name.push(char::from(byte));
            }
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

fn default_dir(upstream: &Upstream) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let name: String = upstream.to_string().chars().map(plain).collect();
    discover::elections_dir().with_file_name("fences").join(name)
}

fn cannot_listen(address: &str, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::AddrInUse => Exit::Conflict,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Tool,
    };
    let next = "stop what listens there, or give another place";
    Failure::new(exit, format!("cannot listen on {address}"), error, next)
}
