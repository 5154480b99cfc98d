//! Tests of the two machines of the core, the ledger and the contender, through their public
//! face: scripts with recorded output, random command sequences, and both machines in one
//! closed loop.

// Helpers of tests outside of a `#[test]` function are not seen as tests by these lints.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bounds;
mod closed_loop;
mod contender_script;
mod lease_store;
mod ledger_model;
mod ledger_properties;
mod ledger_script;
mod script;
