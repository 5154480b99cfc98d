//! What every store must do, as functions that panic when it does not.
//!
//! Each takes the URL of a store and contends for elections of its own, so that they can share
//! one server. [`conforms`] runs all of them.

mod electors;
mod processes;
mod servers;

use std::{path::Path, time::Duration};

pub use electors::{
    hand_over_by_resigning, many_elections, observers_follow, only_one_of_many_leads,
    tokens_rise_over_tenures, withdrawing_leaves_the_queue,
};
pub use processes::{killed_holder_is_succeeded, paused_holder_notices_first, resigns_on_request};
pub use servers::{never_two_leaders_through, silent_store_costs_the_lease};

/// What the suite needs to know about a store.
#[derive(Debug, Clone)]
pub struct Store {
    /// Where it is.
    pub url: String,
    /// A lease that it can keep; the shorter, the faster the suite.
    pub ttl: Duration,
    /// A holder that is only paused loses its lease. False for kernel locks.
    pub expires: bool,
    /// The store holds elections of several processes.
    pub shared: bool,
}

/// Runs the whole suite. `program` is `env!("CARGO_BIN_EXE_testkit-candidate")`.
///
/// # Panics
/// When the store does not conform.
pub async fn conforms(store: &Store, program: &Path) {
    only_one_of_many_leads(store).await;
    tokens_rise_over_tenures(store).await;
    hand_over_by_resigning(store).await;
    withdrawing_leaves_the_queue(store).await;
    observers_follow(store).await;
    many_elections(store).await;
    if store.shared {
        killed_holder_is_succeeded(store, program);
        resigns_on_request(store, program);
        paused_holder_notices_first(store, program);
    }
}
