//! Elections on PostgreSQL: a server from Debian's packages, and what can happen to it.

#[path = "postgres/clock.rs"]
mod clock;
#[path = "postgres/outage.rs"]
mod outage;
#[path = "postgres/pooler.rs"]
mod pooler;
#[path = "postgres/refused.rs"]
mod refused;

use std::{path::Path, time::Duration};

use tenure::Elector;
use tenure_testkit::{
    candidate::Candidate,
    servers::Postgres,
    suite::{Store, conforms},
};

/// A flush of a busy machine's disk can take half a second.
const TTL: Duration = Duration::from_millis(1500);

fn server() -> Postgres {
    Postgres::start(&[]).unwrap_or_else(|error| panic!("{error}"))
}

fn candidate(url: &str, election: &str, id: &str, ttl: Duration) -> Candidate {
    let program = Path::new(env!("CARGO_BIN_EXE_testkit-candidate"));
    let candidate = Candidate::start(program, url, election, id, ttl);
    candidate.unwrap_or_else(|error| panic!("{error}"))
}

async fn connected(url: &str) -> Elector {
    let elector = Elector::builder().ttl(TTL).connect(url).await;
    elector.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_database_conforms() {
    let server = server();
    let url = server.url();
    let store = Store { url, ttl: TTL, expires: true, shared: true };
    conforms(&store, Path::new(env!("CARGO_BIN_EXE_testkit-candidate"))).await;
    let rows = server.sql("SELECT count(*) FROM tenure_lease").expect("rows");
    assert_ne!(rows, "0", "rows are never deleted");
}

#[tokio::test]
async fn starters_that_come_at_once_make_the_tables_once() {
    let server = server();
    for table in ["first", "second", "third"] {
        let url = format!("{}&table={table}", server.url());
        let starters: Vec<_> = (0..16).map(|_| tokio::spawn(later(url.clone()))).collect();
        for starter in starters {
            let elector = starter.await.expect("a starter");
            assert!(elector.capabilities().pushed.is_certain(), "{:?}", elector.capabilities());
        }
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.sql(tables).expect("a count"), "6");
}

async fn later(url: String) -> Elector {
    connected(&url).await
}

#[tokio::test]
async fn a_lease_is_kept_although_commits_do_not_wait_for_the_disk_by_default() {
    let server = server();
    server.sql("ALTER SYSTEM SET synchronous_commit = off").expect("a setting");
    server.sql("SELECT pg_reload_conf()").expect("a reload");
    let holder = candidate(&server.url(), "durable", "a", TTL * 4);
    let token = holder.says("elected").token;
    // What is not on the disk yet is lost with a server that crashes at once.
    let mut server = server;
    server.crash();
    server.restart().expect("a server");
    let stored = server.sql("SELECT token FROM tenure_lease WHERE election = 'durable'");
    assert_eq!(stored.expect("a row"), token.to_string());
}

#[tokio::test]
async fn renewals_tell_nobody() {
    let server = server();
    let elector = connected(&server.url()).await;
    let mut campaign = elector.campaign("quiet", "a").start().expect("a campaign");
    let expires = "SELECT expires_at FROM tenure_lease WHERE election = 'quiet'";
    let leadership = campaign.elected().await.expect("leadership");
    let (mut renewed, mut last) = (0, server.sql(expires).expect("a row"));
    let heard = listen(&server, || {
        while renewed < 8 {
            let now = server.sql(expires).expect("a row");
            renewed += usize::from(now != last);
            last = now;
        }
    });
    assert!(heard <= 1, "{heard} notifications in {renewed} renewals");
    assert!(leadership.check().is_ok());
    // The same listener does hear what there is to hear.
    let heard = listen(&server, || {
        drop(leadership);
        while !server.sql(&format!("{expires} AND expires_at > 'epoch'")).expect("a row").is_empty()
        {
        }
    });
    assert_eq!(heard, 1, "a resignation is told once");
}

/// How many notifications psql hears while something goes on.
fn listen(server: &Postgres, work: impl FnOnce()) -> usize {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "postgres", "-p"])
        .arg(server.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = psql.stdin.take().expect("an input");
    input.write_all(b"LISTEN \"public.tenure_lease\";\n").expect("a listener");
    input.flush().expect("a listener");
    let listens = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' \
                   AND state = 'idle' AND query LIKE 'LISTEN%'";
    while server.sql(listens).expect("a count") != "1" {}
    work();
    // psql looks for notifications whenever it has run something; a hint comes right behind
    // what it is about.
    input.write_all(b"SELECT pg_sleep(0.3);\n").expect("a listener");
    drop(input);
    let said = psql.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines().filter(|line| line.contains("Asynchronous notification")).count()
}
