//! What this server promises, as it is set up.

use core::time::Duration;

use tenure_core::backend::{Capabilities, Guarantee};

use crate::link::Server;

/// Shorter leases would be lost to the first slow flush of a disk.
const SHORTEST_TTL: Duration = Duration::from_millis(100);

/// How hand-overs are told, as it was tried when the store was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    Heard,
    NotHeard,
    NotAsked,
}

pub(crate) fn capabilities(server: &Server, push: Push) -> Capabilities {
    let forgets = match (server.fsync, server.full_pages) {
        (true, true) => None,
        (false, _) => Some("fsync is off"),
        (true, false) => Some("full_page_writes is off"),
    };
    let one_holder = match forgets {
        Some(setting) => Guarantee::No(format!(
            "{setting} on the server: a crash of its host can forget leases that were granted"
        )),
        None => Guarantee::If(String::from(
            "nobody sets the server's clock forward while a lease is held (a candidate that \
             was waiting already is safe even then), nobody deletes rows, and after a failover \
             the old primary answers nobody any more",
        )),
    };
    let standby = match server.synchronous {
        true => "",
        false => " (standbys are asynchronous, and may have missed grants)",
    };
    Capabilities {
        store: String::from("postgres"),
        shortest_ttl: SHORTEST_TTL,
        ttl_step: Duration::from_millis(1),
        expired_by: String::from("the wall clock of the database server (clock_timestamp)"),
        one_holder,
        monotonic_token: Guarantee::If(format!(
            "after a failover{standby} or a restore the new server's clock is behind the old \
             one's by less than the longest ttl"
        )),
        pushed: match push {
            Push::Heard => Guarantee::Yes,
            Push::NotHeard => Guarantee::No(String::from(
                "what is told with NOTIFY does not arrive, as it is behind a transaction pooler; \
                 changes are found by asking. Connect to the server itself, or say listen=no",
            )),
            Push::NotAsked => Guarantee::No(String::from("the URL says listen=no")),
        },
        queue: false,
        transfer: true,
        pads_leases: false,
        expiry_delay: Duration::ZERO,
    }
}
