//! Writing the log: numbered files of zeros that are filled from the front, one batch after
//! the other, each flushed before the next is written.
//!
//! A file is zeroed and flushed before it is used, so that a batch changes neither its length
//! nor where its blocks are and the flush needs no journal commit of the file system.

use std::{io, sync::Arc};

use super::{
    disk::{Beside, Disk, DiskFile, Job, replace},
    error::StorageError,
    frame,
    home::{Home, numbered},
    record::{Head, Record},
    view::View,
};

/// Starts the name of a log file.
pub(super) const LOG: &str = "log-";

/// The log, ready to be written to.
pub(super) struct Wal {
    home: Home,
    /// Bytes of a file; a larger batch makes its file larger.
    segment_bytes: u64,
    active: Active,
    next: Next,
    /// Number of the last batch written.
    sequence: u64,
    /// The older files, oldest first.
    sealed: Vec<Sealed>,
    frame: Vec<u8>,
}

/// The file that is written to.
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) file: Box<dyn DiskFile>,
    /// Bytes used.
    pub(super) tail: u64,
    /// Highest index of an entry in it, zero without entries.
    pub(super) highest: u64,
}

/// A file that is only kept for the entries in it.
pub(super) struct Sealed {
    pub(super) number: u64,
    /// Highest index of an entry in it, zero without entries.
    pub(super) highest: u64,
}

/// The file after the active one.
pub(super) enum Next {
    Missing,
    Prepared(Beside),
}

impl Wal {
    /// Makes the log of a new node: one file whose first batch says that nothing happened yet.
    pub(super) fn create(home: &Home, segment_bytes: u64) -> Result<(), StorageError> {
        let number = 1;
        let name = numbered(LOG, number);
        prepare(&*home.disk, number, segment_bytes).map_err(home.failed("create", &name))?;
        let head = View::default().head(home.identity.directory, number);
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, 1, vec![Record::Head(head)])
            .map_err(|reason| StorageError::Impossible { reason })?;
        let file = home.disk.open(&name).map_err(home.failed("open", &name))?;
        file.write(0, &bytes).map_err(home.failed("write", &name))?;
        file.sync().map_err(home.failed("flush", &name))
    }

    /// Goes on where an earlier run stopped.
    pub(super) fn resume(
        home: Home,
        segment_bytes: u64,
        sequence: u64,
        sealed: Vec<Sealed>,
        active: Active,
        next: Next,
    ) -> Self {
        Self { home, segment_bytes, active, next, sequence, sealed, frame: Vec::new() }
    }

    /// Number of the file after the active one.
    pub(super) fn next_segment(&self) -> u64 {
        self.active.number + 1
    }

    /// Writes one batch and flushes it. `head` is what the log said until now, for the case
    /// that the batch starts the next file.
    ///
    /// # Errors
    /// [`StorageError`]; the batch is then durable or absent, and nothing may be written any
    /// more.
    pub(super) fn append(
        &mut self,
        head: Head,
        records: Vec<Record<'_>>,
    ) -> Result<(), StorageError> {
        let sequence = self.sequence + 1;
        let highest = highest_entry(&records);
        let impossible = |reason| StorageError::Impossible { reason };
        frame::encode(&mut self.frame, sequence, records.clone()).map_err(impossible)?;
        if self.active.tail + self.frame.len() as u64 > self.segment_bytes {
            self.roll_over()?;
            let records = [vec![Record::Head(head)], records].concat();
            frame::encode(&mut self.frame, sequence, records).map_err(impossible)?;
        }
        let name = numbered(LOG, self.active.number);
        let file = &self.active.file;
        file.write(self.active.tail, &self.frame).map_err(self.home.failed("write", &name))?;
        file.sync().map_err(self.home.failed("flush", &name))?;
        self.sequence = sequence;
        self.active.tail += self.frame.len() as u64;
        self.active.highest = self.active.highest.max(highest);
        self.prepare_next();
        Ok(())
    }

    /// Makes the next file while there is still room in the active one: zeroing and flushing
    /// a whole file takes many times as long as a batch does.
    fn prepare_next(&mut self) {
        if self.active.tail < self.segment_bytes / 2 || matches!(self.next, Next::Prepared(_)) {
            return;
        }
        let (disk, number) = (Arc::clone(&self.home.disk), self.next_segment());
        let bytes = self.segment_bytes;
        let job: Job = Box::new(move || prepare(&*disk, number, bytes));
        self.next = Next::Prepared(self.home.disk.beside(job));
    }

    fn roll_over(&mut self) -> Result<(), StorageError> {
        let number = self.next_segment();
        let name = numbered(LOG, number);
        let prepared = match std::mem::replace(&mut self.next, Next::Missing) {
            Next::Missing => None,
            Next::Prepared(job) => Some(job.join()),
        };
        match prepared {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if !may_have_passed(&error) => Err(error),
            None | Some(Err(_)) => prepare(&*self.home.disk, number, self.segment_bytes),
        }
        .map_err(self.home.failed("create", &name))?;
        let file = self.home.disk.open(&name).map_err(self.home.failed("open", &name))?;
        let active = Active { number, file, tail: 0, highest: 0 };
        let full = std::mem::replace(&mut self.active, active);
        self.sealed.push(Sealed { number: full.number, highest: full.highest });
        Ok(())
    }

    /// Removes the files at the front that hold no entry after `compacted`. Their removal need
    /// not be durable: a file that comes back is before a gap or says nothing new.
    pub(super) fn remove_before(&mut self, compacted: u64) -> Result<(), StorageError> {
        let kept = self.sealed.iter().position(|sealed| sealed.highest > compacted);
        for sealed in self.sealed.drain(..kept.unwrap_or(self.sealed.len())) {
            self.home.remove(&numbered(LOG, sealed.number))?;
        }
        Ok(())
    }
}

/// Makes a file of zeros, whole and durable before it has its name.
fn prepare(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<()> {
    let name = numbered(LOG, number);
    let zeros = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    replace(disk, &name, &zeros)
}

/// Whether an error of half a file ago says little about now. A failed flush does not count:
/// it is never tried again.
fn may_have_passed(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull, WouldBlock};
    matches!(error.kind(), StorageFull | QuotaExceeded | WouldBlock | OutOfMemory)
}

pub(super) fn highest_entry(records: &[Record<'_>]) -> u64 {
    let last = |record: &Record<'_>| match record {
        Record::Entries(entries) => entries.last().map(|entry| entry.index),
        _ => None,
    };
    records.iter().filter_map(last).max().unwrap_or(0)
}
