//! `file:///directory`: elections among the processes of one machine, without any daemon.
//!
//! Each election has two files: `NAME.lock`, locked by its holder for as long as it holds, and
//! `NAME.json`, which says who holds it with which token. The kernel releases the lock when the
//! holder dies, however it dies, so a successor leads within a millisecond; and it never
//! releases it before, so a holder that is only paused keeps it: nobody else can lead until it
//! goes on or dies. A copy of the descriptor ([`Locks`]) keeps it as well: who runs the work in
//! other processes gives them one, and the lock lives as long as the last of them. Who gives
//! leadership up unlocks, copies or not, because the work has ended. Who deletes a lock file takes
//! the election from its holder; the next one waits until that one's lease is over.
//!
//! | our word | its thing |
//! |---|---|
//! | lease | an open-file-description lock (`F_OFD_SETLK`) on `NAME.lock` |
//! | token | a number in `NAME.json`, raised and synced to disk before the grant is told |
//! | renewal | a look whether the lock file is still the one that is locked |
//! | hint | inotify: the file of a dead or resigned holder is closed |

mod files;
mod hints;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use core::{future::Future, pin::Pin, time::Duration};
use tenure_core::{
    CandidateId, ElectionName, SessionId,
    backend::{
        Answer, Backend, Bid, Capabilities, Change, Connect, ConnectError, Guarantee, Hold,
        Holding, Slot, StoreError,
    },
    timing::Ttl,
};

use files::{Directory, Lock};
use hints::Hints;

/// A lock that was closed a moment ago is free a moment later: the kernel tells of the closing
/// first.
const SOON: Duration = Duration::from_millis(1);

/// One process's locks in a directory.
#[derive(Debug)]
struct Files {
    directory: Directory,
    hints: Hints,
    open: Arc<Mutex<Open>>,
    capabilities: Capabilities,
}

/// Files that are held or waited for. A waiter keeps its file open: closing it would look like
/// a release to everybody else.
#[derive(Debug, Default)]
struct Open(BTreeMap<ElectionName, (SessionId, Lock)>);

/// The locks that this process holds, for whoever must keep one beyond its death.
#[derive(Debug, Clone)]
pub(crate) struct Locks(Arc<Mutex<Open>>);

impl Locks {
    /// A copy of the lock on an election, when this process has it.
    pub(crate) fn copy(&self, election: &ElectionName) -> io::Result<Option<OwnedFd>> {
        let open = lock(&self.0);
        let held = open.0.get(election).filter(|(_, lock)| lock.is_granted());
        held.map(|(_, lock)| lock.copy()).transpose()
    }
}

/// Uses a directory, and makes it when it is not there.
pub(super) fn connect(connect: &Connect) -> Result<(Arc<dyn Backend>, Locks), ConnectError> {
    let bad = |why: String| ConnectError::Url { what: connect.url.clone(), why };
    let path = connect.url.trim_start_matches("file://");
    if !path.starts_with('/') || path.contains('?') {
        let why = "it needs the full path of a directory and nothing else, for example \
                   file:///var/lock/jobs";
        return Err(bad(String::from(why)));
    }
    let unusable = |why: String| ConnectError::Unusable { store: connect.url.clone(), why };
    let directory = Directory::open(PathBuf::from(path)).map_err(&unusable)?;
    let hints = Hints::of(directory.path()).map_err(unusable)?;
    let open = Arc::<Mutex<Open>>::default();
    let locks = Locks(Arc::clone(&open));
    Ok((Arc::new(Files { directory, hints, open, capabilities: capabilities() }), locks))
}

fn capabilities() -> Capabilities {
    Capabilities {
        store: String::from("file"),
        shortest_ttl: Ttl::MIN.get(),
        ttl_step: Duration::from_millis(1),
        expired_by: String::from("nobody: the kernel releases a lock when its holder dies"),
        one_holder: Guarantee::If(String::from(
            "the directory lies on a local file system of one machine",
        )),
        monotonic_token: Guarantee::If(String::from("nobody deletes the files")),
        pushed: Guarantee::Yes,
        queue: false,
        transfer: false,
        pads_leases: false,
        expiry_delay: Duration::ZERO,
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// Runs something that may wait for the disk.
    fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory, &mut Open) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (directory, open) = (self.directory.clone(), Arc::clone(&self.open));
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || work(&directory, &mut lock(&open)));
            work.await.unwrap_or_else(|error| {
                Err(StoreError::Unavailable { why: format!("the work was given up: {error}") })
            })
        })
    }
}

