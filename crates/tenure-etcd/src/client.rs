//! Calls to whichever member of etcd answers.
//!
//! Every call of ours may be repeated, so one that fails or hangs is made again to the next
//! member until its time is up. A member that does not answer in time is connected to anew: a
//! connection whose other end was lost without a word would hang for minutes.

use core::{
    error::Error as _,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::uri::PathAndQuery;
use prost::Message;
use tenure_core::backend::{ConnectError, StoreError};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::Stream;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use crate::{
    url::{Credentials, Target, Tls},
    wire::{AuthenticateRequest, AuthenticateResponse, path},
};

/// etcd closes connections that are pinged more often than every 5 s.
const PING: Duration = Duration::from_secs(6);
/// First pause between two rounds over all members.
const PAUSE: Duration = Duration::from_millis(20);

/// What rustls says of a server whose certificate it does not accept.
const BAD_CERTIFICATE: &str = "invalid peer certificate";

/// A member, and the connection to it.
struct Member {
    name: String,
    endpoint: Endpoint,
    channel: Mutex<Channel>,
}

/// The way to etcd.
pub(crate) struct Client {
    members: Vec<Member>,
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: Mutex<Option<MetadataValue<Ascii>>>,
    /// Longest wait for one member.
    pub(crate) attempt: Duration,
    /// Longest time for a call.
    limit: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.members.iter().map(|member| &member.name).collect();
        f.debug_struct("Client").field("members", &members).finish_non_exhaustive()
    }
}

/// What a failure means for the call.
enum Verdict {
    /// Another member, or the same one later, may do better.
    Elsewhere(String),
    /// Log in again.
    Login,
    /// etcd has answered.
    Final(Status),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// `limit` is the longest time for one call. Nothing is sent yet.
    ///
    /// # Errors
    /// When the files for TLS cannot be used.
    pub(crate) fn new(target: &Target, limit: Duration) -> Result<Self, ConnectError> {
        // Time for every member once, and for the first one again.
        let attempt = limit / u32::try_from(target.members.len() + 1).unwrap_or(u32::MAX);
        let tls = target.tls.as_ref().map(|tls| settings(tls, target)).transpose()?;
        let member = |name: &String| {
            let bad = |error: tonic::transport::Error| ConnectError::Url {
                what: name.clone(),
                why: told(&error),
            };
            let scheme = if tls.is_some() { "https" } else { "http" };
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{name}"))
                .map_err(bad)?
                .connect_timeout(attempt)
                .http2_keep_alive_interval(PING)
                .keep_alive_timeout(attempt)
                .tcp_nodelay(true);
            if let Some(tls) = &tls {
                endpoint = endpoint.tls_config(tls.clone()).map_err(bad)?;
            }
            let channel = Mutex::new(endpoint.connect_lazy());
            Ok(Member { name: name.clone(), endpoint, channel })
        };
        Ok(Self {
            members: target.members.iter().map(member).collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            credentials: target.credentials.clone(),
            token: Mutex::new(None),
            attempt,
            limit,
        })
    }

    fn current(&self) -> (usize, &Member) {
        let at = self.current.load(Ordering::Relaxed) % self.members.len();
        (at, &self.members[at])
    }

