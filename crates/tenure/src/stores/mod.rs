//! Which store a URL names.

mod file;
mod mem;

use std::sync::Arc;

use tenure_core::backend::{Backend, Connect, ConnectError};

pub(crate) use file::Locks;

/// A store, and the locks in files that it keeps its holds by, when it does.
pub(crate) type Opened = (Arc<dyn Backend>, Option<Locks>);

/// Connects to the store that a URL names, and checks what the user demands of it.
pub(crate) async fn connect(connect: &Connect) -> Result<Opened, ConnectError> {
    let (url, required) = demands(&connect.url);
    let connect = Connect { url, ..connect.clone() };
    let (backend, locks) = if connect.url.starts_with("file://") {
        let (backend, locks) = file::connect(&connect)?;
        (backend, Some(locks))
    } else {
        (open(&connect).await?, None)
    };
    for name in required {
        backend.capabilities().require(&name).map_err(|why| ConnectError::Unusable {
            store: backend.capabilities().store.clone(),
            why: format!("the URL requires {name}, but {why}"),
        })?;
    }
    Ok((backend, locks))
}

async fn open(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let scheme = connect.url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("mem") => mem::connect(connect),
        #[cfg(feature = "etcd")]
        Some("etcd" | "etcds") => tenure_etcd::connect(connect).await,
        #[cfg(feature = "zookeeper")]
        Some("zk") => tenure_zookeeper::connect(connect).await,
        #[cfg(feature = "redis")]
        Some("redis" | "rediss" | "redis+sentinel") => tenure_redis::connect(connect).await,
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => tenure_postgres::connect(connect).await,
        Some(scheme) if left_out(scheme).is_some() => Err(ConnectError::Url {
            what: format!("{scheme}://..."),
            why: format!(
                "this build was made without {feature}: build the command with --features stores, \
                 or the library with its feature {feature}",
                feature = left_out(scheme).unwrap_or_default(),
            ),
        }),
        Some(scheme) => Err(ConnectError::Url {
            what: format!("{scheme}://..."),
            why: format!("there is no store of that kind in this build; known are: {}", known()),
        }),
        // Not repeated: it may hold anything, secrets too.
        None => Err(ConnectError::Url {
            what: String::from("this URL"),
            why: format!("it has no scheme; known are: {}", known()),
        }),
    }
}

/// The feature that a scheme would need; asked only when this build has no arm for it.
fn left_out(scheme: &str) -> Option<&'static str> {
    match scheme {
        "etcd" | "etcds" => Some("etcd"),
        "zk" => Some("zookeeper"),
        "redis" | "rediss" | "redis+sentinel" => Some("redis"),
        "postgres" | "postgresql" => Some("postgres"),
        _ => None,
    }
}

fn known() -> String {
    let mut known = vec!["file:///directory", "mem://name"];
    if cfg!(feature = "postgres") {
        known.push("postgres://user@host/database");
    }
    if cfg!(feature = "quorum") {
        known.insert(0, "tenure://host:port,host:port");
    }
    if cfg!(feature = "etcd") {
        known.push("etcd://host:port,host:port");
    }
    if cfg!(feature = "zookeeper") {
        known.push("zk://host:port,host:port/path");
    }
    if cfg!(feature = "redis") {
        known.push("redis://host:port");
        known.push("redis+sentinel://host:port,host:port/name");
    }
    known.join(", ")
}

/// Takes `require=a,b` out of a URL.
fn demands(url: &str) -> (String, Vec<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), Vec::new()) };
    let (mut required, mut rest) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("require=") {
            Some(names) => required.extend(names.split(',').map(str::to_owned)),
            None => rest.push(pair),
        }
    }
    let url = match rest.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", rest.join("&")),
    };
    (url, required)
}

/// What a quorum of Tenure nodes promises.
#[cfg(feature = "quorum")]
pub(crate) fn quorum_capabilities() -> tenure_core::backend::Capabilities {
    use core::time::Duration;
    use tenure_core::{
        backend::{Capabilities, Guarantee},
        timing::Ttl,
    };
    Capabilities {
        store: String::from("tenure"),
        shortest_ttl: Ttl::MIN.get(),
        ttl_step: Duration::from_millis(1),
        expired_by: String::from("the Raft leader's CLOCK_BOOTTIME"),
        one_holder: Guarantee::Yes,
        monotonic_token: Guarantee::Yes,
        pushed: Guarantee::Yes,
        queue: true,
        transfer: true,
        pads_leases: true,
        // A lease may be lengthened once more by a change of the Raft leader.
        expiry_delay: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_are_taken_out_of_the_url() {
        let (url, required) = demands("redis://h:1/0?a=b&require=push,queue&c=d");
        assert_eq!(url, "redis://h:1/0?a=b&c=d");
        assert_eq!(required, ["push", "queue"]);
        assert_eq!(demands("file:///d?require=push").0, "file:///d");
    }
}
