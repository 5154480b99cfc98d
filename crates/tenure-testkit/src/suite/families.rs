//! Elections that are spread over those who are there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tenure::{Error, Lead, Token};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{Store, electors::elector};
use crate::PATIENCE;

const PARTITIONS: u32 = 8;

/// Who works on which partition.
#[derive(Debug, Default)]
struct Board {
    working: Mutex<BTreeMap<u32, &'static str>>,
    tokens: Mutex<BTreeMap<u32, Token>>,
    changes: watch::Sender<u64>,
}

impl Board {
    fn begin(self: &Arc<Self>, partition: u32, who: &'static str, lead: &Lead) -> Entry {
        let token = lead.check().expect("it was granted just now");
        let before = lock(&self.tokens).insert(partition, token);
        assert!(before.is_none_or(|before| before < token), "tokens of {partition} fall");
        let other = lock(&self.working).insert(partition, who);
        assert_eq!(other, None, "two work on {partition}");
        self.changes.send_modify(|count| *count += 1);
        Entry(Arc::clone(self), partition)
    }

    async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<&str, u32>) -> bool) {
        let mut changes = self.changes.subscribe();
        let reached = async {
            loop {
                let mut counts = BTreeMap::new();
                for who in lock(&self.working).values() {
                    *counts.entry(*who).or_insert(0) += 1;
                }
                if counts.values().sum::<u32>() == PARTITIONS && wanted(&counts) {
                    return;
                }
                changes.changed().await.expect("the board is there");
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("never {what}: {:?}", lock(&self.working)));
    }
}

/// Work on one partition, until it is dropped.
struct Entry(Arc<Board>, u32);

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.0.working).remove(&self.1);
        self.0.changes.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A participant that works until it is told to stop.
struct Working {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

async fn join(store: &Store, board: &Arc<Board>, who: &'static str) -> Working {
    let elector = elector(store).await;
    let family = elector.partitions("family", PARTITIONS).expect("a family");
    let participant =
        family.participant(who).expect("a participant").settle(Duration::from_millis(50));
    let (stop, stopped) = oneshot::channel();
    let board = Arc::clone(board);
    let task = tokio::spawn(async move {
        let work = |partition, lead: Lead| {
            let entry = board.begin(partition, who, &lead);
            async move {
                let _entry = entry;
                core::future::pending::<()>().await;
                Ok::<(), Error>(())
            }
        };
        participant.run_until(stopped, work).await.map(drop)
    });
    Working { stop, task }
}

/// Eight elections of one family are spread evenly over participants that come, leave and end
/// without a word; two never work on one partition, and tokens only rise.
///
/// # Panics
/// When that is not so.
pub async fn a_family_is_shared_evenly(store: &Store) {
    let board = Arc::<Board>::default();
    let a = join(store, &board, "a").await;
    board.until("all with one", |counts| counts.get("a") == Some(&PARTITIONS)).await;
    let b = join(store, &board, "b").await;
    let c = join(store, &board, "c").await;
    let even = |counts: &BTreeMap<&str, u32>| {
        counts.len() == 3 && counts.values().all(|count| (2..=3).contains(count))
    };
    board.until("shared by three", even).await;
    b.stop.send(()).expect("it runs");
    b.task.await.expect("no panic").expect("no error");
    let halves = |counts: &BTreeMap<&str, u32>| counts.values().all(|count| *count == 4);
    board.until("shared by two", halves).await;
    c.task.abort();
    board.until("all with one again", |counts| counts.get("a") == Some(&PARTITIONS)).await;
    a.stop.send(()).expect("it runs");
    a.task.await.expect("no panic").expect("no error");
    assert_eq!(lock(&board.working).len(), 0, "somebody works on");
}
