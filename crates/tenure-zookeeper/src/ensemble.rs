//! Connections to ZooKeeper: one for each of our sessions, and one that only reads.

use core::{future::Future, pin::Pin, time::Duration};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tenure_core::{
    SessionId,
    backend::{Hints, StoreError},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error, SessionInfo, StateWatcher};

/// Pause before an operation is repeated whose connection broke: the client library connects
/// anew by itself meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// How to reach the servers.
#[derive(Debug, Clone)]
struct Way {
    /// In the order in which this process tries them.
    servers: String,
    login: Option<String>,
}

type Sessions = BTreeMap<SessionId, Open>;

/// A session of ours.
#[derive(Debug)]
struct Open {
    client: Client,
    /// When its renewal was last asked for.
    renewed: Instant,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The servers, and what is open there.
#[derive(Debug)]
pub(crate) struct Ensemble {
    way: Way,
    /// Longest time for one operation.
    limit: Duration,
    /// After so long whatever a server was told about a session has reached the leader.
    pub(crate) report: Duration,
    sessions: Arc<Mutex<Sessions>>,
    /// The connection that only reads, and the length of its session.
    reader: tokio::sync::Mutex<Option<Client>>,
    reader_timeout: Duration,
    pub(crate) hints: Arc<Mutex<Hints>>,
}

impl Way {
    /// Opens a session of that length, or takes over one that exists.
    async fn connect(&self, length: Duration, of: Option<SessionInfo>) -> Result<Client, Error> {
        let mut connector = Client::connector()
            .with_session_timeout(length)
            // A quarter leaves time for two more servers before the session is lost.
            .with_connection_timeout(length / 4);
        if let Some(login) = &self.login {
            connector = connector.with_auth("digest", login.as_bytes());
        }
        if let Some(session) = of {
            connector = connector.with_session(session);
        }
        let servers = self.servers.clone();
        // Named as what it is: the compiler cannot tell by itself that it may be sent.
        let connecting: Connecting = Box::pin(async move { connector.connect(&servers).await });
        connecting.await
    }
}

/// Closes a session, however long that takes.
///
/// The library closes it when the last handle is dropped. If its connection breaks meanwhile it
/// connects anew, does not say so again, and keeps the session alive for ever. So a session
/// that is not closed in time is taken over by a new connection, and closed by that one.
async fn close(way: Way, mut client: Client) {
    let (session, length) = (client.session().clone(), client.session_timeout());
    loop {
        let mut states = client.state_watcher();
        drop(client);
        let closed = async { while !states.changed().await.is_terminated() {} };
        if timeout(length / 4, closed).await.is_ok() {
            return;
        }
        client = loop {
            match way.connect(length, Some(session.clone())).await {
                Ok(client) => break client,
                Err(Error::SessionExpired) => return,
                Err(error) => tracing::debug!(%error, "a session cannot be closed yet"),
            }
            sleep(PAUSE).await;
        };
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>>;

/// A failure, and what it means for the session.
pub(crate) fn told(error: &Error, session: Option<SessionId>) -> StoreError {
    let over = matches!(error, Error::SessionExpired | Error::SessionMoved | Error::ClientClosed);
    match (error, session) {
        (_, Some(session)) if over => StoreError::NoSession { session },
        // Not to be repeated on the same connection.
        (_, None) if over => {
            StoreError::Refused { why: format!("{error}; the next attempt connects anew") }
        }
        (Error::NoAuth | Error::AuthFailed, _) => StoreError::Refused {
            why: String::from(
                "this user may not write there; check the user and the password in the URL, and \
                 the ACLs of the nodes (getAcl in zkCli)",
            ),
        },
        (Error::QuotaExceeded, _) => StoreError::Refused {
            why: String::from("the quota of the nodes is used up (listquota in zkCli)"),
        },
        (Error::Unimplemented | Error::UnmarshalError { .. }, _) => {
            StoreError::Refused { why: format!("{error}; it needs ZooKeeper 3.5 or later") }
        }
        _ => StoreError::Unavailable { why: error.to_string() },
    }
}

impl Ensemble {
    pub(crate) fn new(
        servers: String,
        login: Option<String>,
        limit: Duration,
        report: Duration,
        reader_timeout: Duration,
    ) -> Self {
        Self {
            way: Way { servers, login },
            limit,
            report,
            sessions: Arc::default(),
            reader: tokio::sync::Mutex::new(None),
            reader_timeout,
            hints: Arc::default(),
        }
    }

    /// The user's nodes are the user's; without a login they are everybody's.
    pub(crate) fn options(&self, mode: CreateMode) -> CreateOptions<'static> {
        match self.way.login {
            Some(_) => mode.with_acls(Acls::creator_all()),
            None => mode.with_acls(Acls::anyone_all()),
        }
    }

    /// Opens a connection for a session, unless there is one.
    pub(crate) async fn open(
        &self,
        session: SessionId,
        ttl: Duration,
    ) -> Result<Client, StoreError> {
        if let Ok(client) = self.client(session) {
            return Ok(client);
        }
        let client = self.way.connect(ttl, None).await.map_err(|error| told(&error, None))?;
        if client.session_timeout() < ttl {
            let granted = client.session_timeout();
            let why = format!("it grants {granted:?} when asked for a session of {ttl:?}");
            return Err(StoreError::Refused { why });
        }
        let open = Open { client: client.clone(), renewed: Instant::now() };
        lock(&self.sessions).insert(session, open);
        tokio::spawn(self.mind(session, client.state_watcher(), ttl));
        Ok(client)
    }

    /// Tells when the session is gone, and lets it run out when it is not renewed any more: the
    /// library would keep it alive for as long as this process lives, and whoever has lost an
    /// election would hold it for ever.
    fn mind(
        &self,
        session: SessionId,
        mut states: StateWatcher,
        ttl: Duration,
    ) -> impl Future<Output = ()> + use<> {
        let (sessions, hints) = (Arc::clone(&self.sessions), Arc::clone(&self.hints));
        let way = self.way.clone();
        async move {
            loop {
                let renewed = lock(&sessions).get(&session).map(|open| open.renewed);
                // Closed by us: nobody wants to know.
                let Some(renewed) = renewed else { return };
                match timeout_at(renewed + ttl, states.changed()).await {
                    Ok(state) if state.is_terminated() => break,
                    Ok(_) => {}
                    Err(_) => {
                        let over = |open: &Open| open.renewed + ttl <= Instant::now();
                        if lock(&sessions).get(&session).is_some_and(over) {
                            break;
                        }
                    }
                }
            }
            let open = lock(&sessions).remove(&session);
            lock(&hints).gone(session);
            if let Some(Open { client, .. }) = open {
                close(way, client).await;
            }
        }
    }

    /// The connection of a session that is open.
    pub(crate) fn client(&self, session: SessionId) -> Result<Client, StoreError> {
        let sessions = lock(&self.sessions);
        let open = sessions.get(&session).filter(|open| is_alive(&open.client));
        open.map(|open| open.client.clone()).ok_or(StoreError::NoSession { session })
    }

    /// The same, for a renewal.
    pub(crate) fn renewed(&self, session: SessionId) -> Result<Client, StoreError> {
        if let Some(open) = lock(&self.sessions).get_mut(&session) {
            open.renewed = Instant::now();
        }
        self.client(session)
    }

    /// Ends the session, and waits until ZooKeeper has heard it; goes on trying when the caller
    /// has stopped waiting. As long as a session lives that nobody uses, its nodes hold up
    /// everybody else.
    pub(crate) async fn close(&self, session: SessionId) -> Result<(), StoreError> {
        let Some(open) = lock(&self.sessions).remove(&session) else { return Ok(()) };
        let closed = tokio::spawn(close(self.way.clone(), open.client));
        match timeout(self.limit, closed).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(StoreError::Unavailable {
                why: String::from("it does not confirm the end of the session"),
            }),
        }
    }

    /// A session that is over for us need not be over for ZooKeeper: when a frozen server wakes,
    /// it may take an older connection for the session's owner and refuse what comes on the
    /// present one ("session moved"), while that one keeps the session alive. Nobody would close
    /// it, and its nodes would hold up everybody.
    pub(crate) fn given_up(&self, error: StoreError) -> StoreError {
        if let StoreError::NoSession { session } = error
            && let Some(open) = lock(&self.sessions).remove(&session)
        {
            tokio::spawn(close(self.way.clone(), open.client));
        }
        error
    }

    /// The connection for reading; a new one when the former was lost.
    pub(crate) async fn reader(&self) -> Result<Client, StoreError> {
        let mut reader = self.reader.lock().await;
        if let Some(client) = reader.as_ref().filter(|client| is_alive(client)) {
            return Ok(client.clone());
        }
        let client = self
            .way
            .connect(self.reader_timeout, None)
            .await
            .map_err(|error| told(&error, None))?;
        *reader = Some(client.clone());
        Ok(client)
    }

    /// How long an operation may be repeated.
    pub(crate) fn patience(&self, session: Option<SessionId>) -> Patience {
        Patience { session, limit: self.limit, until: Instant::now() + self.limit }
    }
}

/// Repeats something whose connection broke, until its time is up. Everything that is done here
/// may be repeated. A macro, because a future made by an async closure cannot be sent between
/// threads as soon as it borrows anything.
macro_rules! persist {
    ($ensemble:expr, $session:expr, $work:expr) => {{
        let patience = $ensemble.patience($session);
        loop {
            match patience.bound($work).await {
                Ok(done) => break Ok(done),
                Err(error) => {
                    if let Err(error) = patience.again(error).await {
                        break Err($ensemble.given_up(error));
                    }
                }
            }
        }
    }};
}
pub(crate) use persist;

/// The time of one operation.
pub(crate) struct Patience {
    session: Option<SessionId>,
    limit: Duration,
    until: Instant,
}

impl Patience {
    /// One attempt.
    pub(crate) async fn bound<T>(
        &self,
        attempt: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, StoreError> {
        match timeout_at(self.until, attempt).await {
            Ok(result) => result.map_err(|error| told(&error, self.session)),
            Err(_) => {
                let why = format!("nothing came within {:?}", self.limit);
                Err(StoreError::Unavailable { why })
            }
        }
    }

    /// Pauses before the next attempt, when there is to be one.
    pub(crate) async fn again(&self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Unavailable { .. } if Instant::now() + PAUSE < self.until => {
                sleep(PAUSE).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}

fn is_alive(client: &Client) -> bool {
    !client.state().is_terminated()
}
