//! What Redis complains about, and what users read of it: what happened, why, what next.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use tenure::{Elector, Error};
use tenure_core::{
    CandidateId, ElectionName, Incarnation, SessionId, Token, Value,
    backend::{Bid, Connect, ConnectError, Hold},
    timing::Ttl,
};
use tenure_testkit::servers::{Certificate, Redis, Sentinels, ask, free_port};

use crate::FLEETING;

const TTL: Duration = Duration::from_millis(600);

fn start(options: &[&str]) -> (tempfile::TempDir, Redis) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = [&FLEETING, options].concat();
    let redis = Redis::start(dir.path(), &options).expect("Redis");
    (dir, redis)
}

fn connect_to(url: &str) -> Connect {
    let process = Incarnation::from_random(1);
    let ttl = Ttl::new(TTL).expect("a ttl");
    Connect { url: url.to_owned(), process, ttl, timeout: TTL }
}

async fn refusal(url: &str) -> ConnectError {
    let refused = tenure_redis::connect(&connect_to(url)).await;
    refused.map(|_| ()).expect_err("a connection")
}

fn unusable(error: &ConnectError, says: &str) {
    let unusable = matches!(error, ConnectError::Unusable { .. });
    assert!(unusable && error.to_string().contains(says), "{error:?} says nothing of {says}");
}

fn unavailable(error: &ConnectError, says: &str) {
    let unavailable = matches!(error, ConnectError::Unavailable { .. });
    assert!(unavailable && error.to_string().contains(says), "{error:?} says nothing of {says}");
}

#[tokio::test]
async fn nobody_listens() {
    let port = free_port().expect("a port");
    let error = refusal(&format!("redis://u:hunter2@127.0.0.1:{port}")).await;
    unavailable(&error, &format!("127.0.0.1:{port}"));
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = refusal(&format!("redis+sentinel://127.0.0.1:{port}/name")).await;
    unavailable(&error, &format!("sentinel 127.0.0.1:{port}"));
}

/// Answers every connection with these bytes, or never.
fn listener(answer: Option<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if let Some(answer) = answer {
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked);
                let _ = stream.write_all(answer);
            }
            kept.push(stream);
        }
    });
    port
}

#[tokio::test]
async fn somebody_else_listens() {
    let port = listener(Some(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
    unusable(&refusal(&format!("redis://127.0.0.1:{port}")).await, "Check host and port");
    let port = listener(None);
    unavailable(&refusal(&format!("redis://127.0.0.1:{port}")).await, "in time");
}

#[tokio::test]
async fn wrong_passwords() {
    let (_dir, redis) = start(&["requirepass", "sesame"]);
    let (port, url) = (redis.port(), redis.url());
    unusable(&refusal(&url).await, "redis://user:password@host:port");
    let wrong = refusal(&format!("redis://:hunter2@127.0.0.1:{port}")).await;
    unusable(&wrong, "user and password");
    assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
    let right = connect_to(&format!("redis://:sesame@127.0.0.1:{port}"));
    assert!(tenure_redis::connect(&right).await.is_ok());
}

/// The permissions that the error about missing ones recommends are enough, and without the
/// channels it says so.
#[tokio::test]
async fn a_user_with_few_rights() {
    let (_dir, redis) = start(&[]);
    let rights = "on >pw ~{tenure}:* &{tenure}:* +@read +@write +@scripting +@pubsub \
                  +@connection +info +time";
    let set: Vec<_> = ["ACL", "SETUSER", "few"].into_iter().chain(rights.split(' ')).collect();
    assert_eq!(redis.ask(&set).expect("an answer"), "OK");
    let url = format!("redis://few:pw@127.0.0.1:{}", redis.port());
    let elector = Elector::builder().ttl(TTL).connect(&url).await.expect("Redis");
    let mut campaign = elector.campaign("e", "c").start().expect("a campaign");
    let leadership = tokio::time::timeout(TTL * 10, campaign.elected()).await;
    assert!(leadership.expect("in time").is_ok());
    assert_eq!(redis.ask(&["ACL", "SETUSER", "none", "on", ">pw"]).expect("an answer"), "OK");
    let url = format!("redis://none:pw@127.0.0.1:{}", redis.port());
    unusable(&refusal(&url).await, "ACL SETUSER");
}

#[tokio::test]
async fn leases_that_could_be_evicted() {
    let (_dir, redis) = start(&["maxmemory", "100mb", "maxmemory-policy", "volatile-lru"]);
    unusable(&refusal(&redis.url()).await, "Set it to noeviction");
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).expect("an answer");
    assert!(tenure_redis::connect(&connect_to(&redis.url())).await.is_ok());
}

#[tokio::test]
async fn the_wrong_kind_of_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = Sentinels::start(dir.path()).expect("Redis under Sentinel");
    let sentinel = group.url();
    let port = sentinel.split([':', ',']).nth(2).expect("a port");
    unusable(&refusal(&format!("redis://127.0.0.1:{port}")).await, "redis+sentinel://");
    let redis = format!("redis+sentinel://127.0.0.1:{}/mymaster", group.servers[0].port());
    unusable(&refusal(&redis).await, "is no Sentinel");
    let other = sentinel.replace("mymaster", "other");
    unusable(&refusal(&other).await, "knows no primary of the name \"other\"");
    let replica = group.servers[1].url();
    unavailable(&refusal(&replica).await, "replica of 127.0.0.1");
    // A requirement that Redis cannot give without conditions.
    let refused = Elector::connect(&format!("{sentinel}?require=one-holder")).await;
    let error = refused.map(|_| ()).expect_err("a promise");
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    assert!(error.to_string().contains("as long as the wall clock of Redis"), "{error}");
}

