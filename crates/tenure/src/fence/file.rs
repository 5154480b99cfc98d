//! A mark in a file: for several processes of one machine, safe from crashes.
//!
//! The file has a heading and two places of fixed length, each with a token twice. A raise
//! overwrites the place with the lower token and waits for the disk; a write that was torn by a
//! crash leaves two numbers that differ, and the other place still counts. The file is never
//! replaced, so that a lock on it is a lock for everybody.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, IntoRawFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

use super::{Fenced, Mark, NotAdmitted};
use crate::Token;

const HEADING: &str = "tenure-fence 1\n";
/// Twice twenty digits, a space and a line end.
const PLACE: usize = 42;
/// Longest wait for somebody else's lock, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(1);

/// The newest token, in a file. The file must be on a local file system.
#[derive(Debug)]
pub struct FileMark {
    path: PathBuf,
    patience: Duration,
    /// A flush has failed: what is on the disk is not known, and asking again would lie.
    broken: AtomicBool,
    /// Lent to one thread at a time: threads that share an open file share its lock.
    idle: Mutex<Vec<File>>,
}

/// A gate whose mark is a file.
#[derive(Debug)]
pub struct FileGate {
    mark: FileMark,
}

/// While it exists no process is admitted with a newer token.
#[derive(Debug)]
pub struct FilePass<'a> {
    mark: &'a FileMark,
    file: Option<File>,
}

impl FileGate {
    /// Uses the mark in this file, and makes it when it is not there.
    ///
    /// # Errors
    /// When the file cannot be made, or is something else.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self { mark: FileMark::open(path.into())? })
    }

    /// Longest wait for effects under way in other processes. Default 5 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.mark.patience = patience;
        self
    }

    /// Lets the newest token in, and every later effect under the same one.
    ///
    /// An effect that comes after the answer can be overtaken by a newer leader's: where that
    /// matters, keep a pass from [`FileGate::enter`] until the effect is done.
    ///
    /// # Errors
    /// [`NotAdmitted::Fenced`] for a token that is not the newest, [`NotAdmitted::Mark`] when
    /// that cannot be found out.
    pub fn admit(&self, token: Token) -> Result<(), NotAdmitted<io::Error>> {
        self.enter(token).map(drop)
    }

    /// As [`FileGate::admit`], and keeps newer tokens out until the pass is dropped, or this
    /// process has died.
    ///
    /// # Errors
    /// As [`FileGate::admit`]. Who waits longer than [`FileGate::patience`] for the effects of
    /// an older leader, which may be paused, is told so.
    pub fn enter(&self, token: Token) -> Result<FilePass<'_>, NotAdmitted<io::Error>> {
        let (newest, pass) = self.mark.enter(token).map_err(NotAdmitted::Mark)?;
        match newest > token {
            true => Err(Fenced { presented: token, newest }.into()),
            false => Ok(pass),
        }
    }

    /// The newest token so far; zero when there was none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn newest(&self) -> io::Result<Token> {
        self.mark.enter(Token::default()).map(|(newest, _)| newest)
    }
}

impl FileMark {
    /// Uses this file, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or is something else.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let idle = Mutex::default();
        let mark = Self { path, patience: PATIENCE, broken: AtomicBool::new(false), idle };
        let file = mark.file()?;
        if file.metadata()?.len() == 0 {
            // Nobody was ever admitted: the first heading is safe before the first answer.
            mark.lock(&file, libc::F_WRLCK)?;
            mark.safely(|| {
                file.write_all_at(HEADING.as_bytes(), 0)?;
                file.sync_all()?;
                let parent = mark.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
            })?;
        }
        // Effects that are under way in other processes do not matter for this.
        mark.lock(&file, libc::F_RDLCK)?;
        mark.places(&file)?;
        drop(file);
        Ok(mark)
    }

    fn file(&self) -> io::Result<File> {
        if let Some(file) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(file);
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path);
        file.map_err(|error| self.told(&error))
    }

    fn told(&self, error: &dyn core::fmt::Display) -> io::Error {
        io::Error::other(format!("the fence {}: {error}", self.path.display()))
    }

    /// Does what must reach the disk. After a failure nobody is admitted any more.
    fn safely(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        write().map_err(|error| {
            self.broken.store(true, Ordering::SeqCst);
            self.told(&format!("{error}; nobody is admitted until the process starts anew"))
        })
    }

    /// Raises the mark and stays under the shared lock.
    fn enter(&self, token: Token) -> io::Result<(Token, FilePass<'_>)> {
        let pass = FilePass { mark: self, file: Some(self.file()?) };
        let Some(file) = &pass.file else { return Err(self.told(&"it is closed")) };
        loop {
            if self.broken.load(Ordering::SeqCst) {
                return Err(self.told(&"it could not be written to safely before"));
            }
            self.lock(file, libc::F_RDLCK)?;
            let newest = self.newest(file)?;
            if newest >= token {
                return Ok((newest, pass));
            }
            // Given up in between: two who wait for each other's shared lock would wait for ever.
            self.lock(file, libc::F_UNLCK)?;
            self.lock(file, libc::F_WRLCK)?;
            self.write(file, token)?;
        }
    }

    fn newest(&self, file: &File) -> io::Result<Token> {
        let places = self.places(file)?;
        Ok(places.into_iter().flatten().max().unwrap_or_default())
    }

    /// What both places say; none for one that is empty or torn.
    fn places(&self, file: &File) -> io::Result<[Option<Token>; 2]> {
        let mut text = [0; HEADING.len() + 2 * PLACE];
        let mut length = 0;
        while length < text.len() {
            match file.read_at(&mut text[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        let (heading, rest) = text.split_at(HEADING.len());
        if heading != HEADING.as_bytes() {
            return Err(self.told(&"that file is something else; name another one"));
        }
        let places = [place(&rest[..PLACE]), place(&rest[PLACE..])];
        // One may be torn by a crash, never both: they are written one after the other is safe.
        if length > HEADING.len() + PLACE && places == [None, None] {
            return Err(self.told(
                &"it is damaged, so the newest token is not known. Write a new file with a token \
                  that is not lower than any that was used",
            ));
        }
        Ok(places)
    }

    /// Overwrites what is lower, under the exclusive lock.
    fn write(&self, file: &File, token: Token) -> io::Result<()> {
        let places = self.places(file)?;
        if places.iter().flatten().any(|present| *present >= token) {
            return Ok(());
        }
        // An empty or torn place counts as the lowest.
        let at = usize::from(places[1] < places[0]);
        let text = format!("{0:020} {0:020}\n", token.get());
        self.safely(|| {
            file.write_all_at(text.as_bytes(), (HEADING.len() + at * PLACE) as u64)?;
            file.sync_data()
        })
    }

    /// Takes or gives up the lock of an open file, for a bounded time.
    fn lock(&self, file: &File, kind: libc::c_int) -> io::Result<()> {
        let lock = libc::flock {
            l_type: i16::try_from(kind).unwrap_or_default(),
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let begun = Instant::now();
        loop {
            match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EACCES) if begun.elapsed() < self.patience => {
                    std::thread::sleep(STEP);
                }
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    let why = self.told(&format!(
                        "another process has kept it for {:?}: an effect under an older token is \
                         still under way, or its process is paused",
                        self.patience
                    ));
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Err(error) => return Err(self.told(&error)),
            }
        }
    }
}

impl Mark for FileMark {
    type Error = io::Error;

    fn raise(&self, token: Token) -> io::Result<Token> {
        self.enter(token).map(|(newest, _)| newest)
    }
}

impl FilePass<'_> {
    /// Leaves the pass to the programs that this process starts or becomes from now on: newer
    /// tokens are kept out until all of them have ended.
    ///
    /// # Errors
    /// When the system refuses it; the pass is gone then.
    pub fn bequeath(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
            // The lock lives as long as any copy of the descriptor, in whichever process.
            let _ = file.into_raw_fd();
        }
        Ok(())
    }
}

