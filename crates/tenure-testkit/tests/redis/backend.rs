//! The operations of the port on a real Redis, one by one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, SessionId, Token, Value,
    backend::{Backend, Bid, Connect, Hold, Holding, StoreError},
    timing::Ttl,
};
use tenure_testkit::{PATIENCE, servers::Redis};

use crate::FLEETING;

const TTL: Duration = Duration::from_millis(600);

fn ttl() -> Ttl {
    Ttl::new(TTL).expect("a ttl")
}

fn name(name: &str) -> ElectionName {
    ElectionName::new(name).expect("a name")
}

/// One process.
#[derive(Clone)]
struct Process {
    backend: Arc<dyn Backend>,
    session: SessionId,
}

impl Process {
    async fn start(redis: &Redis, number: u64) -> Self {
        let process = Incarnation::from_random(number);
        let connect = Connect { url: redis.url(), process, ttl: ttl(), timeout: PATIENCE };
        let backend = tenure_redis::connect(&connect).await.expect("Redis");
        let process = Self { backend, session: SessionId { process, number: 1 } };
        process.backend.open(process.session, ttl()).await.expect("a session");
        process
    }

    fn later(&self) -> Self {
        let session = SessionId { number: self.session.number + 1, ..self.session };
        Self { session, ..self.clone() }
    }

    async fn bid(&self, election: &str, id: &str) -> Result<Holding, StoreError> {
        let candidate = CandidateId::new(id).expect("an id");
        let value = Value::new(format!("value\u{e9} of {id}")).expect("a value");
        let (session, election) = (self.session, name(election));
        self.backend.acquire(Bid { session, election, candidate, value, ttl: ttl() }).await
    }

    async fn token(&self, election: &str) -> Option<Token> {
        self.bid(election, "c").await.ok()?.token_of(self.session)
    }

    /// Contends until it is elected, as the answers say when to ask again.
    async fn elected(&self, election: &str) -> Token {
        let begun = Instant::now();
        loop {
            if let Some(token) = self.token(election).await {
                return token;
            }
            assert!(begun.elapsed() < PATIENCE, "{election} stays vacant");
            tokio::time::sleep(TTL / 32).await;
        }
    }

    fn hold(&self, election: &str, token: Token) -> Hold {
        Hold { session: self.session, election: name(election), token, ttl: ttl() }
    }

    async fn stands(&self, election: &str) -> Holding {
        self.backend.look(vec![name(election)]).await.expect("an answer").remove(0)
    }
}

fn start() -> (tempfile::TempDir, Redis) {
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(dir.path(), &FLEETING).expect("Redis");
    (dir, redis)
}

#[tokio::test]
async fn asked_again_the_same_token_is_given() {
    let (_dir, redis) = start();
    let (one, two) = (Process::start(&redis, 1).await, Process::start(&redis, u64::MAX).await);
    let token = one.elected("e").await;
    assert_eq!(one.token("e").await, Some(token));
    let refused = two.bid("e", "d").await.expect("an answer");
    let (holder, leader) = refused.holder.clone().expect("a holder");
    assert_eq!((holder, leader.token), (one.session, token));
    assert_eq!((leader.id.as_str(), leader.value.as_str()), ("c", "value\u{e9} of c"));
    let again = refused.again.expect("when to ask again");
    assert!(again <= TTL + Duration::from_millis(1) && again > TTL / 4, "{again:?}");
    // A later session of the same process says that nothing runs under the former.
    let later = one.later();
    let next = later.elected("e").await;
    assert!(next > token);
    let gone = one.backend.renew(one.session, vec![one.hold("e", token)]).await.expect("an answer");
    assert_eq!(gone, [name("e")]);
    // And an older one that comes late takes nothing back.
    assert_eq!(one.token("e").await, None);
    assert_eq!(later.token("e").await, Some(next));
}

#[tokio::test]
async fn a_renewal_names_what_is_lost_among_many() {
    let (_dir, redis) = start();
    let one = Process::start(&redis, 1).await;
    let mut holds = Vec::new();
    one.elected("many/0").await;
    // More than one script call renews.
    for at in 0..1100 {
        let election = format!("many/{at}");
        let token = one.token(&election).await.expect("a grant");
        holds.push(one.hold(&election, token));
        if at % 100 == 0 {
            one.backend.renew(one.session, holds.clone()).await.expect("an answer");
        }
    }
    let lost = [name("many/7"), name("many/1099")];
    for election in &lost {
        redis.ask(&["DEL", &format!("{{tenure}}:lease:{election}")]).expect("an answer");
    }
    let named = one.backend.renew(one.session, holds.clone()).await.expect("an answer");
    assert_eq!(named, lost);
    // Extended by a whole ttl, all of them.
    let left = one.stands("many/8").await.again.expect("a lease");
    assert!(left > TTL / 2, "{left:?}");
    one.backend.close(one.session).await.expect("an answer");
    for election in ["many/0", "many/500", "many/1098"] {
        assert_eq!(one.stands(election).await.holder, None, "{election} after the end");
    }
}

