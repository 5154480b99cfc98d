//! Reading the log at start, and the decision whether its end may be cut.

use std::collections::BTreeMap;

use tenure_replica::Entry;

use super::{
    disk::Beside,
    error::StorageError,
    frame::{self, Found},
    home::{Home, number_of, numbered},
    record::Record,
    view::View,
    wal::{Active, LOG, Next, Sealed, Wal, highest_entry},
};

/// What the log files say.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) view: View,
    entries: BTreeMap<u64, Entry>,
    sequence: u64,
    /// The files with at least one batch, oldest first.
    used: Vec<Sealed>,
    /// Files before a gap: a removal that was under way.
    stale: Vec<u64>,
    /// Where the last batch stands in the last used file, from and to.
    last_batch: (usize, usize),
    torn: Option<Torn>,
    /// Newest file, used or not.
    newest: u64,
}

struct Torn {
    segment: u64,
    offset: usize,
    reason: &'static str,
    /// Bytes of the file.
    length: usize,
}

impl Replay {
    /// Reads all log files and changes none.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] for anything that an interrupted write does not explain.
    pub(super) fn read(home: &Home) -> Result<Self, StorageError> {
        let mut replay = Self::default();
        let numbers = replay.find_segments(home)?;
        for &number in &numbers {
            let name = numbered(LOG, number);
            let bytes = home.read(&name)?;
            if let Some(torn) = &replay.torn
                && bytes.iter().any(|&byte| byte != 0)
            {
                let reason = format!("{}, yet {name} goes on after it", torn.reason);
                return Err(home.corrupt(&numbered(LOG, torn.segment), torn.offset, reason));
            }
            replay.read_segment(home, number, &bytes)?;
            replay.newest = number;
        }
        let first = numbered(LOG, numbers.first().copied().unwrap_or(1));
        if replay.sequence == 0 {
            return Err(home.corrupt(&first, 0, "the batch that every log starts with is gone"));
        }
        let view = &replay.view;
        if view.base > view.compacted {
            let (from, to) = (view.compacted + 1, view.base);
            let reason = format!("entries {from} to {to} stood in an earlier file that is gone");
            return Err(home.corrupt(&first, 0, reason));
        }
        Ok(replay)
    }

