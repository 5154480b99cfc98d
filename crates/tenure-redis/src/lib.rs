//! Elections on Redis, alone or under Sentinel.
//!
//! One Lua script for each transition (`scripts/`), one multiplexed connection, one connection
//! for hints. What holds and what does not is said by [`connect`]ed stores in their
//! capabilities, and in words in `docs/stores/redis.md`.
//!
//! | our word | its thing |
//! |---|---|
//! | lease | `{tenure}:lease:NAME`, set with `PX`; says who holds it, with which token |
//! | token, fence mark | field `token` of `{tenure}:record:NAME`, raised in the script that grants |
//! | renewal | one script call for up to 500 holds of a session |
//! | hint | a message on `{tenure}:news:DB:NAME`; the end of a lease is the waiter's own timer |
//! | hand-over | `{tenure}:next:NAME` keeps the election for a quarter of the ttl |
//! | start of the server | `{tenure}:server`: for one ttl from its first sight nobody is elected |

mod capabilities;
mod dial;
mod health;
mod hints;
mod keys;
mod link;
mod location;
mod record;
mod scripts;
mod sentinel;
mod store;
mod trouble;

use std::sync::{Arc, Mutex};

use tenure_core::backend::{Backend, Connect, ConnectError};

use dial::Dialer;
use hints::Hints;
use keys::Keys;
use link::Link;
use location::Location;
use scripts::Scripts;
use store::{Memory, Store};

/// Making a connection takes several round trips, whatever the lease.
const SHORTEST_PATIENCE: core::time::Duration = core::time::Duration::from_millis(100);

/// Connects to Redis, and checks that it can hold leases.
///
/// URLs: `redis://user:password@host:port/database`, `rediss://...` for TLS,
/// `redis+sentinel://host:port,host:port/name/database`. Settings behind a question mark:
/// `prefix=` of the keys (default `tenure`), `ca=` file of certificates to trust for TLS.
///
/// # Errors
/// [`ConnectError`], with what to do about it: the URL is wrong, nobody answers, or who answers
/// cannot hold leases.
pub async fn connect(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let location = Location::parse(&connect.url)?;
    let store = location.place.to_string();
    let (keys, scripts) = (Keys::new(&location.prefix, location.database), Scripts::new());
    // An answer that comes later than this is of no use to a lease.
    let patience = (connect.timeout.min(connect.ttl.get()) * 3 / 4).max(SHORTEST_PATIENCE);
    let place = location.place.clone();
    let dialer = Dialer::new(location, keys.clone(), scripts.clone(), patience);
    let linked = match dialer {
        Ok(dialer) => Link::new(dialer).await,
        Err(trouble) => Err(trouble),
    };
    let (link, live) = linked.map_err(|trouble| trouble.of_connect(&store))?;
    let link = Arc::new(link);
    tracing::debug!(%store, version = live.health.version(), "connected");
    Ok(Arc::new(Store {
        hints: Hints::new(Arc::clone(&link), keys.clone()),
        link,
        keys,
        scripts,
        capabilities: capabilities::of(&place),
        memory: Mutex::new(Memory::default()),
    }))
}