    /// The member whose number this is does not answer: the next call goes to another one.
    pub(crate) fn leave(&self, at: usize) {
        let member = &self.members[at];
        *lock(&member.channel) = member.endpoint.connect_lazy();
        let next = (at + 1) % self.members.len();
        // Whoever else has noticed has moved on already.
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A call with one answer; repeated until it has one or the time is up.
    pub(crate) async fn call<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let until = Instant::now() + self.limit;
        let (mut pause, mut tried, mut logged_in) = (PAUSE, 0, false);
        loop {
            let (at, member) = self.current();
            let deadline = until.min(Instant::now() + self.attempt);
            let once = async {
                self.login(member).await?;
                self.once(member, path, message.clone()).await
            };
            let verdict = match timeout_at(deadline, once).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => verdict(status),
                Err(_) => Verdict::Elsewhere(format!("nothing came within {:?}", self.attempt)),
            };
            let trouble = match verdict {
                Verdict::Final(status) => return Err(Failure::Answered(status)),
                Verdict::Login if self.credentials.is_some() && !logged_in => {
                    logged_in = true;
                    *lock(&self.token) = None;
                    continue;
                }
                Verdict::Login => format!("{} does not accept the login", member.name),
                Verdict::Elsewhere(why) => format!("{}: {why}", member.name),
            };
            self.leave(at);
            tried += 1;
            // No member has a certificate that is trusted: waiting would change nothing.
            if tried >= self.members.len() && trouble.contains(BAD_CERTIFICATE) {
                return Err(Failure::Untrusted(trouble));
            }
            if tried % self.members.len() == 0 {
                sleep(pause).await;
                pause = (pause * 2).min(self.attempt / 2);
            }
            if Instant::now() + PAUSE >= until {
                return Err(Failure::Silent(trouble));
            }
        }
    }

    async fn once<Q, A>(&self, member: &Member, path: &'static str, ask: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(member).await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let path_and_query = PathAndQuery::from_static(path);
        if path == path::KEEP_ALIVE {
            // A stream by its signature; one question and one answer at a time, so that a
            // stream that hangs is noticed by the deadline of the call.
            let asks = self.request(tokio_stream::once(ask));
            let answers = grpc.streaming(asks, path_and_query, codec).await?;
            let answer = answers.into_inner().message().await?;
            return answer.ok_or_else(|| Status::unavailable("the stream ended without an answer"));
        }
        Ok(grpc.unary(self.request(ask), path_and_query, codec).await?.into_inner())
    }

    /// Opens a stream to the present member, whose number comes with it. The stream ends when
    /// the member has lost its leader.
    pub(crate) async fn stream<Q, A>(
        &self,
        path: &'static str,
        asks: impl Stream<Item = Q> + Send + 'static,
    ) -> (usize, Result<Streaming<A>, String>)
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (at, member) = self.current();
        let opened = async {
            self.login(member).await?;
            let mut grpc = self.grpc(member).await?;
            let mut asks = self.request(asks);
            let leader = MetadataValue::from_static("true");
            asks.metadata_mut().insert("hasleader", leader);
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            grpc.streaming(asks, PathAndQuery::from_static(path), codec).await
        };
        let opened = match timeout(self.attempt, opened).await {
            Ok(Ok(answers)) => Ok(answers.into_inner()),
            Ok(Err(status)) => {
                if matches!(verdict(status.clone()), Verdict::Login) {
                    *lock(&self.token) = None;
                }
                Err(said(&status))
            }
            Err(_) => Err(format!("nothing came within {:?}", self.attempt)),
        };
        (at, opened)
    }

    async fn grpc(&self, member: &Member) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(lock(&member.channel).clone());
        grpc.ready().await.map_err(|error| Status::unavailable(told(&error)))?;
        Ok(grpc)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &*lock(&self.token) {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Logs in when there is a password and no token yet.
    async fn login(&self, member: &Member) -> Result<(), Status> {
        let Some(Credentials { user, password }) = &self.credentials else { return Ok(()) };
        if lock(&self.token).is_some() {
            return Ok(());
        }
        let ask = AuthenticateRequest { name: user.clone(), password: password.clone() };
        let answer: AuthenticateResponse = self.once(member, path::AUTHENTICATE, ask).await?;
        let token = answer.token.parse();
        let token = token.map_err(|_| Status::internal("etcd gave a token that cannot be sent"))?;
        *lock(&self.token) = Some(token);
        Ok(())
    }
}

/// Why a call has no answer that is of use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody answered; what became of it is unknown.
    Silent(String),
    /// No member has a certificate that is trusted; nothing was asked.
    Untrusted(String),
    /// etcd refused it.
    Answered(Status),
}

impl Failure {
    /// In the words of the port, with what to do about it.
    pub(crate) fn told(&self) -> StoreError {
        match self {
            Self::Silent(why) | Self::Untrusted(why) => {
                StoreError::Unavailable { why: why.clone() }
            }
            Self::Answered(status) => StoreError::Refused { why: advice(status) },
        }
    }

    /// Whether etcd does not know the lease.
    pub(crate) fn is_unknown_lease(&self) -> bool {
        let Self::Answered(status) = self else { return false };
        status.code() == Code::NotFound && status.message().contains("lease not found")
    }

    /// Whether the lease exists already.
    pub(crate) fn is_known_lease(&self) -> bool {
        let Self::Answered(status) = self else { return false };
        status.code() == Code::FailedPrecondition && status.message().contains("lease already")
    }
}

fn verdict(status: Status) -> Verdict {
    let message = status.message();
    let login = status.code() == Code::Unauthenticated
        || message.contains("invalid auth token")
        || message.contains("revision of auth store is old");
    match status.code() {
        _ if login => Verdict::Login,
        Code::ResourceExhausted if message.contains("too many requests") => {
            Verdict::Elsewhere(said(&status))
        }
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted
        | Code::DataLoss => Verdict::Elsewhere(said(&status)),
        _ => Verdict::Final(status),
    }
}

/// What etcd refused, and what to do about it.
fn advice(status: &Status) -> String {
    let message = status.message();
    let next = if message.contains("user name is empty") {
        "it asks for a login: write etcd://user:password@host:port"
    } else if message.contains("authentication failed") {
        "check the user and the password in the URL"
    } else if message.contains("authentication is not enabled") {
        "it has no logins: take user:password@ out of the URL, or enable them in etcd"
    } else if status.code() == Code::PermissionDenied {
        "give the user's role readwrite permission on the prefix (etcdctl role \
         grant-permission ROLE readwrite --prefix=true tenure/)"
    } else if message.contains("space exceeded") {
        "its disk quota is used up: compact, defragment and disarm the alarm (etcdctl alarm \
         disarm)"
    } else if status.code() == Code::Unimplemented {
        "it needs etcd 3.4 or later with the v3 interface"
    } else {
        "see etcd's own log for more"
    };
    format!("{message}; {next}")
}

fn said(status: &Status) -> String {
    match status.source() {
        Some(_) => told(status),
        None => status.message().to_owned(),
    }
}

/// An error with whatever caused it.
fn told(error: &dyn core::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        cause = error.source();
    }
    told
}

fn settings(tls: &Tls, target: &Target) -> Result<ClientTlsConfig, ConnectError> {
    let read = |file: &String| {
        std::fs::read(file).map_err(|error| ConnectError::Unusable {
            store: target.shown(),
            why: format!("{file} cannot be read: {error}; it is named in the URL"),
        })
    };
    let mut settings = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &tls.identity {
        settings = settings.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(settings)
}