/// Refused writes: what is said, and that what is held survives it where Redis allows.
#[tokio::test]
async fn full_unwritable_and_demoted() {
    let (_dir, redis) = start(&["enable-protected-configs", "yes"]);
    let process = connect_to(&redis.url());
    let backend = tenure_redis::connect(&process).await.expect("Redis");
    let session = SessionId { process: process.process, number: 1 };
    let bid = |election: &str| Bid {
        session,
        election: ElectionName::new(election).expect("a name"),
        candidate: CandidateId::new("c").expect("an id"),
        value: Value::default(),
        ttl: process.ttl,
    };
    let token = loop {
        let holding = backend.acquire(bid("held")).await.expect("an answer");
        match holding.token_of(session) {
            Some(token) => break token,
            None => tokio::time::sleep(holding.again.expect("when")).await,
        }
    };
    let held = |token: Token| {
        let Bid { session, election, ttl, .. } = bid("held");
        vec![Hold { session, election, token, ttl }]
    };
    let set = |key: &str, value: &str| {
        assert_eq!(redis.ask(&["CONFIG", "SET", key, value]).expect("an answer"), "OK");
    };
    // Full: no new lease, but what is held is renewed and can be given back.
    set("maxmemory", "1");
    let full = backend.acquire(bid("new")).await.expect_err("a lease in a full Redis");
    assert!(full.to_string().contains("Raise maxmemory"), "{full}");
    assert_eq!(backend.renew(session, held(token)).await, Ok(Vec::new()));
    set("maxmemory", "0");
    // Too few replicas: nothing is written.
    set("min-replicas-to-write", "1");
    let alone = backend.renew(session, held(token)).await.expect_err("a write");
    assert!(alone.to_string().contains("min-replicas-to-write"), "{alone}");
    set("min-replicas-to-write", "0");
    // It cannot save what it has.
    set("dir", "/proc");
    set("save", "3600 1");
    redis.ask(&["BGSAVE"]).expect("an answer");
    while !redis.ask(&["INFO", "persistence"]).expect("an answer").contains("status:err") {
        tokio::time::sleep(TTL / 32).await;
    }
    let unsaved = backend.acquire(bid("new")).await.expect_err("a write");
    assert!(unsaved.to_string().contains("stop-writes-on-bgsave-error"), "{unsaved}");
    set("stop-writes-on-bgsave-error", "no");
    backend.acquire(bid("new")).await.expect("an answer");
    // Demoted: it must be found again, and says what it is.
    let nobody = free_port().expect("a port").to_string();
    redis.ask(&["REPLICAOF", "127.0.0.1", &nobody]).expect("an answer");
    let demoted = backend.acquire(bid("new")).await.expect_err("a write to a replica");
    assert!(demoted.to_string().contains("replica"), "{demoted}");
    let away = backend.renew(session, held(token)).await.expect_err("a renewal of a replica");
    assert!(away.to_string().contains("replica"), "{away}");
}

/// Redis answers `-LOADING` while it reads its data; here it is given some that takes long.
#[tokio::test]
async fn loading() {
    let slowly = ["key-load-delay", "2000", "loading-process-events-interval-bytes", "1024"];
    let (_dir, mut redis) = start(&[&slowly[..], &["enable-debug-command", "yes"]].concat());
    assert_eq!(redis.ask(&["DEBUG", "POPULATE", "5000"]).expect("an answer"), "OK");
    assert_eq!(redis.ask(&["SAVE"]).expect("an answer"), "OK");
    redis.kill();
    redis.spawn(None).expect("Redis again");
    let error = loop {
        let error = refusal(&redis.url()).await;
        if !error.to_string().contains("refused") {
            break error;
        }
    };
    unavailable(&error, "loads its data");
}

/// With certificates of its own, made by openssl; and a plain URL for a server that wants TLS.
#[tokio::test]
async fn encrypted() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Certificate::make(dir.path(), "IP:127.0.0.1").expect("a certificate");
    let port = free_port().expect("a port").to_string();
    let (key, cert) = (made.key.display().to_string(), made.certificate.display().to_string());
    let tls =
        ["tls-port", &port, "tls-key-file", &key, "tls-cert-file", &cert, "tls-auth-clients", "no"];
    let (_data, _redis) = start(&tls);
    let url = format!("rediss://127.0.0.1:{port}?ca={cert}");
    let elector = Elector::builder().ttl(TTL).connect(&url).await.expect("Redis");
    let mut campaign = elector.campaign("e", "c").start().expect("a campaign");
    let leadership = tokio::time::timeout(TTL * 10, campaign.elected()).await;
    assert!(leadership.expect("in time").is_ok());
    // Its certificate is signed by nobody whom this machine knows.
    let stranger = refusal(&format!("rediss://127.0.0.1:{port}")).await;
    assert!(stranger.to_string().contains("ertificate"), "{stranger}");
    let plain = refusal(&format!("redis://127.0.0.1:{port}")).await;
    assert!(plain.to_string().contains(&port), "{plain}");
    let text = ask(port.parse().expect("a port"), &["--tls", "--insecure"], &["PING"]);
    assert_eq!(text.expect("an answer"), "PONG");
}
