//! A simulator that hunts for two leaders: whole clusters on one thread, from one seed, in
//! virtual true time, running the real replica, ledger and contender.
//!
//! - `world`: hosts with clocks of their own rate, connections, disks, processes, operators;
//! - `faults`: what goes wrong, drawn from the seed, and counted;
//! - `invariants`: one file per promise, checked by true time;
//! - `mutant`: known bugs, each of which must be caught;
//! - `stores`: the contender and the registrar over modelled stores of leases;
//! - [`run`] and [`run_store`]: one seed; [`hunt`]: many of them; [`Report`]: what they gave;
//! - [`scale`]: a healthy cluster with very many sessions, and what it costs the host.
//!
//! **Invariant:** everything follows from the seed: no clock of the machine, no thread's order
//! and no hash map's order reaches a run. Two runs of one seed have the same hash of all events.

mod chance;
mod clock;
mod event;
mod faults;
mod hunt;
mod invariants;
mod mutant;
mod partition;
mod report;
mod run;
mod scale;
mod stores;
mod trace;
mod world;

pub use faults::{Counts, Kind};
pub use hunt::hunt;
pub use invariants::Violation;
pub use mutant::Mutant;
pub use partition::{ELECTION_TIMEOUT_MS, Partition, Recovery, partition};
pub use report::Report;
pub use run::{Outcome, run};
pub use scale::{Grown, Meter, Part, Size, scale};
pub use stores::{Store, StoreMutant, run_store};
