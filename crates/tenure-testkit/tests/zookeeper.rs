//! ZooKeeper: the suite on one server and on three, and what happens when servers, sessions,
//! nodes and logins fail.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tenure::{Elector, Error};
use tenure_core::{
    CandidateId, ElectionName, Incarnation, SessionId, Value,
    backend::{Backend, Bid, Change, Connect},
    timing::Ttl,
};
use tenure_testkit::{
    PATIENCE,
    candidate::Candidate,
    servers::{ZooKeeper, free_port},
    suite::{Store, conforms, never_two_leaders_through, silent_store_costs_the_lease},
};
use zookeeper_client::Client;

const TTL: Duration = Duration::from_secs(1);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_testkit-candidate"))
}

fn start(dir: &Path, servers: usize) -> ZooKeeper {
    ZooKeeper::start(dir, servers).unwrap_or_else(|error| panic!("{error}"))
}

fn store(zookeeper: &ZooKeeper, ttl: Duration) -> Store {
    Store { url: zookeeper.url(), ttl, expires: true, shared: true }
}

async fn backend(url: &str, ttl: Duration) -> Arc<dyn Backend> {
    let connect = Connect {
        url: url.to_owned(),
        process: Incarnation::from_random(0x1234_5678_9abc_def0),
        ttl: Ttl::new(ttl).expect("a ttl"),
        timeout: Duration::from_secs(5),
    };
    tenure_zookeeper::connect(&connect).await.unwrap_or_else(|error| panic!("{error}"))
}

fn bid(number: u32, election: &str, ttl: Duration) -> Bid {
    Bid {
        session: SessionId { process: Incarnation::from_random(77), number },
        election: ElectionName::new(election).expect("a name"),
        candidate: CandidateId::new("c").expect("a name"),
        value: Value::default(),
        ttl: Ttl::new(ttl).expect("a ttl"),
    }
}

/// The next hint that is wanted.
async fn hint(backend: &dyn Backend, what: &str, wanted: &Change) {
    let heard = async { while backend.changed().await != *wanted {} };
    tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("no hint of {what}"));
}

async fn refused(url: &str) -> String {
    match Elector::builder().ttl(TTL).timeout(TTL * 2).connect(url).await {
        Err(Error::Store(error)) => error.to_string(),
        other => panic!("{url}: {other:?}"),
    }
}

async fn client(zookeeper: &ZooKeeper) -> Client {
    Client::connect(&zookeeper.hosts()).await.expect("a client")
}

#[tokio::test]
async fn one_server_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    conforms(&store(&zookeeper, TTL), program()).await;
}

#[tokio::test]
async fn three_servers_conform() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 3);
    conforms(&store(&zookeeper, TTL * 2), program()).await;
}

#[test]
fn a_server_that_is_killed_and_restarted_makes_no_second_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut zookeeper = start(dir.path(), 1);
    let store = store(&zookeeper, TTL * 3);
    never_two_leaders_through(&store, program(), "restarted", || {
        zookeeper.kill(0);
        zookeeper.restart(0).unwrap();
    });
}

#[test]
fn a_leader_of_the_ensemble_that_is_killed_makes_no_second_leader() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = RefCell::new(start(dir.path(), 3));
    let store = store(&zookeeper.borrow(), TTL * 3);
    for round in 0..2 {
        let killed = RefCell::new(None);
        never_two_leaders_through(&store, program(), &format!("leader-{round}"), || {
            let leader = zookeeper.borrow().leader().expect("the ensemble has a leader");
            zookeeper.borrow_mut().kill(leader);
            *killed.borrow_mut() = Some(leader);
        });
        let killed = killed.borrow().expect("somebody was killed");
        zookeeper.borrow_mut().restart(killed).unwrap();
    }
}

#[test]
fn a_silent_server_costs_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    silent_store_costs_the_lease(&store(&zookeeper, TTL), program(), "silent", |signal| {
        zookeeper.signal(signal);
    });
}

#[tokio::test]
async fn a_node_that_somebody_deletes_ends_the_tenure() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    let store = store(&zookeeper, TTL * 2);
    let holder = Candidate::start(program(), &store.url, "deleted/x", "c", store.ttl).unwrap();
    let elected = holder.says("elected");
    let (client, parent) = (client(&zookeeper).await, "/tenure/elections/deleted!x");
    for child in client.list_children(parent).await.unwrap() {
        client.delete(&format!("{parent}/{child}"), None).await.unwrap();
    }
    let lost = holder.says("lost");
    assert_eq!((lost.event.as_str(), lost.token), ("lost:ended", elected.token));
    let again = holder.says("elected");
    assert!(again.token > elected.token);
}

