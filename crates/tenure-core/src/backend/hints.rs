//! Hints that the keeper has not fetched yet.

use alloc::collections::BTreeSet;
use core::{
    mem,
    task::{Context, Poll, Waker},
};

use super::Change;
use crate::{ElectionName, SessionId};

/// What a store was told and has not passed on yet ([`super::Backend::changed`]).
///
/// A hint that waits already is not kept twice, and of too many elections only that there were
/// many: it takes no more room than that, however slow its reader. It is for one reader; the
/// store keeps it behind a lock, since hints come from elsewhere.
#[derive(Debug, Default)]
pub struct Hints {
    elections: BTreeSet<ElectionName>,
    gone: BTreeSet<SessionId>,
    everything: bool,
    reader: Option<Waker>,
}

impl Hints {
    /// Elections that are remembered one by one.
    pub const MOST: usize = 1024;

    /// This election may have changed.
    pub fn changed(&mut self, election: ElectionName) {
        self.elections.insert(election);
        if self.elections.len() > Self::MOST {
            self.everything = true;
        }
        self.wake();
    }

    /// Hints were missed: every election may have changed.
    pub fn everything(&mut self) {
        self.everything = true;
        self.wake();
    }

    /// The session is gone, and with it all that it held.
    pub fn gone(&mut self, session: SessionId) {
        self.gone.insert(session);
        self.wake();
    }

    fn wake(&mut self) {
        if self.everything {
            self.elections.clear();
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn take(&mut self) -> Option<Change> {
        if let Some(session) = self.gone.pop_first() {
            return Some(Change::Gone(session));
        }
        if mem::take(&mut self.everything) {
            return Some(Change::Everything);
        }
        let elections = mem::take(&mut self.elections);
        (!elections.is_empty()).then(|| Change::Elections(elections.into_iter().collect()))
    }

    /// The next hint, sessions that are gone first. Nothing is taken before there is something
    /// to give, so a reader may give up at any time; the last one that asked is woken.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Change> {
        match self.take() {
            Some(change) => Poll::Ready(change),
            None => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Incarnation;
    use alloc::{format, sync::Arc, task::Wake, vec};
    use core::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn name(at: usize) -> ElectionName {
        ElectionName::new(format!("e{at}")).expect("a name")
    }

    #[test]
    fn hints_are_gathered_and_their_reader_is_woken_once() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut hints = Hints::default();
        assert_eq!(hints.poll(&mut cx), Poll::Pending);
        for at in [2, 1, 2] {
            hints.changed(name(at));
        }
        let session = SessionId { process: Incarnation::from_random(1), number: 1 };
        hints.gone(session);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "it has not asked again");
        assert_eq!(hints.poll(&mut cx), Poll::Ready(Change::Gone(session)));
        let both = Change::Elections(vec![name(1), name(2)]);
        assert_eq!(hints.poll(&mut cx), Poll::Ready(both));
        assert_eq!(hints.poll(&mut cx), Poll::Pending);
    }

    #[test]
    fn many_are_one() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut hints = Hints::default();
        for at in 0..=Hints::MOST {
            hints.changed(name(at));
        }
        hints.changed(name(0));
        assert_eq!(hints.poll(&mut cx), Poll::Ready(Change::Everything));
        assert_eq!(hints.poll(&mut cx), Poll::Pending);
    }
}
