//! What Redis can promise.

use core::time::Duration;
use tenure_core::backend::{Capabilities, Guarantee};

use crate::location::Place;

/// Shortest lease: a round trip, and a pause of a busy Redis, must fit into it several times.
const SHORTEST: Duration = Duration::from_millis(100);
/// From the end of a lease until a waiter's own timer has asked for it.
const DELAY: Duration = Duration::from_millis(50);

pub(crate) fn of(place: &Place) -> Capabilities {
    let clock = "the wall clock of Redis is not set forward while a lease runs, nobody deletes \
                 or evicts single keys of it";
    let rest = match place {
        Place::Server(_) => {
            "and there is one Redis at this address: a cut-off primary beside a promoted replica \
             would elect a second leader (redis+sentinel:// closes that)"
        }
        // Replication is asynchronous: a lease or its end may be missing on a promoted replica.
        // Nobody is elected there for a ttl, and nothing that the old primary grants is believed
        // once a majority of the sentinels has named the new one. WAIT adds nothing to that.
        Place::Sentinels { .. } => {
            "and every candidate comes through these sentinels: then a failover is safe although \
             Redis replicates asynchronously"
        }
    };
    Capabilities {
        store: String::from("redis"),
        shortest_ttl: SHORTEST,
        ttl_step: Duration::from_millis(1),
        expired_by: String::from("the wall clock of the Redis server"),
        one_holder: Guarantee::If(format!("{clock}, {rest}")),
        monotonic_token: Guarantee::If(String::from(
            "Redis keeps its data, or its wall clock is not behind the last token: a token is at \
             least the time of its grant in microseconds",
        )),
        pushed: Guarantee::Yes,
        queue: false,
        transfer: true,
        pads_leases: false,
        expiry_delay: DELAY,
    }
}
