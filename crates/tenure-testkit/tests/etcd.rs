//! etcd: the suite on one member, and what happens when members, keys and logins fail.

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
    servers::{Etcd, free_port},
    suite::{Store, conforms, never_two_leaders_through, silent_store_costs_the_lease},
};

const TTL: Duration = Duration::from_secs(1);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_testkit-candidate"))
}

fn start(dir: &Path, members: usize) -> Etcd {
    Etcd::start(dir, members).unwrap_or_else(|error| panic!("{error}"))
}

fn store(etcd: &Etcd, ttl: Duration) -> Store {
    Store { url: etcd.url(), ttl, expires: true, shared: true }
}

async fn backend(url: &str) -> Arc<dyn Backend> {
    let connect = Connect {
        url: url.to_owned(),
        process: Incarnation::from_random(0x1234_5678_9abc_def0),
        ttl: Ttl::new(TTL * 10).expect("a ttl"),
        timeout: Duration::from_secs(5),
    };
    tenure_etcd::connect(&connect).await.unwrap_or_else(|error| panic!("{error}"))
}

fn bid(number: u32, election: &str) -> Bid {
    Bid {
        session: SessionId { process: Incarnation::from_random(77), number },
        election: ElectionName::new(election).expect("a name"),
        candidate: CandidateId::new("c").expect("a name"),
        value: Value::default(),
        ttl: Ttl::new(TTL * 10).expect("a ttl"),
    }
}

/// The next hint that is wanted.
async fn hint(backend: &dyn Backend, what: &str, wanted: impl Fn(&Change) -> bool) {
    let heard = async { while !wanted(&backend.changed().await) {} };
    tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("no hint of {what}"));
}

async fn refused(url: &str) -> String {
    match Elector::builder().ttl(TTL).timeout(TTL).connect(url).await {
        Err(Error::Store(error)) => error.to_string(),
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn one_member_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 1);
    conforms(&store(&etcd, TTL), program()).await;
}

#[tokio::test]
async fn three_members_conform() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 3);
    conforms(&store(&etcd, TTL), program()).await;
}

#[test]
fn a_member_that_is_killed_and_restarted_makes_no_second_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut etcd = start(dir.path(), 1);
    let store = store(&etcd, TTL * 2);
    never_two_leaders_through(&store, program(), "restarted", || {
        etcd.kill(0);
        etcd.restart(0).unwrap();
    });
}

#[test]
fn a_leader_of_etcd_that_is_killed_makes_no_second_leader() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = RefCell::new(start(dir.path(), 3));
    let store = store(&etcd.borrow(), TTL * 2);
    for round in 0..2 {
        let killed = RefCell::new(None);
        never_two_leaders_through(&store, program(), &format!("leader-{round}"), || {
            let leader = etcd.borrow().leader().expect("etcd has a leader");
            etcd.borrow_mut().kill(leader);
            *killed.borrow_mut() = Some(leader);
        });
        let killed = killed.borrow().expect("somebody was killed");
        etcd.borrow_mut().restart(killed).unwrap();
    }
}

#[test]
fn a_silent_etcd_costs_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 1);
    silent_store_costs_the_lease(&store(&etcd, TTL), program(), "silent", |signal| {
        etcd.signal(signal);
    });
}

#[test]
fn a_key_that_somebody_deletes_ends_the_tenure() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 1);
    let store = store(&etcd, TTL * 10);
    let holder = Candidate::start(program(), &store.url, "deleted", "c", store.ttl).unwrap();
    let elected = holder.says("elected");
    Etcd::ctl(etcd.port(), &["del", "--prefix", "tenure/deleted#"]).unwrap();
    let lost = holder.says("lost");
    assert_eq!((lost.event.as_str(), lost.token), ("lost:ended", elected.token));
    let again = holder.says("elected");
    assert!(again.token > elected.token);
    let took = Duration::from_nanos(lost.mono_ns - elected.mono_ns);
    assert!(took < store.ttl / 2, "it was noticed after {took:?} of {:?}", store.ttl);
}

#[tokio::test]
async fn a_key_that_appears_after_its_candidacy_is_over_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 1);
    let backend = backend(&etcd.url()).await;
    let (one, two) = (bid(1, "stray"), bid(2, "stray"));
    for bid in [&one, &two] {
        backend.open(bid.session, bid.ttl).await.unwrap();
    }
    let held = backend.acquire(one.clone()).await.unwrap();
    assert!(held.token_of(one.session).is_some());
    let listed = Etcd::ctl(etcd.port(), &["get", "--prefix", "--keys-only", "tenure/stray#"]);
    let key = listed.unwrap().trim().to_owned();
    backend.withdraw(one.session, one.election.clone()).await.unwrap();
    // As a request would that was still on its way.
    let lease = key.split(['#', '.']).nth(1).unwrap();
    Etcd::ctl(etcd.port(), &["put", &format!("--lease={lease}"), &key, "late"]).unwrap();
    let acquired = async {
        loop {
            let holding = backend.acquire(two.clone()).await.unwrap();
            if holding.token_of(two.session).is_some() {
                return;
            }
            let never = holding.token_of(one.session);
            assert_eq!(never, None, "a candidacy that is over leads");
        }
    };
    tokio::time::timeout(PATIENCE, acquired).await.expect("the late key holds the election");
}

