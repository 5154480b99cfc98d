//! Hard times on every store that is reached over a line: the line goes bad, and many come at
//! once.

use std::{path::Path, time::Duration};

use tenure_testkit::{
    proxy::Proxy,
    servers::{Etcd, Postgres, Redis, ZooKeeper},
    stall::steadily,
    suite::{Store, a_bad_line_makes_no_second_leader, holds_a_crowd, holds_a_thousand},
};

/// Of one election, at once.
const CANDIDATES: usize = 200;
/// Long enough for what a proxy and a busy disk add.
const TTL: Duration = Duration::from_secs(2);
/// Two hundred sessions begin within it, on two processors.
const CROWDED: Duration = Duration::from_secs(4);

fn store(url: String, ttl: Duration) -> Store {
    Store { url, ttl, expires: true, shared: true }
}

fn bad_line(url: &str, port: u16) {
    let program = Path::new(env!("CARGO_BIN_EXE_testkit-candidate"));
    steadily(TTL, |attempt| {
        let proxy = Proxy::before(port).expect("a proxy");
        let store = store(proxy.url(url, port), TTL);
        let election = format!("bad-line-{attempt}");
        a_bad_line_makes_no_second_leader(&store, program, &election, &proxy);
    });
}

fn redis(dir: &Path) -> Redis {
    Redis::start(dir, &["save", "", "appendonly", "no"]).expect("Redis")
}

/// With room for two connections of each of two hundred candidates.
fn postgres() -> Postgres {
    Postgres::start(&["max_connections=600"]).expect("PostgreSQL")
}

#[test]
fn a_bad_line_to_redis() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = redis(dir.path());
    bad_line(&redis.url(), redis.port());
}

#[test]
fn a_bad_line_to_etcd() {
    let dir = tempfile::tempdir().expect("a directory");
    let etcd = Etcd::start(dir.path(), 1).expect("etcd");
    bad_line(&etcd.url(), etcd.port());
}

#[test]
fn a_bad_line_to_zookeeper() {
    let dir = tempfile::tempdir().expect("a directory");
    let zookeeper = ZooKeeper::start(dir.path(), 1).expect("ZooKeeper");
    bad_line(&zookeeper.url(), zookeeper.port());
}

#[test]
fn a_bad_line_to_postgres() {
    let postgres = postgres();
    bad_line(&postgres.url(), postgres.port());
}

#[tokio::test]
async fn a_crowd_at_redis() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = redis(dir.path());
    holds_a_crowd(&store(redis.url(), CROWDED), CANDIDATES).await;
    holds_a_thousand(&store(redis.url(), CROWDED)).await;
}

#[tokio::test]
async fn a_crowd_at_etcd() {
    let dir = tempfile::tempdir().expect("a directory");
    let etcd = Etcd::start(dir.path(), 1).expect("etcd");
    holds_a_crowd(&store(etcd.url(), CROWDED), CANDIDATES).await;
    holds_a_thousand(&store(etcd.url(), CROWDED)).await;
}

#[tokio::test]
async fn a_crowd_at_zookeeper() {
    let dir = tempfile::tempdir().expect("a directory");
    let zookeeper = ZooKeeper::start(dir.path(), 1).expect("ZooKeeper");
    holds_a_crowd(&store(zookeeper.url(), CROWDED), CANDIDATES).await;
    holds_a_thousand(&store(zookeeper.url(), CROWDED)).await;
}

#[tokio::test]
async fn a_crowd_at_postgres() {
    let postgres = postgres();
    holds_a_crowd(&store(postgres.url(), CROWDED), CANDIDATES).await;
    holds_a_thousand(&store(postgres.url(), CROWDED)).await;
}

#[tokio::test]
async fn a_crowd_in_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}", dir.path().display());
    // Linux gives a user 128 places to wait at (fs.inotify.max_user_instances); each takes one.
    let store = Store { expires: false, ..store(url, CROWDED) };
    holds_a_crowd(&store, CANDIDATES / 4).await;
    holds_a_thousand(&store).await;
}

#[tokio::test]
async fn a_crowd_in_this_process() {
    let store = store(String::from("mem://crowd"), CROWDED);
    holds_a_crowd(&store, CANDIDATES).await;
    holds_a_thousand(&store).await;
}
