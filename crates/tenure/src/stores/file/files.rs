//! The files of a directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use core::time::Duration;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};
use tenure_core::{
    ElectionName, Incarnation, Leader, Moment, Revision, SessionId, Token,
    backend::{Bid, Holding, Slot, StoreError},
};

use crate::system;

/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 10;

/// What `NAME.json` says: who held it last.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    leader: Leader,
    process: u64,
    session: u32,
    pid: u32,
    /// Which file was locked for it; older records do not say.
    #[serde(default)]
    inode: Option<u64>,
}

/// The lock file of one election, open.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    locked: bool,
    /// Somebody was told that this lock is a hold on the election.
    granted: bool,
    /// When it was first locked in the place of another file that is gone.
    replaced: Option<Moment>,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let told = |error: io::Error| {
            format!("{error}. Name a directory that this user may write to, or make one")
        };
        fs::create_dir_all(&path).map_err(told)?;
        // What cannot be written would be noticed only when the first election is won.
        let probe = path.join(format!(".probe-{}", std::process::id()));
        File::create(&probe).map_err(told)?;
        // Another elector of this process may have been faster.
        match fs::remove_file(&probe) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(error)),
            _ => {}
        }
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, election: &ElectionName, extension: &str) -> PathBuf {
        self.0.join(format!("{}.{extension}", escaped(election.as_str())))
    }

    pub(super) fn lock_file(&self, election: &ElectionName) -> Result<Lock, StoreError> {
        let path = self.file(election, "lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| failed(&path, &error))?;
        Ok(Lock { file, locked: false, granted: false, replaced: None })
    }

    /// Whether anybody holds the lock. Asking disturbs nobody.
    pub(super) fn is_locked(&self, election: &ElectionName) -> Result<bool, StoreError> {
        let path = self.file(election, "lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(&path, &error)),
        };
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))
            .map_err(|error| failed(&path, &error.into()))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }

    /// Who held it last.
    pub(super) fn read(&self, election: &ElectionName) -> Result<Holding, StoreError> {
        let record = self.record(election)?;
        let revision = record.as_ref().map_or(0, |record| record.leader.token.get());
        let holder = record.map(|record| {
            let process = Incarnation::from_random(record.process);
            (SessionId { process, number: record.session }, record.leader)
        });
        Ok(Holding { holder, revision: Revision::new(revision), position: 1, again: None })
    }

    fn record(&self, election: &ElectionName) -> Result<Option<Record>, StoreError> {
        let path = self.file(election, "json");
        let size = match fs::metadata(&path) {
            Ok(data) => data.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, &error)),
        };
        let damaged = |why: String| StoreError::Refused {
            why: format!(
                "{} is no record of an election ({why}), so the last token is not known. Put a \
                 good copy in its place, or delete it if no resource remembers a token",
                path.display()
            ),
        };
        if size > MAX_RECORD {
            return Err(damaged(format!("{size} bytes are too many")));
        }
        let text = fs::read(&path).map_err(|error| failed(&path, &error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Writes down a grant with the next token; the lock is held. It is on the disk before
    /// anybody is told: no token may come twice.
    pub(super) fn grant(&self, bid: &Bid, lock: &mut Lock) -> Result<Holding, StoreError> {
        let last = self.record(&bid.election)?.map_or(0, |record| record.leader.token.get());
        let leader = Leader {
            id: bid.candidate.clone(),
            value: bid.value.clone(),
            token: Token::new(last + 1),
            ttl: bid.ttl,
            since: system::wall(),
        };
        let record = Record {
            leader: leader.clone(),
            process: bid.session.process.get(),
            session: bid.session.number,
            pid: std::process::id(),
            inode: lock.inode(),
        };
        let (path, draft) = (self.file(&bid.election, "json"), self.file(&bid.election, "new"));
        let text = serde_json::to_vec(&record).map_err(io::Error::from);
        let written = text.and_then(|text| self.replace(&path, &draft, &text));
        written.map_err(|error| failed(&path, &error))?;
        lock.granted = true;
        let revision = Revision::new(leader.token.get());
        let holder = Some((bid.session, leader));
        Ok(Holding { holder, revision, position: 1, again: None })
    }

    /// How long a lock that was just taken is no hold yet: somebody has deleted the file that the
    /// last holder has locked, so the lock says nothing about that one. It finds out with its
    /// next renewal, and may act until its lease is over.
    pub(super) fn quiet(
        &self,
        election: &ElectionName,
        lock: &mut Lock,
    ) -> Result<Option<Duration>, StoreError> {
        let Some(record) = self.record(election)? else { return Ok(None) };
        if record.inode.is_none() || record.inode == lock.inode() {
            return Ok(None);
        }
        let now = system::moment();
        let noticed = *lock.replaced.get_or_insert(now);
        let left = (noticed + record.leader.ttl.get()).since(now);
        Ok(Some(left).filter(|left| !left.is_zero()))
    }

    /// Records a slot; the lock is held. It is on the disk before anybody is told.
    pub(super) fn take(&self, slot: &Slot) -> Result<Slot, StoreError> {
        let election = slot.election.clone();
        let (path, draft) = (self.file(&election, "slot"), self.file(&election, "new"));
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(Slot::from_text(&election, text.trim_end()).ok_or_else(|| {
                let why = format!(
                    "{} is no record of a slot: put a good copy in its place, or delete it if \
                     nothing may run twice",
                    path.display()
                );
                StoreError::Refused { why }
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, &error)),
        };
        let taken = slot.clone().after(before.clone());
        if before.as_ref() != Some(&taken) {
            let text = taken.to_text() + "\n";
            let written = self.replace(&path, &draft, text.as_bytes());
            written.map_err(|error| failed(&path, &error))?;
        }
        Ok(taken)
    }

    fn replace(&self, path: &Path, draft: &Path, text: &[u8]) -> io::Result<()> {
        let mut file = File::create(draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        File::open(&self.0)?.sync_all()
    }
}

impl Lock {
    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether it is a hold on the election.
    pub(super) fn is_granted(&self) -> bool {
        self.locked && self.granted
    }

    fn inode(&self) -> Option<u64> {
        self.file.metadata().ok().map(|about| about.ino())
    }

    /// Takes the lock if nobody has it. Taking it twice changes nothing.
    pub(super) fn try_lock(&mut self) -> Result<bool, StoreError> {
        let lock = whole_file(libc::F_WRLCK);
        self.locked = match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => true,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => false,
            Err(error) => {
                let why = format!("the file system cannot lock files: {error}");
                return Err(StoreError::Refused { why });
            }
        };
        Ok(self.locked)
    }

    /// Gives the lock up for everybody who has a copy of it: whatever ran under it has ended.
    /// Closing the file would not do that while a copy is open, and would tell nobody.
    pub(super) fn give_up(self, directory: &Directory, election: &ElectionName) {
        let unlocked = fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
        if let Err(error) = unlocked {
            // It is free when the last copy is closed.
            tracing::warn!(%error, %election, "cannot unlock a file");
        }
        drop(self.file);
        // Closed once more: a copy keeps the kernel from telling the others of the first time.
        let _ = OpenOptions::new().write(true).open(directory.file(election, "lock"));
    }

    /// A copy, which keeps the lock for as long as it is open anywhere.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Whether the file that is locked is still the one that everybody else would lock.
    pub(super) fn is_in_place(&self, directory: &Directory, election: &ElectionName) -> bool {
        let named = fs::metadata(directory.file(election, "lock"));
        match (self.file.metadata(), named) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable { why: format!("{}: {error}", path.display()) }
}

/// A name as a file name: what is not a letter, a digit, `-` or `_` becomes `%` and two digits.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}

/// The name again; none for a file that is not ours.
pub(super) fn unescaped(file: &str) -> Option<ElectionName> {
    let stem = file.rsplit_once('.').map(|(stem, _)| stem)?;
    let mut bytes = Vec::new();
    let mut rest = stem.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    ElectionName::new(String::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_as_file_names() {
        for name in ["demo", "orders/eu:1", "a.b", "ä%"] {
            let Ok(name) = ElectionName::new(name) else { continue };
            let file = format!("{}.lock", escaped(name.as_str()));
            assert!(!file.contains('/'), "{file}");
            assert_eq!(unescaped(&file), Some(name));
        }
    }

    #[test]
    fn a_damaged_record_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().to_owned()).unwrap();
        let election = ElectionName::new("demo").unwrap();
        for damage in ["", "{\"leader\":", "[]"] {
            fs::write(directory.file(&election, "json"), damage).unwrap();
            let error = directory.read(&election).unwrap_err();
            assert!(error.to_string().contains("demo.json"), "{error}");
            assert_eq!(fs::read_to_string(directory.file(&election, "json")).unwrap(), damage);
        }
    }
}
