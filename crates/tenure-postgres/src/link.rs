//! One connection: made, looked at, and driven until it breaks.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tenure_core::{
    ElectionName,
    backend::{ConnectError, Hints, StoreError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::AbortHandle,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Row,
    config::SslMode,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{sql::Sql, trouble};

/// Oldest server that understands the statements.
const OLDEST: i32 = 120_000;

/// A parameter of a statement.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How connections are made.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) config: Config,
    pub(crate) tls: TlsWay,
    pub(crate) sql: Arc<Sql>,
    pub(crate) hints: Arc<Mutex<Hints>>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) label: String,
    /// Longest wait for a connection.
    pub(crate) timeout: Duration,
}

/// Asks whether what is told on the channel arrives.
#[derive(Debug)]
pub(crate) struct Probe {
    /// No election has such a name.
    pub(crate) word: String,
    pub(crate) heard: Notify,
}

/// How it is encrypted.
#[derive(Clone)]
pub(crate) struct TlsWay(pub(crate) Option<MakeRustlsConnect>);

impl core::fmt::Debug for TlsWay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.is_some() { "rustls" } else { "plain" })
    }
}

/// What a server says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) fsync: bool,
    pub(crate) full_pages: bool,
    pub(crate) synchronous: bool,
}

/// The task that reads a connection; without it the connection is closed.
#[derive(Debug)]
struct Driver(AbortHandle);

/// A connection that works, until it says otherwise.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    driver: Driver,
    hints: Arc<Mutex<Hints>>,
    cut: AtomicBool,
    answered: Mutex<Instant>,
    pub(crate) server: Server,
}

impl Dial {
    /// Connects, and makes sure that this server can hold elections.
    pub(crate) async fn link(&self, listen: bool) -> Result<Link, ConnectError> {
        match tokio::time::timeout(self.timeout, self.connect(listen)).await {
            Ok(link) => link,
            Err(_) => Err(ConnectError::Unavailable {
                store: self.label.clone(),
                why: format!("no connection within {:?}; look at host and port", self.timeout),
            }),
        }
    }

    async fn connect(&self, listen: bool) -> Result<Link, ConnectError> {
        let failed = |error| trouble::of_connecting(&error, self.label.clone());
        let own = Arc::new(Mutex::new(0));
        let (client, driver) = match (&self.tls.0, self.config.get_ssl_mode()) {
            (Some(tls), mode) if mode != SslMode::Disable => {
                let (client, connection) =
                    self.config.connect(tls.clone()).await.map_err(failed)?;
                (client, self.drive(connection, &own))
            }
            _ => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
                (client, self.drive(connection, &own))
            }
        };
        let said = client.query_typed_one(&self.sql.server, &[]).await.map_err(failed)?;
        let server = self.judge(&said).map_err(|why| self.unusable(why))?;
        *locked(&own) = said.get("pid");
        if listen {
            let listen = format!("LISTEN \"{}\"", self.sql.channel);
            client.batch_execute(&listen).await.map_err(failed)?;
            // Whatever was told while nobody listened.
            locked(&self.hints).everything();
        }
        Ok(Link {
            client,
            driver,
            hints: Arc::clone(&self.hints),
            cut: AtomicBool::new(false),
            answered: Mutex::new(Instant::now()),
            server,
        })
    }

    pub(crate) fn unusable(&self, why: String) -> ConnectError {
        ConnectError::Unusable { store: self.label.clone(), why }
    }

    fn judge(&self, said: &Row) -> Result<Server, String> {
        let version: i32 = said.get("version");
        if version < OLDEST {
            return Err(format!(
                "it is version {}, and at least {} is needed",
                version / 10_000,
                OLDEST / 10_000
            ));
        }
        if said.get("recovering") || said.get("read_only") {
            return Err(String::from(trouble::STANDBY));
        }
        Ok(Server {
            fsync: said.get("fsync"),
            full_pages: said.get("full_pages"),
            synchronous: said.get("synchronous"),
        })
    }

    /// Reads what the server says, until the connection ends.
    fn drive<S, T>(&self, mut connection: Connection<S, T>, own: &Arc<Mutex<i32>>) -> Driver
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (hints, own) = (Arc::clone(&self.hints), Arc::clone(own));
        let probe = Arc::clone(&self.probe);
        let channel = self.sql.channel.clone();
        let drive = async move {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        let own = *locked(&own);
                        if told.channel() != channel || told.process_id() == own {
                            continue;
                        }
                        match ElectionName::new(told.payload()) {
                            Ok(election) => locked(&hints).changed(election),
                            Err(_) if told.payload() == probe.word => probe.heard.notify_one(),
                            // The probe of another process, or no word of ours at all.
                            Err(_) => {}
                        }
                    }
                    Some(Ok(message)) => tracing::debug!(?message, "the server says"),
                    Some(Err(error)) => {
                        tracing::debug!(error = trouble::chain(&error), "connection lost");
                        break;
                    }
                    None => break,
                }
            }
            // What was pushed on it may be missing.
            locked(&hints).everything();
        };
        Driver(tokio::spawn(drive).abort_handle())
    }
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        !self.cut.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Gives the connection up, and with it every answer that is on its way.
    fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.driver.0.abort();
        locked(&self.hints).everything();
    }

    /// Asks one statement; several may be under way. When nothing at all is answered for
    /// `patience`, the connection is given up.
    pub(crate) async fn ask(
        &self,
        statement: &str,
        params: &[Param<'_>],
        patience: Duration,
    ) -> Result<Vec<Row>, StoreError> {
        let asked = Instant::now();
        let query = self.client.query_typed(statement, params);
        tokio::pin!(query);
        loop {
            // Statements wait for each other: as long as any is answered, this one is only late.
            let silent_from = self.answered().max(asked);
            let wait = (silent_from + patience).saturating_duration_since(Instant::now());
            match tokio::time::timeout(wait, &mut query).await {
                Ok(answer) => {
                    *locked(&self.answered) = Instant::now();
                    return answer.map_err(|error| {
                        if trouble::is_fatal(&error) {
                            self.cut();
                        }
                        trouble::of_statement(&error)
                    });
                }
                Err(_) if self.answered() > silent_from => {}
                Err(_) => {
                    self.cut();
                    let why = format!("it said nothing for {patience:?}; the connection is closed");
                    return Err(StoreError::Unavailable { why });
                }
            }
        }
    }

    /// Several statements at once that need no answer.
    pub(crate) async fn batch(&self, statements: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(statements).await
    }

    fn answered(&self) -> Instant {
        *locked(&self.answered)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