    /// The numbers of the newest files without a gap; what is before a gap was being removed
    /// when the node went down, which the entries prove once they are read.
    fn find_segments(&mut self, home: &Home) -> Result<Vec<u64>, StorageError> {
        let names = home.list()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|n| number_of(LOG, n)).collect();
        numbers.sort_unstable();
        let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        let newest = numbers.split_off(gap.map_or(0, |at| at + 1));
        self.stale = numbers;
        Ok(newest)
    }

    fn read_segment(&mut self, home: &Home, number: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let name = numbered(LOG, number);
        let mut offset = 0;
        loop {
            match frame::read(bytes, offset) {
                Found::End => return Ok(()),
                Found::Damaged(reason) => return Err(home.corrupt(&name, offset, reason)),
                Found::Torn(reason) => {
                    let length = bytes.len();
                    self.torn = Some(Torn { segment: number, offset, reason, length });
                    return Ok(());
                }
                Found::Batch { sequence, payload, end } => {
                    self.read_batch(home, (number, offset), sequence, payload)
                        .map_err(|reason| home.corrupt(&name, offset, reason))?;
                    self.last_batch = (offset, end);
                    offset = end;
                }
            }
        }
    }

    fn read_batch(
        &mut self,
        home: &Home,
        (segment, offset): (u64, usize),
        sequence: u64,
        payload: &[u8],
    ) -> Result<(), String> {
        if self.sequence != 0 && sequence != self.sequence + 1 {
            return Err(format!("batch {sequence} follows batch {}", self.sequence));
        }
        let mut records = frame::decode(payload)?;
        if offset == 0 {
            self.start_segment(home, segment, &records)?;
            records.remove(0);
        }
        if let Some(used) = self.used.last_mut() {
            used.highest = used.highest.max(highest_entry(&records));
        }
        for record in records {
            self.view.apply(&record)?;
            match record {
                Record::Entries(entries) => {
                    // What was there from the first of them on is overwritten.
                    let first = entries.first().map_or(u64::MAX, |entry| entry.index);
                    self.entries.split_off(&first);
                    self.entries.extend(entries.into_owned().into_iter().map(|e| (e.index, e)));
                }
                Record::Snapshot { replaces_log: true, .. } => self.entries.clear(),
                Record::Compacted(to) => self.entries = self.entries.split_off(&(to + 1)),
                Record::Head(_) | Record::Snapshot { .. } | Record::HardState(_) => {}
            }
        }
        self.sequence = sequence;
        Ok(())
    }

    /// Checks the head of a file, and starts from it when no older file is left.
    fn start_segment(
        &mut self,
        home: &Home,
        segment: u64,
        records: &[Record<'_>],
    ) -> Result<(), String> {
        let Some(Record::Head(head)) = records.first() else {
            return Err("the file does not start with what was known before it".to_owned());
        };
        if head.directory != home.identity.directory {
            return Err("the file was written in another data directory".to_owned());
        }
        if head.segment != segment {
            return Err(format!("the file was written as {}", numbered(LOG, head.segment)));
        }
        if self.used.is_empty() {
            self.view = View::from_head(head);
        } else if self.view.head(head.directory, segment) != *head {
            return Err("the file does not go on where the one before it ends".to_owned());
        }
        self.used.push(Sealed { number: segment, highest: 0 });
        Ok(())
    }

    /// Brings the files in order, so that what was read here is durable and nothing else can
    /// be read at the next start.
    pub(super) fn repair(
        mut self,
        home: &Home,
        segment_bytes: u64,
    ) -> Result<(Wal, Vec<Entry>), StorageError> {
        let last = self.used.pop().unwrap_or(Sealed { number: 1, highest: 0 });
        self.flush_last_batch(home, last.number)?;
        self.cut_torn_end(home)?;
        home.disk.sync().map_err(home.failed("flush", ""))?;
        for &number in &self.stale {
            home.remove(&numbered(LOG, number))?;
        }
        let name = numbered(LOG, last.number);
        let active = Active {
            number: last.number,
            file: home.disk.open(&name).map_err(home.failed("open", &name))?,
            tail: self.last_batch.1 as u64,
            highest: last.highest,
        };
        let next = match self.newest > last.number {
            true => Next::Prepared(Beside::done(Ok(()))),
            false => Next::Missing,
        };
        let sealed = std::mem::take(&mut self.used);
        let mut wal = Wal::resume(home.clone(), segment_bytes, self.sequence, sealed, active, next);
        wal.remove_before(self.view.compacted)?;
        Ok((wal, self.entries.into_values().collect()))
    }

    /// Writes the last batch once more. It may have been read from the page cache only: after
    /// a kill before the flush, or after a flush that failed, when the kernel keeps the data
    /// but takes it for clean and would not write it again.
    fn flush_last_batch(&self, home: &Home, segment: u64) -> Result<(), StorageError> {
        let name = numbered(LOG, segment);
        let bytes = home.read(&name)?;
        let (from, to) = self.last_batch;
        let batch = bytes.get(from..to).unwrap_or_default();
        let file = home.disk.open(&name).map_err(home.failed("open", &name))?;
        file.write(from as u64, batch).map_err(home.failed("write", &name))?;
        file.sync().map_err(home.failed("flush", &name))
    }

    /// Zeroes the rest of a batch that was never acknowledged, so that it cannot be taken for
    /// a part of a later one. A crash in here leaves it torn, and is repaired in the same way.
    fn cut_torn_end(&self, home: &Home) -> Result<(), StorageError> {
        let Some(torn) = &self.torn else { return Ok(()) };
        let name = numbered(LOG, torn.segment);
        tracing::warn!(
            file = %home.path.join(&name).display(),
            offset = torn.offset,
            reason = torn.reason,
            "cut back the log: its last batch was being written when the node went down, and \
             was never acknowledged"
        );
        let zeros = vec![0; torn.length.next_multiple_of(frame::SECTOR) - torn.offset];
        let file = home.disk.open(&name).map_err(home.failed("open", &name))?;
        file.write(torn.offset as u64, &zeros).map_err(home.failed("write", &name))?;
        file.sync().map_err(home.failed("flush", &name))
    }
}
