//! Damage to real files: what an interrupted write can leave behind is cut, everything else
//! is refused with the place named, and nothing is ever silently different.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tenure_replica::{Persist, Restored};

use super::{entries, entry, home, model::Model, snapshot, vote};
use crate::storage::{
    Storage, StorageError,
    data_dir::create,
    disk::Directory,
    frame::{self, Found, SECTOR},
    home::Home,
};

const SEGMENT_BYTES: u64 = 4096;

/// A directory with some work in it, over three log files and a snapshot.
struct Worked {
    path: PathBuf,
    model: Model,
    /// The same without the last batch.
    earlier: Model,
    _temporary: TempDir,
}

fn files(path: &Path) -> Home {
    home(Directory::new(fs::File::open(path).unwrap()), path)
}

fn open(path: &Path) -> Result<Restored, StorageError> {
    Storage::open_in(files(path), SEGMENT_BYTES).map(|(_, restored)| restored)
}

fn worked(last_batch: &Persist) -> Worked {
    worked_with(2, last_batch)
}

/// The same with more votes before the last batch, which moves it to another place.
fn worked_with(votes: u64, last_batch: &Persist) -> Worked {
    // These tests start thousands of times and lose no power: in memory when there is such a
    // directory, because each start flushes.
    let temporary = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = temporary.path().to_owned();
    create(&files(&path), SEGMENT_BYTES).unwrap();
    let (mut storage, _) = Storage::open_in(files(&path), SEGMENT_BYTES).unwrap();
    let mut history: Vec<Persist> = (1..=9).map(|i| entries([entry(i, 1, 600)])).collect();
    history.extend((0..votes).map(|number| vote(1, 2, number)));
    let local = Persist { snapshot: Some(snapshot(2, 1, 100)), ..vote(1, 2, 2) };
    history.push(Persist { compact_to: Some(1), ..local });
    let mut model = Model::default();
    for unit in history {
        storage.persist(std::slice::from_ref(&unit)).unwrap();
        model.persist(&[unit]);
    }
    let earlier = model.clone();
    storage.persist(std::slice::from_ref(last_batch)).unwrap();
    model.persist(std::slice::from_ref(last_batch));
    Worked { path, model, earlier, _temporary: temporary }
}

fn log_files(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|item| item.unwrap().path());
    let mut logs: Vec<_> = names.filter(|path| path.to_str().unwrap().contains("/log-")).collect();
    logs.sort();
    logs
}

/// Start and end of each batch in a file.
fn batches(file: &Path) -> Vec<(usize, usize)> {
    let bytes = fs::read(file).unwrap();
    let mut batches = Vec::new();
    let mut offset = 0;
    while let Found::Batch { end, .. } = frame::read(&bytes, offset) {
        batches.push((offset, end));
        offset = end;
    }
    batches
}

