//! `postgres://`: elections on PostgreSQL.
//!
//! A row per election, which is never deleted, says who holds it with which token until when;
//! the database's clock judges. Grants, renewals and releases are single statements, so they
//! need no session and survive transaction poolers; each waits for the disk even where
//! `synchronous_commit` is off.
//!
//! | our word | its thing |
//! |---|---|
//! | lease | `expires_at` of the election's row, compared with `clock_timestamp()` |
//! | token | a number in that row: the last revision plus one, or the microseconds of the clock if that is more, written by the statement that grants |
//! | renewal | one `UPDATE` for everything that a session holds |
//! | hint | `NOTIFY` after a grant or a hand-over, never after a renewal |
//! | failover | the timeline of the server's history; after it has changed, nothing is granted for the longest ttl |

mod address;
mod clock;
mod guarantees;
mod jumps;
mod lane;
mod link;
mod schema;
mod sql;
mod store;
mod tls;
mod trouble;

use std::sync::{Arc, Mutex};

use core::time::Duration;
use tenure_core::backend::{Backend, Connect, ConnectError};
use tokio::sync::Notify;
use tokio_postgres::{config::SslMode, types::Type};

use address::Address;
use guarantees::Push;
use lane::Lane;
use link::{Dial, Probe, TlsWay};
use sql::Sql;
use store::{Inner, Postgres};

/// The tables as SQL, for whoever may make them: `schema` and `table` as in the URL.
///
/// # Errors
/// [`ConnectError::Url`] as [`connect`] gives it, when the URL cannot be used.
pub fn migrations(url: &str) -> Result<String, ConnectError> {
    let address = Address::parse(url)?;
    Ok(Sql::on(&address.schema, &address.table).schema)
}

/// Connects to a database, and makes the tables when they are missing.
///
/// The URL is libpq's (`postgres://user@host1,host2/database?sslmode=verify-full`), with these
/// parameters besides: `schema` (`public`), `table` (`tenure_lease`), `migrate` (`yes`; `no`:
/// missing tables are an error that tells the SQL), `listen` (`yes`; `no`: changes are found by
/// asking). A password that is not in the URL is taken from `PGPASSWORD`.
///
/// The runtime that this is called on keeps the connections going.
///
/// # Errors
/// [`ConnectError`] says what is wrong, why, and what to do about it.
pub async fn connect(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let mut address = Address::parse(&connect.url)?;
    if address.config.get_password().is_none()
        && let Ok(password) = std::env::var("PGPASSWORD")
    {
        address.config.password(password);
    }
    if address.config.get_tcp_user_timeout().is_none() {
        address.config.tcp_user_timeout(connect.timeout);
    }
    let label = address.label();
    let tls = match address.config.get_ssl_mode() {
        SslMode::Disable => None,
        _ => Some(tls::connector(&address).map_err(|why| {
            let store = label.clone();
            ConnectError::Unusable { store, why }
        })?),
    };
    let (sql, hints) = (Arc::new(Sql::on(&address.schema, &address.table)), Arc::default());
    let word = format!("?{:016x}", connect.process.get());
    let dial = Arc::new(Dial {
        config: address.config,
        tls: TlsWay(tls),
        sql: Arc::clone(&sql),
        hints: Arc::clone(&hints),
        probe: Arc::new(Probe { word, heard: Notify::new() }),
        label,
        timeout: connect.timeout,
    });
    // Half a lease: a slow disk is not cut off, and a connection that is dead leaves time for
    // another one to save the lease, which is renewed every quarter.
    let patience = (connect.ttl.get() / 2).max(Duration::from_millis(30)).min(connect.timeout);
    let renewals = Lane::new(&dial, false, patience);
    let work = Lane::new(&dial, address.listen, patience);
    let link = work.link().await?;
    schema::prepare(&dial, &link, address.migrate).await?;
    renewals.link().await?;
    let push = match address.listen {
        true => try_push(&dial, &renewals, connect.timeout.min(connect.ttl.get())).await,
        false => Push::NotAsked,
    };
    if push == Push::Heard {
        renewals.is_direct();
        work.is_direct();
    }
    let inner = Inner {
        capabilities: guarantees::capabilities(&link.server, push),
        sql,
        hints,
        renewals,
        work,
        // The server gives a statement up before the connection is.
        lock_wait: format!("{}ms", patience.as_millis() * 3 / 4),
        jumps: Mutex::default(),
        outbox: Mutex::default(),
    };
    Ok(Arc::new(Postgres(Arc::new(inner))))
}

/// Tells something on one connection, and sees whether it arrives on the other. Behind a
/// transaction pooler it does not.
async fn try_push(dial: &Dial, renewals: &Lane, wait: Duration) -> Push {
    let words = vec![dial.probe.word.as_str()];
    let params = [(&dial.sql.channel as _, Type::TEXT), (&words as _, Type::TEXT_ARRAY)];
    if renewals.ask(&dial.sql.hint, &params).await.is_err() {
        return Push::NotHeard;
    }
    match tokio::time::timeout(wait, dial.probe.heard.notified()).await {
        Ok(()) => Push::Heard,
        Err(_) => Push::NotHeard,
    }
}
