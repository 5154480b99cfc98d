//! Real processes: the lock, `kill -9`, and a file system that is full.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{entries, entry, model::Model, name, new_data_dir, node, snapshot, vote};
use crate::storage::{DataDir, Storage, StorageError};
use tenure_core::ClusterId;
use tenure_replica::Persist;

const CHILD_PATH: &str = "TENURE_TEST_STORAGE_CHILD";

/// The n-th batch of the child below.
fn batch(number: u64) -> [Persist; 2] {
    [vote(number, number % 3, number - 1), entries([entry(number, number, 300)])]
}

/// Not a test of its own: what the child process of the tests below does. It says `ok N` once
/// batch N is acknowledged.
#[test]
fn child() {
    let Some(path) = env::var_os(CHILD_PATH) else { return };
    let directory = DataDir::open(path, None).unwrap();
    let (mut storage, restored) = Storage::open(&directory).unwrap();
    let start = restored.entries.len() as u64;
    println!("\nok {start}");
    for number in start + 1.. {
        storage.persist(&batch(number)).unwrap();
        println!("ok {number}");
    }
}

struct Victim(Child);

impl Victim {
    fn start(path: &Path) -> (Self, impl Iterator<Item = u64> + use<>) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "storage::tests::processes::child", "--nocapture"])
            .env(CHILD_PATH, path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged =
            lines.filter_map(|line| line.unwrap().strip_prefix("ok ").map(|n| n.parse().unwrap()));
        (Self(child), acknowledged)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // SIGKILL: no handler, no destructor.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_second_process_is_refused_and_a_killed_one_loses_nothing() {
    let (temporary, directory) = new_data_dir();
    let path = temporary.path().join("data");
    drop(directory);
    for lives in 1..=5 {
        let (child, mut acknowledged) = Victim::start(&path);
        let mut last = acknowledged.next().expect("the child opened the directory");
        match DataDir::open(&path, None) {
            Err(StorageError::Locked { pid, .. }) => assert_eq!(pid, Some(child.0.id())),
            other => panic!("{other:?}"),
        }
        for _ in 0..lives * 37 {
            last = acknowledged.next().expect("the child goes on");
        }
        drop(child);
        // Also what it said between our last look and its end.
        last = acknowledged.last().unwrap_or(last);
        let directory = DataDir::open(&path, None).unwrap();
        let (_, restored) = Storage::open(&directory).unwrap();
        let got = restored.entries.len() as u64;
        assert!(got == last || got == last + 1, "{got} entries, {last} acknowledged");
        let mut model = Model::default();
        (1..=got).for_each(|number| model.persist(&batch(number)));
        assert_eq!(restored, model.restored);
    }
}

/// A small file system of our own, for as long as the value lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tenure-test"])
            .arg(&path)
            .output();
        matches!(&mount, Ok(output) if output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(temporary.path().join("disk")) else {
        eprintln!("SKIPPED: the full disk is not tested, since only root may mount a tmpfs");
        return;
    };
    let mut directory = DataDir::open(disk.0.join("data"), None).unwrap();
    directory.create_identity(ClusterId::new(7), node(1), name("n1"), 11).unwrap();
    let (mut storage, _) = Storage::open(&directory).unwrap();
    let mut model = Model::default();
    let work = (1..).map(|index| entries([entry(index, 1, 60_000)]));
    let error = fill(&mut storage, &mut model, work);
    assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("nothing acknowledged was lost"), "{error}");
    assert!(model.restored.entries.len() > 20);
    assert!(matches!(storage.persist(&[vote(2, 1, 0)]), Err(StorageError::Stopped)));
    drop(storage);
    // A start needs no space. A snapshot does, and still finds none.
    let (mut storage, restored) = Storage::open(&directory).unwrap();
    assert_eq!(restored, model.restored);
    let last = model.last();
    let local = Persist { snapshot: Some(snapshot(last, 1, 2 << 20)), ..entries([]) };
    let cut = Persist { compact_to: Some(last), ..local };
    let error = fill(&mut storage, &mut model, [cut.clone()]);
    assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
    drop(storage);
    let more = Command::new("mount").args(["-o", "remount,size=20m"]).arg(&disk.0).status();
    assert!(more.unwrap().success());
    let (mut storage, restored) = Storage::open(&directory).unwrap();
    assert_eq!(restored, model.restored);
    storage.persist(std::slice::from_ref(&cut)).unwrap();
    model.persist(&[cut]);
    drop(storage);
    assert_eq!(Storage::open(&directory).unwrap().1, model.restored);
    drop(directory);
}

fn fill(
    storage: &mut Storage,
    model: &mut Model,
    work: impl IntoIterator<Item = Persist>,
) -> StorageError {
    for unit in work {
        match storage.persist(std::slice::from_ref(&unit)) {
            Ok(()) => model.persist(&[unit]),
            Err(error) => return error,
        }
    }
    panic!("the disk was never full");
}