/// Writes in place: replacing a file makes ext4 flush it, thousands of times in these tests.
fn change(file: &Path, at: usize, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

/// The newest log file with a batch in it, and where its last batch is.
fn last_batch(path: &Path) -> (PathBuf, usize, usize) {
    let used = |file: PathBuf| batches(&file).last().map(|&(from, to)| (file, from, to));
    log_files(path).into_iter().rev().find_map(used).unwrap()
}

#[test]
fn a_log_cut_anywhere_in_its_last_batch_goes_back_to_the_one_before() {
    let mut places = Vec::new();
    for votes in [2, 3, 4] {
        let worked = worked_with(votes, &entries([entry(10, 1, 700)]));
        let (file, from, to) = last_batch(&worked.path);
        places.push(from);
        let whole = fs::read(&file).unwrap();
        for length in from..to {
            change(&file, from, &whole[from..]);
            fs::File::options().write(true).open(&file).unwrap().set_len(length as u64).unwrap();
            let restored =
                open(&worked.path).unwrap_or_else(|error| panic!("cut at {length}: {error}"));
            assert_eq!(restored, worked.earlier.restored, "cut at {length}");
            // What was cut cannot come back.
            assert!(fs::read(&file).unwrap()[from..].iter().all(|&byte| byte == 0), "{length}");
        }
        change(&file, from, &whole[from..]);
        assert_eq!(open(&worked.path).unwrap(), worked.model.restored);
    }
    assert!(places.contains(&0) && places.iter().any(|&from| from > 0), "{places:?}");
}

#[test]
fn a_log_goes_on_after_its_torn_end_was_cut() {
    let worked = worked(&entries([entry(10, 1, 700)]));
    let (file, from, to) = last_batch(&worked.path);
    let mut torn = fs::read(&file).unwrap();
    torn[from + SECTOR..to].fill(0);
    fs::write(&file, torn).unwrap();
    let (mut storage, _) = Storage::open_in(files(&worked.path), SEGMENT_BYTES).unwrap();
    let mut model = worked.earlier;
    for index in 10..20 {
        let unit = entries([entry(index, 2, 100)]);
        storage.persist(std::slice::from_ref(&unit)).unwrap();
        model.persist(&[unit]);
    }
    drop(storage);
    assert_eq!(open(&worked.path).unwrap(), model.restored);
}

#[test]
fn any_set_of_sectors_may_be_missing_from_the_last_batch() {
    let worked = worked(&entries([entry(10, 1, 1700)]));
    let (file, from, to) = last_batch(&worked.path);
    let whole = fs::read(&file).unwrap();
    let sectors = (to - from) / SECTOR;
    assert!((4..8).contains(&sectors), "{sectors}");
    for written in 0..(1 << sectors) - 1 {
        let mut torn = whole.clone();
        for (at, sector) in torn[from..to].chunks_mut(SECTOR).enumerate() {
            if written & (1 << at) == 0 {
                sector.fill(0);
            }
        }
        change(&file, 0, &torn);
        let restored = open(&worked.path).unwrap_or_else(|e| panic!("{written:b}: {e}"));
        assert_eq!(restored, worked.earlier.restored, "{written:b}");
    }
}

#[test]
fn a_flipped_bit_is_never_silent() {
    // The entry of zeros has sectors that are rightly zero: no excuse for a flipped bit.
    let zeros = tenure_replica::Entry { data: vec![0; 2000], ..entry(10, 1, 0) };
    let worked = worked(&entries([zeros]));
    let mut refused = 0;
    for file in log_files(&worked.path) {
        let whole = fs::read(&file).unwrap();
        let used = batches(&file).last().map_or(0, |&(_, end)| end);
        for at in 0..whole.len() {
            change(&file, at, &[whole[at] ^ (1 << (at % 8))]);
            match open(&worked.path) {
                Err(StorageError::Corrupt { file: named, offset, .. }) => {
                    assert_eq!(named, file);
                    assert!(offset as usize <= at, "{offset} {at}");
                    refused += 1;
                }
                // Behind the last batch there is nothing to lose.
                Ok(restored) if at >= used => assert_eq!(restored, worked.model.restored),
                Err(error) => panic!("byte {at}: {error}"),
                Ok(_) => panic!("byte {at} of {} was taken", file.display()),
            }
            change(&file, at, &whole[at..=at]);
        }
    }
    assert!(refused > 8000, "{refused}");
    assert_eq!(open(&worked.path).unwrap(), worked.model.restored);
}

#[test]
fn a_batch_that_others_follow_is_never_taken_for_a_torn_one() {
    let worked = worked(&entries([entry(10, 1, 700)]));
    let (newest, last, _) = last_batch(&worked.path);
    let refused = |file: &Path, at: usize, bytes: &[u8]| {
        let whole = fs::read(file).unwrap();
        change(file, at, bytes);
        match open(&worked.path) {
            Err(StorageError::Corrupt { .. }) => change(file, 0, &whole),
            Err(error) => panic!("byte {at}: {error}"),
            Ok(_) => panic!("byte {at} of {} was taken", file.display()),
        }
    };
    for file in log_files(&worked.path) {
        let whole = fs::read(&file).unwrap();
        let batches = batches(&file);
        for &(from, to) in batches.iter().filter(|&&(from, _)| (&file, from) != (&newest, last)) {
            // Sectors that a disk lost: one, the whole batch, and all but the first.
            for at in (from..to).step_by(SECTOR) {
                refused(&file, at, &[0; SECTOR]);
            }
            refused(&file, from, &vec![0; to - from]);
            if to > from + SECTOR {
                refused(&file, from + SECTOR, &vec![0; to - from - SECTOR]);
            }
        }
        // A write that a disk sent to the wrong place: each batch is whole, the order is not.
        for pair in batches.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|(from, to)| &whole[from..to]);
            if first.len() == second.len() {
                refused(&file, pair[0].0, second);
                refused(&file, pair[1].0, first);
            }
        }
    }
    assert_eq!(open(&worked.path).unwrap(), worked.model.restored);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let worked = worked(&vote(2, 1, 9));
    let file = worked.path.join("snapshot-00000000000000000002");
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        change(&file, 0, bytes);
        let length = bytes.len() as u64;
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        match open(&worked.path) {
            Err(StorageError::Corrupt { file: named, .. }) => assert_eq!(named, file),
            other => panic!("{other:?}"),
        }
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
        refused(&whole[..at]);
    }
    fs::remove_file(&file).unwrap();
    let error = open(&worked.path).unwrap_err().to_string();
    assert!(error.contains("it is gone") && error.contains("cluster remove n1"), "{error}");
}

