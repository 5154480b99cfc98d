//! A disk behind the real port that keeps what is live apart from what is durable, fails at a
//! chosen step, and shows what a power cut may leave behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::storage::{
    disk::{Beside, Disk, DiskFile, Job},
    frame::SECTOR,
};

/// What happens at the chosen step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    /// The power goes: a write at that step may reach the disk, a flush does not happen, and
    /// everything later fails.
    PowerCut,
    /// A flush fails once and the kernel forgets that the pages were dirty, as Linux does.
    LostFlush,
    /// No space is left from then on.
    Full,
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose live content may not be durable.
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            // What was never linked, as far as the disk knows, cannot be renamed.
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Clone, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    steps: u64,
    fail_at: Option<(u64, Failure)>,
}

impl State {
    /// Counts a step that changes something. `Err` when it fails, after `change` was made if
    /// a power cut can leave it half done.
    fn step(&mut self, flush: bool, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        self.steps += 1;
        let now = self.steps;
        match self.fail_at {
            Some((at, Failure::PowerCut)) if now >= at => {
                if now == at && !flush {
                    change(self);
                }
                Err(io::Error::other("the power is gone"))
            }
            Some((at, Failure::Full)) if now >= at && !flush => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((at, Failure::LostFlush)) if now == at && flush => {
                self.files.iter_mut().for_each(|file| file.dirty.clear());
                Err(io::Error::other("the flush failed"))
            }
            _ => {
                change(self);
                Ok(())
            }
        }
    }
}

/// A cheap generator for choices that only have to differ: splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<State>>);

impl FakeDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Steps so far that changed something.
    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Lets a step from now fail; 1 is the next one.
    pub(super) fn fail_after(&self, steps: u64, failure: Failure) {
        let mut state = self.state();
        state.fail_at = Some((state.steps + steps, failure));
    }

    /// The same disk for the next process after a kill: nothing is lost, nothing is flushed.
    pub(super) fn after_kill(&self) -> Self {
        let mut state = self.state().clone();
        state.fail_at = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// What may be on the disk after a power cut: all that is durable, and any part of the
    /// rest, sector by sector and name by name.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        // All, nothing, or each with its own chance.
        let share = [0, 100, 50, 90][dice.roll(4) as usize];
        let mut files = Vec::new();
        for file in &state.files {
            let mut durable = file.durable.clone();
            if file.live.len() > durable.len() && dice.roll(100) < share {
                durable.resize(file.live.len(), 0);
            }
            for &sector in &file.dirty {
                let from = sector * SECTOR;
                let to = (from + SECTOR).min(file.live.len());
                if dice.roll(100) < share && from < to {
                    durable.resize(durable.len().max(to), 0);
                    durable[from..to].copy_from_slice(&file.live[from..to]);
                }
            }
            files.push(Content { live: durable.clone(), durable, dirty: BTreeSet::new() });
        }
        let mut names = state.durable_names.clone();
        for change in &state.pending_names {
            if dice.roll(100) < share {
                change.apply(&mut names);
            }
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State { files, names, durable_names, ..State::default() })))
    }

    fn change_names(&self, change: NameChange) -> io::Result<()> {
        self.state().step(false, |state| {
            change.apply(&mut state.names);
            state.pending_names.push(change);
        })
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.state().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FakeDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let id = self.id(name)?;
        Ok(self.state().files[id].live.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = {
            let mut state = self.state();
            state.files.push(Content::default());
            state.files.len() - 1
        };
        self.change_names(NameChange::Link(name.to_owned(), id))?;
        Ok(Box::new(FakeFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FakeFile { disk: self.clone(), id: self.id(name)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.id(from)?;
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.id(name)?;
        self.change_names(NameChange::Unlink(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        self.state().step(true, |state| {
            state.durable_names = state.names.clone();
            state.pending_names.clear();
        })
    }

    fn beside(&self, job: Job) -> Beside {
        Beside::done(job())
    }
}

struct FakeFile {
    disk: FakeDisk,
    id: usize,
}

impl DiskFile for FakeFile {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (id, from) = (self.id, offset as usize);
        self.disk.state().step(false, |state| {
            let file = &mut state.files[id];
            let to = from + bytes.len();
            file.live.resize(file.live.len().max(to), 0);
            file.live[from..to].copy_from_slice(bytes);
            file.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        })
    }

    fn sync(&self) -> io::Result<()> {
        let id = self.id;
        self.disk.state().step(true, |state| {
            let file = &mut state.files[id];
            // Only what is dirty: pages that a failed flush left clean stay behind.
            let length = file.live.len();
            file.durable.resize(length, 0);
            for sector in std::mem::take(&mut file.dirty) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(length));
                file.durable[from..to].copy_from_slice(&file.live[from..to]);
            }
        })
    }
}
