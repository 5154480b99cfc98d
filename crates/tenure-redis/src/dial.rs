//! How a connection to the primary is made.

use std::fmt;

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates, aio::MultiplexedConnection,
};

use crate::{
    health::Health,
    keys::Keys,
    location::{Address, Location, Place},
    scripts::Scripts,
    sentinel::Sentinels,
    trouble::{Trouble, understood},
};

/// A connection to one start of one primary.
pub(crate) struct Live {
    /// Counts the connections of this process.
    pub(crate) number: u64,
    pub(crate) address: Address,
    /// Which start of the server it is, by its own word.
    pub(crate) server: String,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) client: Client,
    pub(crate) health: Health,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, address, server, .. } = self;
        write!(f, "Live({number}, {address}, {server})")
    }
}

#[derive(Debug)]
pub(crate) struct Dialer {
    location: Location,
    keys: Keys,
    scripts: Scripts,
    certificates: Option<Vec<u8>>,
    pub(crate) sentinels: Option<Sentinels>,
    /// Longest wait for one answer.
    pub(crate) patience: Duration,
    connections: AtomicU64,
}

impl Dialer {
    /// Reads the certificates.
    pub(crate) fn new(
        location: Location,
        keys: Keys,
        scripts: Scripts,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let certificates = match &location.ca {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                Trouble::unusable(format!("cannot read the certificates in {path:?}: {error}"))
            })?),
        };
        let sentinels = match &location.place {
            Place::Server(_) => None,
            Place::Sentinels { at, name } => Some(Sentinels::new(at.clone(), name, patience)),
        };
        let connections = AtomicU64::new(0);
        Ok(Self { location, keys, scripts, certificates, sentinels, patience, connections })
    }

    /// Connects to the primary of this moment.
    pub(crate) async fn dial(&self) -> Result<Live, Trouble> {
        let address = match (&self.location.place, &self.sentinels) {
            (Place::Server(address), _) => address.clone(),
            (_, Some(sentinels)) => sentinels.primary().await?,
            (_, None) => return Err(Trouble::unusable("no sentinels are known")),
        };
        // One limit for all the round trips of the greeting.
        let greeting = tokio::time::timeout(self.patience * 2, self.greet(address.clone())).await;
        let greeting = greeting.unwrap_or_else(|_| Err(Trouble::silent("no answer in time")));
        greeting
            .map_err(|trouble| Trouble { why: format!("{address}: {}", trouble.why), ..trouble })
    }

    async fn greet(&self, address: Address) -> Result<Live, Trouble> {
        let client = self.client(&address)?;
        let config = config(self.patience);
        let trouble = |error| understood(&error).0;
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(trouble)?;
        let info: String =
            redis::cmd("INFO").query_async(&mut connection).await.map_err(trouble)?;
        let health = Health::read(&info);
        health.check()?;
        let mut hello = self.scripts.hello.prepare_invoke();
        hello.key(self.keys.witness());
        let said: Vec<String> = hello.invoke_async(&mut connection).await.map_err(trouble)?;
        let mut said = said.into_iter();
        let server = said.next().unwrap_or_default();
        if let Some(why) = said.next() {
            tracing::warn!(%address, %why, "Redis takes no writes");
        }
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Live { number, address, server, connection, client, health })
    }

    fn client(&self, address: &Address) -> Result<Client, Trouble> {
        let location = &self.location;
        let (host, port) = (address.host.clone(), address.port);
        let mut settings = RedisConnectionInfo::default().set_db(location.database);
        if let Some(user) = &location.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &location.password {
            settings = settings.set_password(&password.0);
        }
        let address = match location.tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let built = address.into_connection_info().and_then(|info| {
            let info = info.set_redis_settings(settings);
            match location.tls {
                false => Client::open(info),
                true => {
                    // Only the first call in a process has an effect; an application that chose
                    // another provider keeps it.
                    let _ = rustls::crypto::ring::default_provider().install_default();
                    let root_cert = self.certificates.clone();
                    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
                }
            }
        });
        built.map_err(|error| Trouble::unusable(format!("it cannot be connected to: {error}")))
    }
}

/// No answer is waited for longer than this.
pub(crate) fn config(patience: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(patience))
}