#[test]
fn a_log_file_that_is_gone_or_from_elsewhere_is_refused() {
    let worked = worked(&entries([entry(10, 1, 700)]));
    let logs = log_files(&worked.path);
    assert!(logs.len() >= 3);
    let used: Vec<_> = logs.iter().filter(|file| !batches(file).is_empty()).collect();
    for file in &used[..used.len() - 1] {
        let whole = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        assert!(matches!(open(&worked.path), Err(StorageError::Corrupt { .. })), "{file:?} gone");
        fs::write(file, vec![0; whole.len()]).unwrap();
        assert!(matches!(open(&worked.path), Err(StorageError::Corrupt { .. })), "{file:?} zero");
        fs::write(file, whole).unwrap();
    }
    // The first file of a log whose directory drew another number.
    let mut other = files(&worked.path);
    other.identity.directory += 1;
    let error = Storage::open_in(other, SEGMENT_BYTES).unwrap_err().to_string();
    assert!(error.contains("another data directory"), "{error}");
    for file in logs {
        fs::remove_file(file).unwrap();
    }
    assert!(matches!(open(&worked.path), Err(StorageError::Corrupt { .. })));
}

#[test]
fn files_are_removed_once_nothing_in_them_is_needed() {
    let worked = worked(&vote(2, 1, 9));
    let (mut storage, _) = Storage::open_in(files(&worked.path), SEGMENT_BYTES).unwrap();
    let mut model = worked.model;
    for index in (10..200).step_by(5) {
        let more = entries((index..index + 5).map(|index| entry(index, 2, 300)));
        let local = Persist { snapshot: Some(snapshot(index, 2, 50)), ..entries([]) };
        let cut = Persist { compact_to: Some(index - 2), ..local };
        storage.persist(&[more.clone(), cut.clone()]).unwrap();
        model.persist(&[more, cut]);
        assert!(log_files(&worked.path).len() <= 5, "{:?}", log_files(&worked.path));
    }
    drop(storage);
    let names = fs::read_dir(&worked.path).unwrap().count();
    assert!(names <= 5 + 2, "one snapshot, one identity and a few log files, not {names}");
    assert_eq!(open(&worked.path).unwrap(), model.restored);
}

#[test]
fn what_cannot_be_a_log_is_refused_and_ends_the_storage() {
    let impossible: [Persist; 5] = [
        entries([entry(11, 1, 1)]),
        entries([entry(10, 1, 1), entry(12, 1, 1)]),
        entries([entry(1, 1, 1)]),
        Persist { compact_to: Some(9), ..entries([]) },
        Persist { snapshot: Some(snapshot(1, 1, 1)), ..entries([]) },
    ];
    for unit in impossible {
        let worked = worked(&vote(2, 1, 9));
        let (mut storage, _) = Storage::open_in(files(&worked.path), SEGMENT_BYTES).unwrap();
        let error = storage.persist(std::slice::from_ref(&unit)).unwrap_err();
        assert!(matches!(error, StorageError::Impossible { .. }), "{error}");
        assert!(matches!(storage.persist(&[vote(3, 1, 9)]), Err(StorageError::Stopped)));
        assert_eq!(open(&worked.path).unwrap(), worked.model.restored);
    }
}