#[tokio::test]
async fn a_released_election_is_kept_for_whom_it_was_given_to() {
    let (_dir, redis) = start();
    let (one, two) = (Process::start(&redis, 1).await, Process::start(&redis, 2).await);
    let token = one.elected("e").await;
    let heir = CandidateId::new("heir").expect("an id");
    let released = one.backend.release(one.hold("e", token), Some(heir.clone())).await;
    assert_eq!(released, Ok(true));
    assert_eq!(one.backend.release(one.hold("e", token), Some(heir)).await, Ok(false));
    let other = one.later().bid("e", "other").await.expect("an answer");
    assert_eq!(other.holder, None);
    assert!(other.again.expect("when to ask again") <= TTL / 4 + Duration::from_millis(1));
    let holding = two.bid("e", "heir").await.expect("an answer");
    let next = holding.token_of(two.session).expect("the election that was kept for it");
    assert!(next > token);
    // Kept for somebody who never comes, it is free soon.
    let nobody = CandidateId::new("nobody").expect("an id");
    assert_eq!(two.backend.release(two.hold("e", next), Some(nobody)).await, Ok(true));
    let begun = Instant::now();
    let last = one.later().elected("e").await;
    assert!(last > next && begun.elapsed() < TTL, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn tokens_and_revisions_rise_without_their_record() {
    let (_dir, redis) = start();
    let one = Process::start(&redis, 1).await;
    one.backend.follow(name("e"));
    let token = one.elected("e").await;
    // The highest token so far lies ahead of the server's clock, as after a failover to a
    // machine whose clock is behind.
    let ahead = Token::new(token.get() + 3_600_000_000);
    assert_eq!(one.backend.release(one.hold("e", token), None).await, Ok(true));
    let ahead_text = ahead.get().to_string();
    redis.ask(&["HSET", "{tenure}:record:e", "token", &ahead_text]).expect("an answer");
    assert_eq!(one.stands("e").await.revision.get(), ahead.get());
    redis.ask(&["FLUSHALL"]).expect("an answer");
    let vacant = one.stands("e").await;
    assert_eq!((vacant.holder, vacant.revision.get()), (None, ahead.get()));
    let begun = Instant::now();
    let next = one.elected("e").await;
    assert!(next > ahead, "{next} after {ahead}");
    assert!(begun.elapsed() >= TTL, "elected {:?} after a flush", begun.elapsed());
}

#[tokio::test]
async fn a_restarted_server_elects_nobody_for_a_ttl_and_renews_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut redis = Redis::start(dir.path(), &crate::LASTING).expect("Redis");
    let (one, two) = (Process::start(&redis, 1).await, Process::start(&redis, 2).await);
    let (kept, left) = (one.elected("kept").await, one.elected("left").await);
    assert_eq!(one.backend.release(one.hold("left", left), None).await, Ok(true));
    redis.kill();
    redis.restart().expect("Redis again");
    let restarted = Instant::now();
    // What was granted before is renewed as soon as there is a connection again.
    let hold = one.hold("kept", kept);
    loop {
        match one.backend.renew(one.session, vec![hold.clone()]).await {
            Ok(lapsed) => break assert_eq!(lapsed, []),
            Err(_) => assert!(restarted.elapsed() < TTL, "no renewal within the lease"),
        }
        tokio::time::sleep(TTL / 64).await;
    }
    // The server cannot know that its data is complete: what looks free may be held.
    assert_eq!(two.token("left").await, None);
    // And what looks held may have been given to another since.
    let error = one.bid("kept", "c").await.expect_err("a grant from old data");
    assert!(error.to_string().contains("nobody is elected there"), "{error}");
    let next = two.elected("left").await;
    assert!(next > left && restarted.elapsed() >= TTL, "{:?}", restarted.elapsed());
}

/// The record of an election is the mark of the ready-made fence.
#[tokio::test]
async fn a_write_under_an_old_token_is_refused() {
    let (_dir, redis) = start();
    let (one, two) = (Process::start(&redis, 1).await, Process::start(&redis, 2).await);
    let fenced = |token: &str, command: &[&str]| {
        let guard = ["EVAL", tenure::fence::REDIS, "2", "{tenure}:record:e", "{tenure}:data"];
        let answer = redis.ask(&[&guard, &[token][..], command].concat());
        answer.expect("an answer")
    };
    let write = |token: Token, value: &str| {
        fenced(&token.get().to_string(), &["SET", "{tenure}:data", value])
    };
    let old = one.elected("e").await;
    assert_eq!(write(old, "first"), "OK");
    let new = two.elected("e").await;
    // Before the new leader has written anything.
    let refused = write(old, "stale");
    assert!(refused.contains(&format!("{new} was presented since")), "{refused}");
    assert_eq!(write(new, "second"), "OK");
    assert_eq!(redis.ask(&["GET", "{tenure}:data"]).expect("an answer"), "second");
    // A number out of nowhere does not spoil the election's own count.
    let refused = fenced("18446744073709551614", &[]);
    assert!(refused.contains("NOTOKEN"), "{refused}");
    assert!(one.elected("e").await > new);
}