impl Backend for Files {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, _session: SessionId, _ttl: Ttl) -> Answer<'_, ()> {
        Box::pin(core::future::ready(Ok(())))
    }

    fn close(&self, session: SessionId) -> Answer<'_, ()> {
        self.aside(move |directory, open| {
            let mine = open.0.extract_if(.., |_, (holder, _)| *holder == session);
            for (election, (_, lock)) in mine {
                lock.give_up(directory, &election);
            }
            Ok(())
        })
    }

    fn acquire(&self, bid: Bid) -> Answer<'_, Holding> {
        let released = self.hints.released_lately();
        self.aside(move |directory, open| {
            let election = bid.election.clone();
            // A later campaign of this process says that nothing runs under the former.
            let kept = open.0.remove(&election);
            let (held, mut lock) = match kept {
                Some((holder, lock)) if lock.is_in_place(directory, &election) => {
                    (holder == bid.session && lock.is_granted(), lock)
                }
                _ => (false, directory.lock_file(&election)?),
            };
            let quiet = match lock.try_lock()? && !held {
                true => directory.quiet(&election, &mut lock)?,
                false => None,
            };
            let mut holding = match lock.is_locked() && !held && quiet.is_none() {
                true => directory.grant(&bid, &mut lock)?,
                false => directory.read(&election)?,
            };
            if !lock.is_granted() {
                holding.again = quiet.or_else(|| released.then_some(SOON));
            }
            open.0.insert(election, (bid.session, lock));
            Ok(holding)
        })
    }

    fn withdraw(&self, session: SessionId, election: ElectionName) -> Answer<'_, ()> {
        self.aside(move |_, open| {
            if open.0.get(&election).is_some_and(|(holder, _)| *holder == session) {
                open.0.remove(&election);
            }
            Ok(())
        })
    }

    fn renew(&self, session: SessionId, holds: Vec<Hold>) -> Answer<'_, Vec<ElectionName>> {
        self.aside(move |directory, open| {
            let kept = |hold: &Hold| {
                open.0.get(&hold.election).is_some_and(|(holder, lock)| {
                    let in_place = lock.is_in_place(directory, &hold.election);
                    *holder == session && lock.is_granted() && in_place
                })
            };
            Ok(holds.iter().filter(|hold| !kept(hold)).map(|hold| hold.election.clone()).collect())
        })
    }

    fn release(&self, hold: Hold, _successor: Option<CandidateId>) -> Answer<'_, bool> {
        self.aside(move |directory, open| {
            let held = open
                .0
                .get(&hold.election)
                .is_some_and(|(holder, lock)| *holder == hold.session && lock.is_granted());
            if held && let Some((_, lock)) = open.0.remove(&hold.election) {
                lock.give_up(directory, &hold.election);
            }
            Ok(held)
        })
    }

    fn look(&self, elections: Vec<ElectionName>) -> Answer<'_, Vec<Holding>> {
        self.aside(move |directory, open| {
            let look = |election: &ElectionName| {
                let mut holding = directory.read(election)?;
                let own = open.0.get(election).is_some_and(|(_, lock)| lock.is_locked());
                if !own && !directory.is_locked(election)? {
                    holding.holder = None;
                }
                Ok(holding)
            };
            elections.iter().map(look).collect()
        })
    }

    fn take(&self, slot: Slot) -> Answer<'_, Slot> {
        self.aside(move |directory, open| {
            if !open.0.get(&slot.election).is_some_and(|(_, lock)| lock.is_granted()) {
                let why = format!("this process does not hold {}", slot.election);
                return Err(StoreError::Refused { why });
            }
            directory.take(&slot)
        })
    }

    fn follow(&self, _election: ElectionName) {}

    fn unfollow(&self, _election: &ElectionName) {}

    fn changed(&self) -> Pin<Box<dyn Future<Output = Change> + Send + '_>> {
        Box::pin(self.hints.next())
    }
}
