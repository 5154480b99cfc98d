//! What cannot be used is refused at once, with what is wrong and what to do.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use tenure::{ConnectError, Elector, Error};
use tenure_testkit::servers::Postgres;

use super::{TTL, server};

async fn why(url: &str) -> (bool, String) {
    let builder = Elector::builder().ttl(TTL).timeout(Duration::from_secs(3));
    match builder.connect(url).await {
        Err(Error::Store(error)) => {
            (matches!(error, ConnectError::Unavailable { .. }), error.to_string())
        }
        other => panic!("{url}: {other:?}"),
    }
}

fn says(said: &(bool, String), retry: bool, words: &[&str]) {
    for word in words {
        assert!(said.1.contains(word), "{word:?} is missing in: {}", said.1);
    }
    assert_eq!(said.0, retry, "{}", said.1);
}

#[tokio::test]
async fn tables_that_are_missing_or_somebody_elses() {
    let server = server();
    let said = why(&format!("{}&migrate=no&table=none", server.url())).await;
    says(&said, false, &["public.none", "migrate=no", "CREATE TABLE IF NOT EXISTS public.none"]);
    server.sql("CREATE TABLE jobs (id integer)").expect("a table");
    let said = why(&format!("{}&table=jobs", server.url())).await;
    says(&said, false, &["public.jobs", "not one of Tenure", "no column election", "table=NAME"]);
    assert_eq!(
        server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").expect("tables"),
        "1",
        "something was made"
    );
    let said = why(&format!("{}&schema=nowhere", server.url())).await;
    says(&said, false, &["nowhere", "schema=NAME"]);
}

#[tokio::test]
async fn the_printed_sql_is_what_it_takes() {
    let server = server();
    let url = format!("{}&table=printed", server.url());
    let script = tenure_postgres::migrations(&url).expect("a script");
    // Twice: it changes nothing that is there.
    for _ in 0..2 {
        server.sql(&script).expect("tables");
    }
    server.sql("CREATE ROLE app LOGIN").expect("a role");
    let app = url.replace("postgres@", "app@");
    let said = why(&format!("{app}&migrate=no")).await;
    says(&said, false, &["permission denied", "SELECT, INSERT and UPDATE"]);
    let grant = "GRANT SELECT ON printed, printed_line TO app";
    server.sql(grant).expect("a grant");
    let said = why(&format!("{app}&migrate=no")).await;
    says(
        &said,
        false,
        &["GRANT SELECT, INSERT, UPDATE ON public.printed, public.printed_line TO app"],
    );
    server.sql("GRANT INSERT, UPDATE ON printed, printed_line TO app").expect("a grant");
    let elector = Elector::builder().ttl(TTL).connect(&format!("{app}&migrate=no")).await;
    let elector = elector.unwrap_or_else(|error| panic!("{error}"));
    let mut campaign = elector.campaign("demo", "a").start().expect("a campaign");
    campaign.elected().await.expect("leadership of one who is not the owner");
}

#[tokio::test]
async fn users_that_are_not_let_in() {
    let server = Postgres::start(&[]).expect("a server");
    server.sql("CREATE ROLE guarded LOGIN PASSWORD 'right'").expect("a role");
    let file = server.sql("SHOW hba_file").expect("a file");
    let rules = "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
    std::fs::write(file, rules).expect("rules");
    server.sql("SELECT pg_reload_conf()").expect("a reload");
    let url = server.url().replace("postgres@", "guarded:wrong@");
    let said = why(&url).await;
    says(&said, false, &["password authentication failed", "28P01", "PGPASSWORD"]);
    assert!(!said.1.contains("wrong"), "the password is told: {}", said.1);
    let said = why(&server.url().replace("/postgres?", "/nowhere?")).await;
    says(&said, false, &["nowhere", "make the database"]);
}

#[tokio::test]
async fn a_standby_and_a_server_that_is_none() {
    let server = server();
    let standby = server.standby().unwrap_or_else(|error| panic!("{error}"));
    says(&why(&standby.url()).await, false, &["recovery", "primary", "a,b"]);
    // Named together, the primary is found.
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), server.port());
    let both = format!("postgres://postgres@{hosts}/postgres?sslmode=disable");
    let elector = Elector::builder().ttl(TTL).connect(&both).await;
    elector.unwrap_or_else(|error| panic!("{error}")).close();

    let gone = format!(
        "postgres://u@127.0.0.1:{}/d",
        tenure_testkit::servers::free_port().expect("a port")
    );
    says(&why(&gone).await, true, &["refused"]);
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in other.incoming().flatten() {
            let mut stream = stream;
            // Read first: closing with words unread resets the connection, and the answer may
            // be lost with it.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
    says(&why(&url).await, false, &["not PostgreSQL", "host and port"]);
}

#[tokio::test]
async fn urls_that_make_no_sense() {
    for (url, words) in [
        ("postgres:///d", vec!["names no host"]),
        ("postgres://u@h/d?sslmode=maybe", vec!["sslmode", "verify-full"]),
        ("postgres://u@h/d?table=a;b", vec!["is no name", "small letters"]),
        ("postgres://u@h/d?colour=red", vec!["colour"]),
    ] {
        says(&why(url).await, false, &words);
    }
}
