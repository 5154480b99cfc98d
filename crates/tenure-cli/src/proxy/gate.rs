//! One guard: the decisions of [`Passage`], a mark on the disk, and who waits.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tenure::fence::{FileMark, Mark};
use tenure_core::{ElectionName, Token};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    answer::Refusal,
    passage::{Passage, Stage, Verdict},
};

/// The guard of one resource.
#[derive(Debug)]
pub(crate) struct Gate {
    election: ElectionName,
    mark: Arc<FileMark>,
    passage: Mutex<Passage>,
    newest: watch::Sender<Token>,
    ended: Notify,
    drain: Duration,
}

/// A request that was let in. Nobody newer is, before it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    number: u64,
    token: Token,
}

impl Gate {
    /// Reads the mark; makes it when it is not there.
    pub(crate) fn open(path: PathBuf, election: ElectionName, drain: Duration) -> io::Result<Self> {
        let mark = FileMark::open(path)?;
        let newest = mark.raise(Token::default())?;
        Ok(Self {
            election,
            mark: Arc::new(mark),
            passage: Mutex::new(Passage::new(newest)),
            newest: watch::Sender::new(newest),
            ended: Notify::new(),
            drain,
        })
    }

    pub(crate) fn election(&self) -> &ElectionName {
        &self.election
    }

    pub(crate) fn newest(&self) -> Token {
        self.passage().newest()
    }

    /// How many requests are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.passage().under_way()
    }

    fn passage(&self) -> MutexGuard<'_, Passage> {
        self.passage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in, once nothing older can be overtaken by it.
    pub(crate) async fn enter(self: &Arc<Self>, token: Token) -> Result<Pass, Refusal> {
        let patient_until = Instant::now() + self.drain;
        let mut newest = self.newest.subscribe();
        loop {
            // Registered before it is asked, so that no end is missed in between.
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            newest.borrow_and_update();
            let patient = Instant::now() < patient_until;
            let verdict = self.passage().ask(token, patient);
            match verdict {
                Verdict::Pass(number) => {
                    return Ok(Pass { gate: Arc::clone(self), number, token });
                }
                Verdict::Stale(newest) => return Err(Refusal::Stale { presented: token, newest }),
                Verdict::Raise => self.raise(token).await?,
                Verdict::Wait if !patient => return Err(Refusal::Busy { presented: token }),
                Verdict::Wait => tokio::select! {
                    () = ended => {}
                    _ = newest.changed() => {}
                    () = sleep_until(patient_until) => {}
                },
            }
        }
    }

    /// From now on nobody is let in under an older token, also after a crash.
    pub(crate) async fn raise(&self, token: Token) -> Result<(), Refusal> {
        let mark = Arc::clone(&self.mark);
        let raised = tokio::task::spawn_blocking(move || mark.raise(token)).await;
        let newest =
            raised.map_err(io::Error::from).and_then(|raised| raised).map_err(|error| {
                if error.kind() == io::ErrorKind::TimedOut {
                    return Refusal::Busy { presented: token };
                }
                tracing::error!(election = %self.election, %error, "the mark cannot be kept");
                Refusal::Mark { why: error.to_string() }
            })?;
        self.passage().raised(newest);
        self.newest.send_if_modified(|present| {
            let raised = newest > *present;
            *present = newest.max(*present);
            raised
        });
        Ok(())
    }
}

impl Pass {
    /// The request has come so far.
    pub(crate) fn reach(&self, stage: Stage) {
        self.gate.passage().reach(self.number, stage);
        // Answers are in nobody's way once the patience of who waits is over.
        self.gate.ended.notify_waiters();
    }

    /// When it is to be cut, because somebody else leads: with what to say to it.
    pub(crate) async fn cut(&self) -> Refusal {
        let newest = self.overtaken().await;
        if !self.gate.passage().is_cut(self.number) {
            // The upstream has all of it: it can only be waited for.
            std::future::pending::<()>().await;
        }
        Refusal::Overtaken { presented: self.token, newest }
    }

    /// When the delivery of its answer has to end, because somebody else leads.
    pub(crate) async fn drained(&self) {
        self.overtaken().await;
        sleep(self.gate.drain).await;
        loop {
            let moved = self.gate.ended.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            if self.gate.passage().is_answered(self.number) {
                return;
            }
            moved.await;
        }
    }

    async fn overtaken(&self) -> Token {
        let mut newest = self.gate.newest.subscribe();
        let overtaken = newest.wait_for(|newest| *newest > self.token).await;
        let newest = overtaken.ok().map(|newest| *newest);
        match newest {
            Some(newest) => newest,
            // The gate lives as long as this does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.passage().end(self.number);
        self.gate.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(dir: &tempfile::TempDir, drain: Duration) -> Arc<Gate> {
        let election = ElectionName::new("e").unwrap();
        Arc::new(Gate::open(dir.path().join("mark"), election, drain).unwrap())
    }

    #[tokio::test]
    async fn a_newer_token_waits_and_keeps_older_ones_out_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(&dir, Duration::from_secs(60));
        let old = gate.enter(Token::new(1)).await.unwrap();
        old.reach(Stage::Sent);
        let newer = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(Token::new(2)).await.map(|pass| pass.token) }
        });
        // Told by the mark itself, which is on the disk by then.
        assert_eq!(old.overtaken().await, Token::new(2));
        assert!(matches!(gate.enter(Token::new(1)).await, Err(Refusal::Stale { .. })));
        assert!(!newer.is_finished());
        drop(old);
        assert_eq!(newer.await.unwrap().unwrap(), Token::new(2));
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_to_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(&dir, Duration::from_millis(1));
        let old = gate.enter(Token::new(1)).await.unwrap();
        old.reach(Stage::Sent);
        assert!(matches!(gate.enter(Token::new(2)).await, Err(Refusal::Busy { .. })));
        // An answer that nobody fetches is not waited for.
        old.reach(Stage::Answered);
        gate.enter(Token::new(2)).await.unwrap();
        old.drained().await;
    }

    #[tokio::test]
    async fn the_mark_outlives_the_gate() {
        let dir = tempfile::tempdir().unwrap();
        let first = gate(&dir, Duration::ZERO);
        first.enter(Token::new(7)).await.unwrap();
        let again = gate(&dir, Duration::ZERO);
        assert_eq!(again.newest(), Token::new(7));
        assert!(matches!(again.enter(Token::new(6)).await, Err(Refusal::Stale { .. })));
    }
}
