//! Proof that the process at the other end of a unix connection is dead.
//!
//! The kernel remembers who connected (or, seen from the other side, who listens), and gives
//! out a pidfd of exactly that process: no number that could have been used again in between.
//! It becomes readable when the last thread of the process is gone. It does not name whoever
//! uses the socket now: an inherited socket of a dead process still speaks. So the pid that the
//! other end claims in its handshake must be the one that the kernel remembers.

use std::{io, os::fd::OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::conn::Conn;
use crate::wire::Host;

/// A pidfd of the process at the other end, taken race-free.
#[derive(Debug)]
pub(crate) struct Proof {
    pidfd: AsyncFd<OwnedFd>,
    pid: u32,
}

impl Proof {
    /// Takes the pidfd. None for a TCP connection, when the process is gone already, or when
    /// the kernel does not know how (before 6.5).
    pub(crate) fn take(conn: &Conn) -> Option<Self> {
        if !conn.is_unix() {
            return None;
        }
        let pid = u32::try_from(socket_peercred(conn).ok()?.pid.as_raw_nonzero().get()).ok()?;
        let pidfd = getsockopt(conn, sockopt::PeerPidfd).ok()?;
        Some(Self { pidfd: register(pidfd)?, pid })
    }

    /// The proof, provided that it speaks of the process that says `Hello` or `Welcome` from
    /// `theirs`, seen from `ours`.
    pub(crate) fn of(self, theirs: &Host, ours: &Host) -> Option<Self> {
        let same = super::host::share_machine(theirs, ours) && theirs.pid == self.pid;
        same.then_some(self)
    }

    /// Whether the process is dead by now.
    pub(crate) fn is_dead(&self) -> bool {
        is_dead(self.pidfd.get_ref()).unwrap_or(false)
    }

    /// Waits until the process is dead. Cancel safe. Never ends when the kernel refuses to
    /// tell: then there is no proof, and the lease must run out.
    pub(crate) async fn death(&self) {
        loop {
            let Ok(mut guard) = self.pidfd.readable().await else {
                return std::future::pending().await;
            };
            if self.is_dead() {
                return;
            }
            guard.clear_ready();
        }
    }
}

/// The constructor is deprecated because a type could close its descriptor behind the
/// runtime's back; its successor is `unsafe` and asks for just what `OwnedFd` promises.
#[allow(deprecated)]
fn register(pidfd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE).ok()
}

fn is_dead(pidfd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}
