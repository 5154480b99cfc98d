//! SIGSTOP of a leader for longer than its lease.

use tenure_core::{
    ElectionName, SessionId, Token, Value,
    ledger::{Command, Outcome, Refusal},
};
use tenure_quorum::client::{Client, ClientOptions, Watched, parse_url};
use tenure_replica::Wish;

use crate::support::{Cluster, DEMO, cluster::Plan};

#[test]
fn a_leader_that_slept_learns_that_it_lost_before_it_claims_anything() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    let quorum = cluster.another(&[&leader.id]);
    cluster.move_raft_leader(&quorum);
    sleep_and_wake(&mut cluster);
}

#[test]
fn so_does_one_that_led_the_quorum_too() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    cluster.move_raft_leader(&leader.id);
    sleep_and_wake(&mut cluster);
}

fn sleep_and_wake(cluster: &mut Cluster) {
    let old = cluster.leader();
    let session = holder(cluster);
    let stopped = cluster.pause(&old.id);
    let new = cluster.leader_after(old.token);
    assert_ne!(new.id, old.id);
    let took = u128::from(cluster.elected(new.token).mono_ns - stopped);
    let ttl = cluster.ttl().as_nanos();
    assert!(took > ttl / 2, "the lease of a sleeper was not waited for: {took} ns");
    assert!(took < 4 * ttl, "the lease of a sleeper was waited for too long: {took} ns");
    assert_eq!(cluster.history().pop().unwrap()["reason"], "expired");

    let from = cluster.journal.mark();
    cluster.go_on(&old.id);
    let lost = cluster
        .journal
        .wait(from, "word of the sleeper", |line| line.node == old.id && line.is("lost", DEMO));
    assert_eq!(lost.number("token"), old.token);
    for line in cluster.journal.lines()[from..].iter().filter(|line| line.node == old.id) {
        if line.is("lost", DEMO) {
            break;
        }
        let claims = line.event == "elected"
            || (line.event == "lease" && line.number("remaining_ms") > 0)
            || line.leader().is_some_and(|(id, _)| id == old.id);
        assert!(!claims, "the sleeper claims to lead before it says that it lost: {line:?}");
    }
    assert_eq!(cluster.leader(), new, "the sleeper shows its successor");
    cluster.everybody_says(&new);

    for words in ["resign", "evict --yes"] {
        let stale = cluster.tenure(&format!("{words} {DEMO} --if-token {}", old.token));
        stale.run().expect(4).explains(&[&old.token.to_string(), &new.token.to_string()]);
    }
    say_what_the_sleeper_would_say(cluster, session, old.token);
    assert_eq!(cluster.leader(), new);
}

/// The session that holds the election.
fn holder(cluster: &Cluster) -> SessionId {
    with_client(cluster, ClientOptions::default(), async |client| {
        let mut watch = client.watch(vec![election()], None).await.unwrap();
        loop {
            match watch.next().await.unwrap() {
                Watched::Push(push) if push.holder.is_some() => return push.holder.unwrap(),
                _ => {}
            }
        }
    })
}

/// Requests that the sleeper had on its way when it fell asleep come too late.
fn say_what_the_sleeper_would_say(cluster: &Cluster, session: SessionId, token: u64) {
    let token = Token::new(token);
    let value = Value::new("too late").unwrap();
    let late = [
        Command::Proclaim { session, election: election(), token, value },
        Command::Resign { session, election: election(), token },
        Command::Yield { session, election: election(), token },
    ];
    // It speaks for the sleeper's process, and its own death must prove nothing about that.
    let options = ClientOptions {
        process: Some(session.process),
        local_proof: false,
        ..ClientOptions::default()
    };
    with_client(cluster, options, async |client| {
        for command in late {
            let outcome = client.wish(Wish::Command(command.clone())).await.unwrap();
            let stale = matches!(
                outcome,
                Outcome::Refused(Refusal::NoSession { .. } | Refusal::NotLeader { .. })
            );
            assert!(stale, "{command:?} had the outcome {outcome:?}");
        }
    });
}

fn with_client<T>(
    cluster: &Cluster,
    options: ClientOptions,
    work: impl AsyncFnOnce(&Client) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoints = parse_url(&cluster.url()).unwrap();
        let client = Client::connect(endpoints, options).await.unwrap();
        let work = async { work(&client).await };
        tokio::time::timeout(crate::support::PATIENCE, work).await.expect("in time")
    })
}

fn election() -> ElectionName {
    ElectionName::new(DEMO).unwrap()
}
