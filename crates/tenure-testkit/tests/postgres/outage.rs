//! The server goes away, for a while or for good, and connections break.

use std::time::Duration;

use super::{TTL, candidate, connected, server};

/// Waits until the holder's lease was renewed after this moment of the server's clock.
fn renewed_since(server: &tenure_testkit::servers::Postgres, election: &str, since: &str) {
    let renewed = format!(
        "SELECT count(*) FROM tenure_lease WHERE election = '{election}' \
         AND expires_at - ttl_ms * interval '1 millisecond' > '{since}'"
    );
    let begun = std::time::Instant::now();
    while server.sql(&renewed).expect("an answer") != "1" {
        assert!(begun.elapsed() < tenure_testkit::PATIENCE, "{election} is not renewed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_server_that_crashes_and_comes_back_costs_no_leadership() {
    let mut server = server();
    let ttl = Duration::from_secs(8);
    let mut holder = candidate(&server.url(), "crash", "a", ttl);
    let token = holder.says("elected").token;
    let waiting = candidate(&server.url(), "crash", "b", ttl);
    waiting.says("campaigning");
    for _ in 0..2 {
        server.crash();
        server.restart().expect("a server");
        let now = server.sql("SELECT clock_timestamp()").expect("a time");
        renewed_since(&server, "crash", &now);
        assert_eq!(holder.has_said(), None, "the holder gave up");
    }
    // Resigning is heard over the connections that were made anew.
    let asked = holder.signal(rustix::process::Signal::TERM);
    let elected = waiting.says("elected");
    assert!(elected.token > token);
    let took = Duration::from_nanos(elected.mono_ns.saturating_sub(asked));
    assert!(took < ttl / 4, "the hand-over took {took:?} of {ttl:?}");
    holder.kill();
}

#[tokio::test]
async fn a_server_that_stands_still_longer_than_the_lease_ends_it() {
    let server = server();
    let holder = candidate(&server.url(), "frozen", "a", TTL);
    let token = holder.says("elected").token;
    let waiting = candidate(&server.url(), "frozen", "b", TTL);
    waiting.says("campaigning");
    server.freeze();
    let lost = holder.says("lost");
    assert_eq!(lost.token, token);
    assert_eq!(waiting.has_said(), None, "nobody can grant anything");
    std::thread::sleep(TTL);
    server.thaw();
    // Either of them; the old tenure is over for good.
    let begun = std::time::Instant::now();
    let elected = loop {
        match holder.has_said().or_else(|| waiting.has_said()) {
            Some(line) if line.event == "elected" => break line,
            _ => assert!(begun.elapsed() < tenure_testkit::PATIENCE, "nobody leads any more"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(elected.token > token, "token {} after {token}", elected.token);
    assert!(elected.mono_ns > lost.mono_ns);
}

#[tokio::test]
async fn connections_that_are_cut_cost_nothing() {
    let server = server();
    let holder = candidate(&server.url(), "cut", "a", TTL * 2);
    let token = holder.says("elected").token;
    let waiting = candidate(&server.url(), "cut", "b", TTL * 2);
    waiting.says("campaigning");
    for _ in 0..4 {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'tenure'";
        assert_ne!(server.sql(cut).expect("a count"), "0");
        let now = server.sql("SELECT clock_timestamp()").expect("a time");
        renewed_since(&server, "cut", &now);
    }
    assert_eq!(holder.has_said(), None, "the holder gave up");
    holder.signal(rustix::process::Signal::TERM);
    assert!(waiting.says("elected").token > token);
}

/// Somebody's open transaction on the table must not make a holder believe in anything, nor
/// block it for good.
#[tokio::test]
async fn a_table_that_somebody_locks_is_waited_for_no_longer_than_a_lease() {
    let server = server();
    let holder = candidate(&server.url(), "locked", "a", TTL);
    let token = holder.says("elected").token;
    let seconds = (TTL * 2).as_secs_f32();
    server
        .sql(&format!("BEGIN; LOCK TABLE tenure_lease; SELECT pg_sleep({seconds}); COMMIT"))
        .expect("a lock");
    assert_eq!(holder.next().event, "lost:expired");
    assert!(holder.says("elected").token > token);
}

#[tokio::test]
async fn a_named_successor_goes_first() {
    let server = server();
    let mut electors = Vec::new();
    for _ in 0..3 {
        electors.push(connected(&server.url()).await);
    }
    let start = |at: usize, election: &str| {
        let campaign = electors[at].campaign(election, ["one", "two", "three"][at]).start();
        campaign.unwrap_or_else(|error| panic!("{error}"))
    };
    let name = |name: &str| tenure::CandidateId::new(name).expect("a name");
    let mut one = start(0, "named");
    let leadership = one.elected().await.expect("leadership");
    let (mut two, mut three) = (start(1, "named"), start(2, "named"));
    let waits = tokio::time::timeout(TTL / 3, async {
        tokio::select! { _ = two.elected() => (), _ = three.elected() => () }
    });
    assert!(waits.await.is_err(), "two leaders");
    let begun = std::time::Instant::now();
    leadership.transfer(name("three"));
    let next = three.elected().await.expect("leadership");
    assert!(begun.elapsed() < TTL / 2, "it took {:?} of {TTL:?}", begun.elapsed());
    // Who has handed over stays in the contest, unless it leaves.
    one.withdraw(tenure_testkit::PATIENCE).await;
    next.resign();
    two.elected().await.expect("leadership");

    // A successor that does not come is waited for half a lease.
    let mut one = start(0, "absent");
    let leadership = one.elected().await.expect("leadership");
    let mut two = start(1, "absent");
    assert!(tokio::time::timeout(TTL / 4, two.elected()).await.is_err(), "two leaders");
    let begun = std::time::Instant::now();
    leadership.transfer(name("nobody"));
    let over = "SELECT expires_at = 'epoch' FROM tenure_lease WHERE election = 'absent'";
    while server.sql(over).expect("a row") != "t" {}
    one.withdraw(tenure_testkit::PATIENCE).await;
    two.elected().await.expect("leadership");
    assert!(begun.elapsed() > TTL / 4, "nobody waited for the successor");
    assert!(begun.elapsed() < TTL * 2, "it took {:?} of {TTL:?}", begun.elapsed());
}