impl Drop for FilePass<'_> {
    fn drop(&mut self) {
        // A file that cannot be unlocked is closed, which unlocks it.
        if let Some(file) = self.file.take()
            && self.mark.lock(&file, libc::F_UNLCK).is_ok()
        {
            self.mark.idle.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        }
    }
}

fn place(text: &[u8]) -> Option<Token> {
    let text = core::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (first, second) = text.split_once(' ')?;
    (first == second).then(|| first.parse().map(Token::new).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> Token {
        Token::new(number)
    }

    #[test]
    fn the_mark_outlives_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        for round in 1..=5 {
            let gate = FileGate::open(&path).unwrap();
            assert_eq!(gate.newest().unwrap(), token(round - 1));
            gate.admit(token(round)).unwrap();
            gate.admit(token(round)).unwrap();
            let refused = gate.admit(token(round - 1)).unwrap_err();
            assert!(
                matches!(refused, NotAdmitted::Fenced(fenced) if fenced.newest == token(round))
            );
        }
    }

    /// Cuts the latest write at every byte: the mark is the new one or the one before, and what
    /// comes next is kept.
    #[test]
    fn a_torn_write_loses_only_what_nobody_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        let gate = FileGate::open(&path).unwrap();
        for at in [7, 8] {
            gate.admit(token(at)).unwrap();
        }
        let before = std::fs::read(&path).unwrap();
        gate.admit(token(123)).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert_eq!(before.len(), after.len());
        for cut in 0..=after.len() {
            let torn = [&after[..cut], &before[cut..]].concat();
            std::fs::write(&path, torn).unwrap();
            let gate = FileGate::open(&path).unwrap();
            let newest = gate.newest().unwrap();
            assert!([token(8), token(123)].contains(&newest), "{newest} after {cut} bytes");
            gate.admit(token(124)).unwrap();
            assert_eq!(FileGate::open(&path).unwrap().newest().unwrap(), token(124));
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let damaged = format!("{HEADING}{}", "x".repeat(2 * PLACE));
        for text in ["precious", damaged.as_str()] {
            std::fs::write(&path, text).unwrap();
            let error = FileGate::open(&path).unwrap_err();
            assert!(error.to_string().contains("data"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn threads_and_open_files_agree_on_one_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        let gates: Vec<_> = (0..3).map(|_| FileGate::open(&path).unwrap()).collect();
        std::thread::scope(|scope| {
            for (at, gate) in gates.iter().chain(&gates).enumerate() {
                scope.spawn(move || {
                    let mut last = Token::default();
                    for round in 0..20 {
                        // Fenced or not: the mark never goes down.
                        let _ = gate.admit(token(round * 6 + at as u64));
                        let newest = gate.newest().unwrap();
                        assert!(newest >= last, "{newest} after {last}");
                        last = newest;
                    }
                });
            }
        });
        assert_eq!(gates[0].newest().unwrap(), token(19 * 6 + 5));
    }

    #[test]
    fn an_effect_under_way_keeps_newer_tokens_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        let (old, new) = (FileGate::open(&path).unwrap(), FileGate::open(&path).unwrap());
        let pass = old.enter(token(1)).unwrap();
        new.admit(token(1)).unwrap();
        let new = new.patience(Duration::from_millis(20));
        let error = new.admit(token(2)).unwrap_err();
        assert!(error.to_string().contains("still under way"), "{error}");
        drop(pass);
        new.admit(token(2)).unwrap();
        assert!(matches!(old.enter(token(1)), Err(NotAdmitted::Fenced(_))));
    }
}
