//! Elections on etcd.
//!
//! | our word | etcd's thing |
//! |---|---|
//! | session | a lease, its id computed from the session's |
//! | candidacy | a key of its own on that lease, `tenure/ELECTION#LEASE.NUMBER` |
//! | leader | the key of an election that was created first |
//! | token | that key's create revision |
//! | renewal | `LeaseKeepAlive`, and a linearizable look at the keys of what is held |
//! | resignation | the key is deleted |
//! | hint | one watch over the prefix, resumed from the revision after the last event |
//!
//! The client underneath is our own and small: the messages are written by hand, so that nobody
//! needs `protoc`, and every call has a deadline and moves on to the next member by itself.

mod claims;
mod client;
mod keys;
mod sights;
mod store;
mod url;
mod watch;
mod wire;

use core::time::Duration;
use std::sync::Arc;

use tenure_core::{
    SessionId,
    backend::{Backend, Capabilities, Connect, ConnectError, Guarantee, StoreError},
};

use client::{Client, Failure};
use keys::{Keys, lease_of};
use store::{Etcd, Shared};
use url::Target;
use wire::{
    Ask, GrantRequest, GrantResponse, PutRequest, RevokeRequest, RevokeResponse, StatusRequest,
    StatusResponse, path,
};

/// How long etcd may take from the end of a lease to the deletion of its keys: it looks for
/// leases that have run out every half a second.
const EXPIRY_DELAY: Duration = Duration::from_secs(1);

/// Connects to etcd, and finds out what it grants.
///
/// # Errors
/// [`ConnectError`], with what to do about it: a URL that cannot be used, nobody there, a wrong
/// password, a missing permission, something else than etcd.
pub async fn connect(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let target = Target::parse(&connect.url)?;
    // A little less than what the caller waits, so that the reason is heard and not only that
    // there was no answer.
    let limit = connect.timeout.min(connect.ttl.get()) * 9 / 10;
    let shared =
        Arc::new(Shared::new(Client::new(&target, limit)?, Keys::below(target.prefix.clone())));
    let begun = tokio::time::Instant::now();
    let shortest = loop {
        match probe(&shared, connect).await {
            Ok(shortest) => break shortest,
            Err(Failure::Answered(status)) => {
                let StoreError::Refused { why } = Failure::Answered(status).told() else {
                    continue;
                };
                return Err(ConnectError::Unusable { store: target.shown(), why });
            }
            Err(Failure::Untrusted(why)) => {
                let why = format!("{why}; ?ca=FILE names the certificates to trust");
                return Err(ConnectError::Unusable { store: target.shown(), why });
            }
            Err(Failure::Silent(why)) if begun.elapsed() + limit > connect.timeout => {
                return Err(ConnectError::Unavailable { store: target.shown(), why: away(&why) });
            }
            Err(Failure::Silent(_)) => {}
        }
    };
    let beat = (connect.ttl.get() / 4).max(shared.client.attempt);
    let watch = tokio::spawn(watch::watch(Arc::clone(&shared), beat));
    Ok(Arc::new(Etcd::new(shared, capabilities(shortest), watch)))
}

/// Asks for the shortest lease there is and writes a key on it: what etcd raises it to is the
/// shortest that it grants, and who may do that may hold elections.
async fn probe(shared: &Shared, connect: &Connect) -> Result<Duration, Failure> {
    let status: StatusResponse = shared.client.call(path::STATUS, StatusRequest {}).await?;
    if is_too_old(&status.version) {
        let why = format!("it is etcd {}", status.version);
        return Err(Failure::Answered(tonic::Status::unimplemented(why)));
    }
    // No session has the number 0.
    let id = lease_of(SessionId { process: connect.process, number: 0 });
    let granted: Result<GrantResponse, _> =
        shared.client.call(path::GRANT, GrantRequest { ttl: 1, id }).await;
    let ttl = match granted {
        Ok(granted) => granted.ttl,
        // An earlier attempt left it behind.
        Err(failure) if failure.is_known_lease() => {
            revoke(shared, id).await?;
            let again = GrantRequest { ttl: 1, id };
            let granted: GrantResponse = shared.client.call(path::GRANT, again).await?;
            granted.ttl
        }
        Err(failure) => return Err(failure),
    };
    // Not in the form of a candidacy, so nobody takes it for one.
    let mut key = shared.keys.all().0;
    key.extend(format!("#probe-{id:016x}").into_bytes());
    let put = PutRequest { key, value: Vec::new(), lease: id };
    let written = shared.txn(vec![Ask::Put(put)]).await;
    revoke(shared, id).await?;
    written?;
    Ok(Duration::from_secs(u64::try_from(ttl).unwrap_or(0).max(1)))
}

async fn revoke(shared: &Shared, id: i64) -> Result<(), Failure> {
    let revoked: Result<RevokeResponse, _> =
        shared.client.call(path::REVOKE, RevokeRequest { id }).await;
    match revoked {
        Err(failure) if !failure.is_unknown_lease() => Err(failure),
        _ => Ok(()),
    }
}

/// Before 3.4, a watch cannot be asked how far it has come.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (3, 4)
}

fn away(why: &str) -> String {
    let next = if why.contains("refused") {
        "is it running, and is the port right?"
    } else if why.contains("http2") || why.contains("frame") || why.contains("broken pipe") {
        "something else than etcd may be listening there, or etcd with TLS (then write etcds://)"
    } else {
        "is it running, and has it a quorum?"
    };
    format!("{why}; {next}")
}

fn capabilities(shortest: Duration) -> Capabilities {
    Capabilities {
        store: String::from("etcd"),
        shortest_ttl: shortest,
        ttl_step: Duration::from_secs(1),
        expired_by: String::from("the monotonic clock of etcd's leader"),
        one_holder: Guarantee::If(String::from(
            "no leader of etcd stalls for more than an election timeout and goes on as if it \
             still led (etcd issue 15247), and nobody else writes below the prefix",
        )),
        monotonic_token: Guarantee::If(String::from(
            "etcd is not restored from a backup, and no majority of its members loses its disks",
        )),
        pushed: Guarantee::Yes,
        queue: true,
        transfer: false,
        pads_leases: false,
        expiry_delay: EXPIRY_DELAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_too_old("3.3.27") && is_too_old("2.9.1") && is_too_old(""));
        assert!(!is_too_old("3.4.23") && !is_too_old("3.10.0") && !is_too_old("4.0.0"));
    }
}