#[tokio::test]
async fn tokens_rise_when_the_election_is_removed_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    let backend = backend(&zookeeper.url(), TTL * 4).await;
    let bid = bid(1, "anew", TTL * 4);
    backend.open(bid.session, bid.ttl).await.unwrap();
    let mut last = None;
    for _ in 0..3 {
        let holding = backend.acquire(bid.clone()).await.unwrap();
        let token = holding.token_of(bid.session);
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
        backend.withdraw(bid.session, bid.election.clone()).await.unwrap();
        // As ZooKeeper does with a container that has been empty for a while; the numbers of
        // the candidates begin again.
        client(&zookeeper).await.delete("/tenure/elections/anew", None).await.unwrap();
        let looked = backend.look(vec![bid.election.clone()]).await.unwrap();
        assert_eq!(looked[0].holder, None);
    }
}

#[tokio::test]
async fn who_observes_hears_of_each_change_and_a_waiter_of_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    let (watching, contending) =
        (backend(&zookeeper.url(), TTL * 4).await, backend(&zookeeper.url(), TTL * 4).await);
    let (one, two, three) =
        (bid(1, "heard", TTL * 4), bid(2, "heard", TTL * 4), bid(3, "heard", TTL * 4));
    let changed = Change::Elections(vec![one.election.clone()]);
    let look = async || watching.look(vec![one.election.clone()]).await.unwrap().remove(0);
    watching.follow(one.election.clone());
    contending.follow(one.election.clone());
    assert_eq!(look().await.holder, None);
    for bid in [&one, &two, &three] {
        contending.open(bid.session, bid.ttl).await.unwrap();
    }
    // The node of the election, then of its first candidate.
    contending.acquire(one.clone()).await.unwrap();
    hint(&*watching, "a first candidate", &changed).await;
    let led = look().await;
    assert!(led.token_of(one.session).is_some(), "{led:?}");
    assert_eq!(contending.acquire(two.clone()).await.unwrap().position, 1);
    assert_eq!(contending.acquire(three.clone()).await.unwrap().position, 2);
    // The one in the middle leaves: news for the last one only.
    contending.withdraw(two.session, two.election.clone()).await.unwrap();
    hint(&*contending, "the one before it", &changed).await;
    assert_eq!(contending.acquire(three.clone()).await.unwrap().position, 1);
    contending.withdraw(one.session, one.election.clone()).await.unwrap();
    hint(&*contending, "the leader's end", &changed).await;
    let next = contending.acquire(three.clone()).await.unwrap();
    assert!(next.token_of(three.session).is_some(), "{next:?}");
    hint(&*watching, "the leader's end", &changed).await;
    let led = look().await;
    assert!(led.token_of(three.session).is_some(), "{led:?}");
    assert!(led.revision >= next.revision);
}

#[tokio::test]
async fn who_is_not_allowed_or_gives_a_wrong_password_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    let hosts = zookeeper.hosts();
    let url = format!("zk://worker:word%401@{hosts}/jobs");
    let elector = Elector::builder().ttl(TTL).connect(&url).await;
    let elector = elector.unwrap_or_else(|error| panic!("{error}"));
    let mut campaign = elector.campaign("e", "c").start().unwrap();
    let leadership = campaign.elected().await.unwrap();
    for other in ["worker:wrong@", "guest:word%401@", ""] {
        let told = refused(&format!("zk://{other}{hosts}/jobs")).await;
        assert!(told.contains("check the user and the password"), "{other}: {told}");
    }
    assert!(leadership.check().is_ok());
}

#[tokio::test]
async fn what_is_not_there_or_not_zookeeper_or_without_a_quorum_is_named() {
    let port = free_port().unwrap();
    let away = refused(&format!("zk://127.0.0.1:{port}")).await;
    assert!(away.contains("refused") && away.contains("is it running"), "{away}");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"-ERR unknown command\r\n");
        }
    });
    let other = refused(&format!("zk://127.0.0.1:{port}")).await;
    assert!(other.contains("is not ZooKeeper"), "{other}");

    let dir = tempfile::tempdir().unwrap();
    let mut zookeeper = start(dir.path(), 3);
    zookeeper.kill(0);
    zookeeper.kill(1);
    // The last one stops serving as soon as it has noticed.
    let url = zookeeper.url();
    let told = loop {
        let connected = Elector::builder().ttl(TTL).timeout(TTL * 2).connect(&url);
        match connected.await {
            Err(Error::Store(error)) => break error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => {}
        }
    };
    assert!(told.contains("quorum"), "{told}");
}

#[tokio::test]
async fn a_lease_that_zookeeper_cannot_keep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = start(dir.path(), 1);
    match Elector::builder().ttl(TTL / 10).connect(&zookeeper.url()).await {
        Err(Error::TtlTooShort { shortest, .. }) => assert!(shortest > TTL / 10),
        other => panic!("{other:?}"),
    }
    let long = Elector::builder().ttl(TTL * 60).connect(&zookeeper.url()).await;
    let told = long.map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("maxSessionTimeout"), "{told}");
}
