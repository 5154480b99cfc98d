//! What the kernel tells about a directory.

use std::{
    collections::BTreeSet,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use core::time::Duration;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tenure_core::{Moment, backend::Change};
use tokio::io::{Interest, unix::AsyncFd};

use super::files::unescaped;
use crate::system;

/// For so long after a file was closed its lock may be on the way to being free.
const LATELY: Duration = Duration::from_millis(100);
/// Room for some dozen events.
const BUFFER: usize = 8 << 10;

#[derive(Debug)]
pub(super) struct Hints {
    inotify: AsyncFd<OwnedFd>,
    last_closed: AtomicU64,
}

impl Hints {
    pub(super) fn of(directory: &Path) -> Result<Self, String> {
        let watch = || -> io::Result<AsyncFd<OwnedFd>> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let told = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
            inotify::add_watch(&inotify, directory, told)?;
            register(inotify)
        };
        let inotify = watch().map_err(|error| {
            format!("the kernel cannot watch it: {error} (see fs.inotify.max_user_instances)")
        })?;
        Ok(Self { inotify, last_closed: AtomicU64::new(0) })
    }

    /// Whether somebody has closed a file just now.
    pub(super) fn released_lately(&self) -> bool {
        let last = Moment::from_nanos(self.last_closed.load(Ordering::Relaxed));
        system::moment().since(last) < LATELY
    }

    /// The next hint. Cancel safe.
    pub(super) async fn next(&self) -> Change {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else {
                // The runtime ends; nobody reads hints any more.
                return core::future::pending().await;
            };
            match ready.try_io(|fd| read(fd.get_ref())) {
                Ok(Ok((changed, complete))) => {
                    self.last_closed.store(system::moment().as_nanos(), Ordering::Relaxed);
                    if !complete {
                        return Change::Everything;
                    }
                    if !changed.is_empty() {
                        return Change::Elections(changed.into_iter().collect());
                    }
                }
                Ok(Err(_)) => return Change::Everything,
                // Nothing to read after all.
                Err(_) => {}
            }
        }
    }
}

/// The constructor is deprecated because a type could close its descriptor behind the
/// runtime's back; its successor is `unsafe` and asks for just what `OwnedFd` promises.
#[allow(deprecated)]
fn register(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// Which elections were named, and whether none was left out.
fn read(fd: &OwnedFd) -> io::Result<(BTreeSet<tenure_core::ElectionName>, bool)> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let (mut changed, mut complete) = (BTreeSet::new(), true);
    loop {
        let event = reader.next()?;
        complete &= !event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED);
        let name = event.file_name().and_then(|name| name.to_str().ok());
        let ours = name.filter(|name| name.ends_with(".lock") || name.ends_with(".json"));
        changed.extend(ours.and_then(unescaped));
        if reader.is_buffer_empty() {
            return Ok((changed, complete));
        }
    }
}
