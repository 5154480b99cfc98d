//! One Redis that fails while an election is held.

use tenure_testkit::{
    servers::Redis,
    suite::{never_two_leaders_through, silent_store_costs_the_lease},
};

use crate::{FLEETING, LASTING, program, store};

/// Longest lease of these tests, in milliseconds.
const TTL: u64 = 800;

fn through(options: &[&str], trouble: impl FnOnce(&mut Redis)) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut redis = Redis::start(dir.path(), options).expect("Redis");
    let store = store(redis.url(), TTL);
    never_two_leaders_through(&store, program(), "troubled", || trouble(&mut redis));
}

#[test]
fn killed_and_restarted_with_its_data() {
    through(&LASTING, |redis| {
        redis.kill();
        redis.restart().expect("Redis again");
    });
}

#[test]
fn killed_and_restarted_without_its_data() {
    through(&FLEETING, |redis| {
        redis.kill();
        redis.restart().expect("Redis again");
    });
}

/// The snapshot is older than the election: what was granted since is forgotten.
#[test]
fn killed_and_restarted_with_old_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ["save", "3600 100000", "appendonly", "no"];
    let mut redis = Redis::start(dir.path(), &options).expect("Redis");
    redis.ask(&["SET", "something", "old"]).expect("a write");
    redis.ask(&["SAVE"]).expect("a snapshot");
    let store = store(redis.url(), TTL);
    never_two_leaders_through(&store, program(), "troubled", || {
        redis.kill();
        redis.restart().expect("Redis again");
        assert_eq!(redis.ask(&["GET", "something"]).expect("an answer"), "old");
    });
}

#[test]
fn stopped_in_good_order_and_restarted() {
    through(&LASTING, |redis| {
        redis.stop();
        redis.restart().expect("Redis again");
    });
}

#[test]
fn restarted_again_and_again() {
    through(&FLEETING, |redis| {
        for _ in 0..5 {
            redis.kill();
            redis.restart().expect("Redis again");
            std::thread::sleep(std::time::Duration::from_millis(TTL / 3));
        }
    });
}

#[test]
fn flushed() {
    through(&FLEETING, |redis| {
        assert_eq!(redis.ask(&["FLUSHALL"]).expect("an answer"), "OK");
    });
}

#[test]
fn silent_for_longer_than_the_lease() {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path(), &FLEETING).expect("Redis");
    let store = store(redis.url(), TTL);
    silent_store_costs_the_lease(&store, program(), "silent", |signal| redis.signal(signal));
}
