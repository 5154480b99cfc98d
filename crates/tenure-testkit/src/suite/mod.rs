//! What every store must do, as functions that panic when it does not.
//!
//! Each takes the URL of a store and contends for elections of its own, so that they can share
//! one server. [`conforms`] runs all of them.

mod crowds;
mod electors;
mod families;
mod lines;
mod processes;
mod servers;

use std::{path::Path, time::Duration};

use crate::stall::{steadily, steadily_async};

pub use crowds::{a_crowd_is_led_by_one, a_thousand_elections_on_one_session};
pub use electors::{
    duplicates_never_lead_together, hand_over_by_resigning, hand_over_to_a_named_candidate,
    many_elections, observers_follow, only_one_of_many_leads, slots_are_taken_once,
    tokens_rise_over_tenures, withdrawing_leaves_the_queue,
};
pub use families::a_family_is_shared_evenly;
pub use lines::a_bad_line_makes_no_second_leader;
pub use processes::{
    a_proved_death_is_succeeded_at_once, killed_holder_is_succeeded, paused_holder_notices_first,
    resigns_on_request,
};
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

/// Runs a scenario of the suite as often as the machine makes it necessary.
macro_rules! steady {
    ($store:expr; $($scenario:ident),+) => {
        $(steadily_async($store.ttl, |_| {
            let store = $store.clone();
            async move { $scenario(&store).await }
        })
        .await;)+
    };
}

/// Runs the whole suite. `program` is `env!("CARGO_BIN_EXE_testkit-candidate")`.
///
/// # Panics
/// When the store does not conform.
pub async fn conforms(store: &Store, program: &Path) {
    steady!(store;
        only_one_of_many_leads, tokens_rise_over_tenures, hand_over_by_resigning,
        hand_over_to_a_named_candidate, withdrawing_leaves_the_queue, observers_follow,
        many_elections, slots_are_taken_once, duplicates_never_lead_together,
        a_family_is_shared_evenly
    );
    if store.shared {
        steadily(store.ttl, |attempt| killed_holder_is_succeeded(store, program, attempt));
        steadily(store.ttl, |attempt| a_proved_death_is_succeeded_at_once(store, program, attempt));
        steadily(store.ttl, |attempt| resigns_on_request(store, program, attempt));
        steadily(store.ttl, |attempt| paused_holder_notices_first(store, program, attempt));
    }
}

/// Runs the part of the suite that needs a server with some room: so many candidates of one
/// election. `store.ttl` is a lease that lasts while they all start.
///
/// # Panics
/// When the store does not conform.
pub async fn holds_a_crowd(store: &Store, candidates: usize) {
    steadily_async(store.ttl, |_| {
        let store = store.clone();
        async move { a_crowd_is_led_by_one(&store, candidates).await }
    })
    .await;
}

/// The same with a thousand elections of one candidate, for a store that grants them well within
/// `store.ttl`.
///
/// # Panics
/// When the store does not conform.
pub async fn holds_a_thousand(store: &Store) {
    steady!(store; a_thousand_elections_on_one_session);
}
