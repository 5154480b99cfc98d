//! What must hold when the line to a store goes bad: cut, cut in the middle of a request, slow,
//! answers lost after the request took effect.

use std::{path::Path, time::Duration};

use super::{Store, servers::never_two_leaders_afar_through};
use crate::proxy::Proxy;

/// Requests that fail in each way, before the line is good again.
const FAULTS: u32 = 3;

/// Both candidates reach the store through `proxy`, and every kind of fault happens to them:
/// there are never two leaders, tokens never fall, and afterwards the election goes on.
///
/// # Panics
/// When that is not so, or when a fault did not happen.
pub fn a_bad_line_makes_no_second_leader(
    store: &Store,
    program: &Path,
    election: &str,
    proxy: &Proxy,
) {
    never_two_leaders_afar_through(store, program, election, || {
        let before = proxy.happened();
        for round in 0..2 {
            proxy.cut();
            std::thread::sleep(store.ttl / 4);
            // The moment between two requests is as good as any: renewals go on meanwhile.
            proxy.lose_answers(FAULTS);
            wait_for(proxy, before + (2 * round + 1) * FAULTS, store);
            proxy.cut_in_the_middle(FAULTS);
            wait_for(proxy, before + (2 * round + 2) * FAULTS, store);
            proxy.slow(store.ttl / 16);
            std::thread::sleep(store.ttl);
            proxy.slow(Duration::ZERO);
        }
        // Slower than any lease lasts: whoever leads must say that it has lost.
        proxy.slow(store.ttl * 2);
        std::thread::sleep(store.ttl * 3);
        proxy.slow(Duration::ZERO);
        proxy.cut();
    });
}

/// Both candidates ask again and again, so every fault finds its request.
fn wait_for(proxy: &Proxy, happened: u32, store: &Store) {
    let begun = std::time::Instant::now();
    while proxy.happened() < happened {
        assert!(begun.elapsed() < store.ttl * 20, "nobody asks the store anything any more");
        std::thread::sleep(Duration::from_millis(5));
    }
}