#[tokio::test]
async fn events_that_were_compacted_are_made_good_by_a_look_at_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut etcd = start(dir.path(), 1);
    let backend = backend(&etcd.url()).await;
    let followed = ElectionName::new("compacted").unwrap();
    backend.follow(followed.clone());
    hint(&*backend, "the beginning", |change| *change == Change::Everything).await;
    Etcd::ctl(etcd.port(), &["put", "tenure/compacted#1.1", "x"]).unwrap();
    hint(&*backend, "a key", |change| *change == Change::Elections(vec![followed.clone()])).await;
    // Out of this client's sight, so that its watch is behind.
    let elsewhere = free_port().unwrap();
    etcd.restart_elsewhere(0, elsewhere).unwrap();
    Etcd::ctl(elsewhere, &["del", "tenure/compacted#1.1"]).unwrap();
    let put = Etcd::ctl(elsewhere, &["put", "other", "x", "--write-out=json"]).unwrap();
    let put: serde_json::Value = serde_json::from_str(&put).unwrap();
    Etcd::ctl(elsewhere, &["compact", &put["header"]["revision"].to_string()]).unwrap();
    etcd.restart(0).unwrap();
    hint(&*backend, "the gap", |change| *change == Change::Everything).await;
    Etcd::ctl(etcd.port(), &["put", "tenure/compacted#2.2", "x"]).unwrap();
    hint(&*backend, "a key", |change| *change == Change::Elections(vec![followed.clone()])).await;
}

#[tokio::test]
async fn logins_are_checked_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut etcd = start(dir.path(), 1);
    let hosts = etcd.url().trim_start_matches("etcd://").to_owned();
    let unneeded = refused(&format!("etcd://root:pass@{hosts}")).await;
    assert!(unneeded.contains("it has no logins"), "{unneeded}");
    for arguments in [
        &["user", "add", "root:pass"][..],
        &["role", "add", "jobs"],
        &["role", "grant-permission", "jobs", "readwrite", "--prefix=true", "tenure/"],
        &["user", "add", "worker:word@1"],
        &["user", "grant-role", "worker", "jobs"],
        &["user", "add", "guest:pass"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        // The role root exists by itself in later versions only.
        let _ = Etcd::ctl(etcd.port(), &["role", "add", "root"]);
        Etcd::ctl(etcd.port(), arguments).unwrap_or_else(|error| panic!("{arguments:?} {error}"));
    }
    let anonymous = refused(&etcd.url()).await;
    assert!(anonymous.contains("it asks for a login"), "{anonymous}");
    let wrong = refused(&format!("etcd://worker:wrong@{hosts}")).await;
    assert!(wrong.contains("check the user and the password"), "{wrong}");
    let guest = refused(&format!("etcd://guest:pass@{hosts}")).await;
    assert!(guest.contains("readwrite permission"), "{guest}");

    let url = format!("etcd://worker:word%401@{hosts}");
    let elector = Elector::builder().ttl(TTL * 5).connect(&url).await;
    let elector = elector.unwrap_or_else(|error| panic!("{error}"));
    let mut first = elector.campaign("first", "c").start().unwrap();
    let leadership = first.elected().await.unwrap();
    // The restarted member does not know the token of the login any more.
    etcd.kill(0);
    etcd.restart(0).unwrap();
    let mut second = elector.campaign("second", "c").start().unwrap();
    let elected = tokio::time::timeout(PATIENCE, second.elected()).await;
    elected.expect("no new login").unwrap();
    assert!(leadership.check().is_ok(), "{:?}", leadership.check());
}

#[tokio::test]
async fn what_is_not_there_or_not_etcd_is_named() {
    let port = free_port().unwrap();
    let away = refused(&format!("etcd://127.0.0.1:{port}")).await;
    assert!(away.contains("refused") && away.contains("is it running"), "{away}");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"-ERR unknown command 'PRI'\r\n");
        }
    });
    let other = refused(&format!("etcd://127.0.0.1:{port}")).await;
    assert!(other.contains("something else than etcd"), "{other}");
}

#[tokio::test]
async fn a_lease_that_etcd_cannot_keep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let etcd = start(dir.path(), 1);
    match Elector::builder().ttl(TTL / 2).timeout(TTL * 5).connect(&etcd.url()).await {
        Err(Error::TtlTooShort { shortest, .. }) => assert_eq!(shortest, TTL),
        other => panic!("{other:?}"),
    }
}
