//! Many at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tenure::{Elector, Token};
use tokio::task::JoinSet;

use super::{
    Store,
    electors::{campaign, elected, elector},
};
use crate::PATIENCE;

/// Sessions that begin at the same time: they all contend at once, but a server on two
/// processors takes its time to greet them.
const GREETED: usize = 20;
/// Tenures that are watched.
const TENURES: usize = 20;
/// Elections that one session holds.
const ELECTIONS: usize = 1000;

#[derive(Debug, Default)]
struct Ring {
    inside: AtomicUsize,
    tokens: Mutex<Vec<Token>>,
}

impl Ring {
    fn tokens(&self) -> std::sync::MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many candidates, each with a session of its own, contend for one election; whoever leads
/// gives way soon. One leads at a time, under ever higher tokens.
///
/// # Panics
/// When that is not so.
pub async fn a_crowd_is_led_by_one(store: &Store, candidates: usize) {
    let mut electors: Vec<Elector> = Vec::new();
    while electors.len() < candidates {
        let mut starting = JoinSet::new();
        for _ in 0..GREETED.min(candidates - electors.len()) {
            let store = store.clone();
            starting.spawn(async move { elector(&store).await });
        }
        electors.append(&mut starting.join_all().await);
    }
    let ring = Arc::new(Ring::default());
    let mut running = JoinSet::new();
    for (at, elector) in electors.iter().enumerate() {
        let (elector, ring, store) = (elector.clone(), Arc::clone(&ring), store.clone());
        running.spawn(async move {
            let mut campaign = campaign(&elector, "crowd", &format!("c{at}"));
            let leadership = campaign.elected().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ring.inside.fetch_add(1, SeqCst), 0, "two leaders at once");
            tokio::time::sleep(store.ttl / 64).await;
            ring.tokens().push(leadership.token());
            // Lost, it says so before somebody else can lead.
            ring.inside.fetch_sub(1, SeqCst);
            leadership.resign();
        });
    }
    let begun = Instant::now();
    while ring.tokens().len() < TENURES {
        assert!(begun.elapsed() < PATIENCE * 4, "only {} tenures", ring.tokens().len());
        tokio::select! {
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    running.shutdown().await;
    let tokens = ring.tokens().clone();
    assert!(tokens.is_sorted_by(|one, next| one < next), "tokens fall: {tokens:?}");
    electors.iter().for_each(Elector::close);
}

/// A thousand elections on one session are granted, and kept for several leases.
///
/// # Panics
/// When that is not so.
pub async fn a_thousand_elections_on_one_session(store: &Store) {
    let elector = elector(store).await;
    let mut campaigns: Vec<_> =
        (0..ELECTIONS).map(|at| campaign(&elector, &format!("thousand/{at}"), "one")).collect();
    let mut held = Vec::new();
    for campaign in &mut campaigns {
        held.push(elected(campaign).await);
    }
    let begun = Instant::now();
    while begun.elapsed() < store.ttl * 3 {
        for leadership in &held {
            assert!(leadership.check().is_ok(), "{:?}", leadership.check());
        }
        tokio::time::sleep(store.ttl / 8).await;
    }
    // Given back all at once, they are free for another at once.
    held.clear();
    let mut next = campaign(&super::electors::elector(store).await, "thousand/999", "two");
    assert!(elected(&mut next).await.check().is_ok());
}
