//! Proof of a holder's death, for processes of one machine that meet at a store.
//!
//! A store of leases cannot tell a dead holder from a silent one, so the lease must run out. A
//! process on the same machine can: the kernel gives out a pidfd of whoever listens on a unix
//! socket, taken race-free, which becomes readable when the last thread of that process is
//! gone. So each process listens on an abstract socket named after its incarnation, which the
//! store tells to everybody, and a waiter asks there for the holder's pidfd. An end of file, a
//! refused connection or a vanished name prove nothing.
//!
//! Only a process of the same user (or of root) is believed: whoever could pretend under that
//! name could as well speak to the store with this user's rights.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::PathBuf,
};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::geteuid,
};
use tenure_core::{ElectionName, Incarnation, backend::Hold};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

/// Processes that are remembered; more than hold elections that one process waits for.
const MAX_WATCHED: usize = 4096;

/// What is known of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is watched, or being asked for.
    Watched,
    /// It cannot be seen from here.
    Elsewhere,
    Dead,
}

/// Watches the holders that this process waits for.
#[derive(Debug)]
pub(super) struct Witness {
    own: Incarnation,
    fates: BTreeMap<Incarnation, Fate>,
    holds: BTreeMap<ElectionName, Hold>,
    watching: JoinSet<(Incarnation, Fate)>,
}

impl Witness {
    pub(super) fn new(own: Incarnation) -> Self {
        let (fates, holds) = (BTreeMap::new(), BTreeMap::new());
        Self { own, fates, holds, watching: JoinSet::new() }
    }

    /// From now on, others on this machine can prove the death of this process.
    pub(super) fn show_oneself(&self) -> io::Result<()> {
        let listener = UnixListener::bind(address(self.own))?;
        // Whoever connects takes the pidfd and goes; ends with the keeper's runtime.
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        Ok(())
    }

    /// Somebody holds an election that this process follows. Gives the hold when its process
    /// is dead already.
    pub(super) fn sees(&mut self, hold: Hold) -> Option<Hold> {
        let process = hold.session.process;
        if process == self.own {
            self.holds.remove(&hold.election);
            return None;
        }
        let fate = self.fates.get(&process).copied();
        if fate.is_none() {
            if self.fates.len() >= MAX_WATCHED {
                self.fates.retain(|_, fate| *fate == Fate::Watched);
            }
            self.fates.insert(process, Fate::Watched);
            self.watching.spawn(async move { (process, fate_of(process).await) });
        }
        if fate == Some(Fate::Dead) {
            return Some(hold);
        }
        self.holds.insert(hold.election.clone(), hold);
        None
    }

    /// This process does not wait for it any more, or nobody holds it.
    pub(super) fn forget(&mut self, election: &ElectionName) {
        self.holds.remove(election);
    }

    /// What a process held that has died. Never ends while none has. Cancel safe.
    pub(super) async fn death(&mut self) -> Vec<Hold> {
        loop {
            match self.watching.join_next().await {
                Some(Ok((process, fate))) => {
                    self.fates.insert(process, fate);
                    if fate == Fate::Dead {
                        let of =
                            |_: &ElectionName, hold: &mut Hold| hold.session.process == process;
                        return self.holds.extract_if(.., of).map(|(_, hold)| hold).collect();
                    }
                }
                // A task that panicked proves nothing.
                Some(Err(_)) => {}
                None => core::future::pending().await,
            }
        }
    }
}

/// An abstract name: there are no files to leave behind, and none to squat on.
fn address(process: Incarnation) -> PathBuf {
    let name = format!("\0tenure/{:016x}", process.get());
    PathBuf::from(OsString::from_vec(name.into_bytes()))
}

async fn fate_of(process: Incarnation) -> Fate {
    match pidfd(process).await {
        Some(pidfd) => death(&pidfd).await,
        None => Fate::Elsewhere,
    }
}

/// The pidfd of whoever listens there. None when that is nobody on this machine, another user,
/// or when the kernel does not know how (before 6.5).
async fn pidfd(process: Incarnation) -> Option<AsyncFd<OwnedFd>> {
    let stream = UnixStream::connect(address(process)).await.ok()?;
    let user = socket_peercred(&stream).ok()?.uid;
    if user != geteuid() && !user.is_root() {
        return None;
    }
    let pidfd = getsockopt(&stream, sockopt::PeerPidfd).ok()?;
    register(pidfd)
}

/// The constructor is deprecated because a type could close its descriptor behind the
/// runtime's back; its successor is `unsafe` and asks for just what `OwnedFd` promises.
#[allow(deprecated)]
fn register(pidfd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE).ok()
}

async fn death(pidfd: &AsyncFd<OwnedFd>) -> Fate {
    loop {
        let Ok(mut guard) = pidfd.readable().await else { return Fate::Elsewhere };
        let mut fds = [PollFd::new(pidfd.get_ref(), PollFlags::IN)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if polled.is_ok() && fds[0].revents().contains(PollFlags::IN) {
            return Fate::Dead;
        }
        guard.clear_ready();
    }
}
