//! Redis, alone and under Sentinel.

mod backend;
mod errors;
mod failover;
mod partition;
mod restarts;
mod steady;

use std::{path::Path, time::Duration};

use tenure_testkit::suite::{Store, conforms};
use tenure_testkit::{servers::Redis, servers::Sentinels};

const CANDIDATE: &str = env!("CARGO_BIN_EXE_testkit-candidate");

/// Kept in memory only.
const FLEETING: [&str; 4] = ["save", "", "appendonly", "no"];
/// Every write is on the disk before it is answered.
const LASTING: [&str; 6] = ["save", "", "appendonly", "yes", "appendfsync", "always"];

fn store(url: String, ttl: u64) -> Store {
    Store { url, ttl: Duration::from_millis(ttl), expires: true, shared: true }
}

fn program() -> &'static Path {
    Path::new(CANDIDATE)
}

#[tokio::test]
async fn a_redis_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path(), &FLEETING).expect("Redis");
    conforms(&store(redis.url(), 600), program()).await;
}

#[tokio::test]
async fn redis_under_sentinel_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = Sentinels::start(dir.path()).expect("Redis under Sentinel");
    conforms(&store(group.url(), 800), program()).await;
}
