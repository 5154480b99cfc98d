//! The port to the disk: one directory of files, and exactly the steps whose order matters
//! after a crash. Tests put a disk behind it that forgets what was not flushed.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, thread};

use rustix::fs::{AtFlags, Mode, OFlags};

/// Work that may run while the caller goes on.
pub(super) type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The files of one directory. Names are plain file names.
pub(super) trait Disk: Send + Sync {
    /// Names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// The whole content.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// A new empty file in place of what is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, to write into.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file the name of another one, which goes away in the same instant.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable. Contents are [`DiskFile::sync`]'s business.
    fn sync(&self) -> io::Result<()>;
    /// Runs a job beside the caller where that saves time.
    fn beside(&self, job: Job) -> Beside;
}

/// One file that is written to.
pub(super) trait DiskFile: Send {
    /// Writes all bytes at an offset; the file grows when they reach beyond its end.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content and the length durable.
    fn sync(&self) -> io::Result<()>;
}

/// A job that runs, or ran, beside its caller. Dropping it waits for its end: two storages
/// must never work in one directory, not even for a moment.
pub(super) struct Beside(Option<Run>);

enum Run {
    Thread(thread::JoinHandle<io::Result<()>>),
    Done(io::Result<()>),
}

impl Beside {
    pub(super) fn done(result: io::Result<()>) -> Self {
        Self(Some(Run::Done(result)))
    }

    /// Waits for the end of the job.
    pub(super) fn join(mut self) -> io::Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.0.take() {
            None => Ok(()),
            Some(Run::Thread(thread)) => thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the helper thread panicked"))),
            Some(Run::Done(result)) => result,
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Whoever wanted the result called `join`.
        let _ = self.wait();
    }
}

/// Writes a file so that after a crash either the old or the new content is there, whole.
pub(super) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}{TEMPORARY}");
    let steps = || {
        let file = disk.create(&temporary)?;
        file.write(0, bytes)?;
        file.sync()?;
        disk.rename(&temporary, name)?;
        disk.sync()
    };
    steps().inspect_err(|_| {
        // On a full disk the half-written file would hold the very space that is missing.
        let _ = disk.remove(&temporary);
    })
}

/// Ends the names of files that are not finished; they are removed at the next start.
pub(super) const TEMPORARY: &str = ".tmp";

/// The real directory.
#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<File>);

impl Directory {
    pub(super) fn new(directory: File) -> Self {
        Self(Arc::new(directory))
    }

    pub(super) fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&*self.0, name, flags | OFlags::CLOEXEC, mode)?.into())
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in rustix::fs::Dir::read_from(&*self.0)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = item?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.open_with(name, OFlags::RDONLY)?, &mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        Ok(Box::new(self.open_with(name, flags)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_with(name, OFlags::WRONLY)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&*self.0, from, &*self.0, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&*self.0, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.0)?)
    }

    fn beside(&self, job: Job) -> Beside {
        match thread::Builder::new().name("tenure-segment".to_owned()).spawn(job) {
            Ok(thread) => Beside(Some(Run::Thread(thread))),
            Err(error) => Beside::done(Err(error)),
        }
    }
}

impl DiskFile for File {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }
}
