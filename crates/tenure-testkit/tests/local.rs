//! The stores that need no server: a directory, and this process.

use std::{path::Path, time::Duration};

use tenure_testkit::suite::{Store, conforms};

const CANDIDATE: &str = env!("CARGO_BIN_EXE_testkit-candidate");

#[tokio::test]
async fn a_directory_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}", dir.path().display());
    let ttl = Duration::from_millis(2000);
    let store = Store { url, ttl, expires: false, shared: true };
    conforms(&store, Path::new(CANDIDATE)).await;
}

#[tokio::test]
async fn this_process_conforms() {
    let url = String::from("mem://conforms");
    let ttl = Duration::from_millis(2000);
    let store = Store { url, ttl, expires: true, shared: false };
    conforms(&store, Path::new(CANDIDATE)).await;
}
