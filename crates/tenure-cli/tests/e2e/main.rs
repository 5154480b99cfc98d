//! End-to-end tests: real processes, real signals, real disks and sockets.
//!
//! One scenario per file. Each cluster judges when it ends that no two processes held the same
//! election at once and that tokens only went up (`support/exclusivity.rs`). Tests wait for
//! events, and compare times with the ttl or the election timeout of the same cluster.
// Helpers of tests may fail and print like tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod adaptive;
mod bad_usage;
mod candidates;
mod data_dirs;
mod dev;
mod directory;
mod examples;
mod fence_proxy;
mod hand_over;
mod latecomers;
mod leader_death;
mod majority_lost;
mod membership;
mod partitions;
mod plain_members;
mod quorum_leader_death;
mod realtime;
mod run_basics;
mod run_deaths;
mod run_files;
mod run_losses;
mod run_options;
mod run_places;
mod run_share;
mod sleepers;
mod strangers;
mod support;
mod zones;
