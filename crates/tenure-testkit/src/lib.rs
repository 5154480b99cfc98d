//! One conformance suite for every store that can hold elections.
//!
//! A store is given as a URL; the [`suite`] contends for elections on it through the public face
//! of the library, with electors in this process and with candidates that are processes of
//! their own and can be killed, paused and woken. [`servers`] starts the real servers from
//! Debian's packages, isolated in a directory and on ports of their own.
//!
//! A test of the suite fails loudly when a server is not installed: nothing is skipped.

pub mod bench;
pub mod candidate;
pub mod proxy;
pub mod servers;
pub mod stall;
pub mod suite;

/// Longest wait for anything: a test that gets there has failed.
pub const PATIENCE: core::time::Duration = core::time::Duration::from_secs(30);
