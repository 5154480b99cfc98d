//! Ports on the loopback that nobody uses.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ports that the kernel gives out by itself and that `tenure dev` takes, so that a
/// port stays free while its node is down.
const RANGE: std::ops::Range<u32> = 10_000..19_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A free address; no other call of this process gives the same one.
pub(crate) fn free_address() -> String {
    let span = RANGE.end - RANGE.start;
    // Several test processes begin at different places.
    let start = std::process::id().wrapping_mul(7919) % span;
    for _ in 0..span {
        let port = RANGE.start + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {} to {}", RANGE.start, RANGE.end);
}
