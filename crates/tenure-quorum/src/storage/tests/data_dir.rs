//! Whose directory it is, and the explanations when it is not usable.

use std::{fs, os::unix::fs::PermissionsExt};

use tenure_core::ClusterId;
use tenure_replica::Restored;

use super::{entries, entry, name, new_data_dir, node, vote};
use crate::storage::{DataDir, Expectation, Storage, StorageError};

#[test]
fn a_new_directory_is_private_and_keeps_its_identity() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b/data");
    let mut directory = DataDir::open(&path, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(directory.identity(), None);
    assert!(matches!(Storage::open(&directory), Err(StorageError::NoIdentity { .. })));
    let cluster = ClusterId::new(u64::MAX);
    let made = directory.create_identity(cluster, node(3), name("n3"), 11).unwrap().clone();
    let again = directory.create_identity(cluster, node(3), name("n3"), 11);
    assert!(matches!(again, Err(StorageError::IdentityExists { .. })));
    drop(directory);
    let expected = Expectation { cluster: Some(cluster), node: None, name: Some(name("n3")) };
    let directory = DataDir::open(&path, Some(&expected)).unwrap();
    assert_eq!(directory.identity(), Some(&made));
    assert_eq!((made.cluster, made.node, made.name), (cluster, node(3), name("n3")));
}

#[test]
fn an_emptied_directory_is_told_from_the_one_it_was() {
    let (temporary, directory) = new_data_dir();
    assert_eq!(directory.identity().unwrap().directory, 11);
    drop(directory);
    let path = temporary.path().join("data");
    fs::remove_dir_all(&path).unwrap();
    let mut directory = DataDir::open(&path, None).unwrap();
    assert_eq!(directory.identity(), None);
    directory.create_identity(ClusterId::new(7), node(1), name("n1"), 12).unwrap();
    drop(directory);
    let directory = DataDir::open(&path, None).unwrap();
    assert_eq!(directory.identity().unwrap().directory, 12);
    assert_eq!(Storage::open(&directory).unwrap().1, Restored::default());
}

#[test]
fn the_directory_of_another_node_or_cluster_is_refused_with_both_names() {
    let (temporary, directory) = new_data_dir();
    drop(directory);
    let path = temporary.path().join("data");
    let cluster = Expectation { cluster: Some(ClusterId::new(8)), ..Expectation::default() };
    let error = DataDir::open(&path, Some(&cluster)).unwrap_err().to_string();
    assert!(error.contains("0000000000000007") && error.contains("0000000000000008"), "{error}");
    let other = Expectation { name: Some(name("n2")), ..Expectation::default() };
    let error = DataDir::open(&path, Some(&other)).unwrap_err().to_string();
    assert!(error.contains("n1 (id 1)") && error.contains("n2 (id 1)"), "{error}");
    let other = Expectation { node: Some(node(2)), ..Expectation::default() };
    let error = DataDir::open(&path, Some(&other)).unwrap_err().to_string();
    assert!(error.contains("n1 (id 2)"), "{error}");
}

#[test]
fn a_second_use_is_refused_with_the_pid_until_the_storage_is_gone() {
    let (temporary, directory) = new_data_dir();
    let (storage, _) = Storage::open(&directory).unwrap();
    drop(directory);
    let path = temporary.path().join("data");
    let error = DataDir::open(&path, None).unwrap_err();
    let StorageError::Locked { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, Some(std::process::id()));
    drop(storage);
    DataDir::open(&path, None).unwrap();
}

#[test]
fn an_identity_is_never_guessed() {
    let (temporary, directory) = new_data_dir();
    let identity = directory.identity().unwrap().clone();
    drop(directory);
    let path = temporary.path().join("data");
    let file = path.join("identity.json");
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 7);
        fs::write(&file, flipped).unwrap();
        let error = match DataDir::open(&path, None) {
            Err(error) => error,
            // White space, or an `a` that became an `A`.
            Ok(same) => {
                assert_eq!(same.identity(), Some(&identity), "byte {at}");
                continue;
            }
        };
        let refused = matches!(
            error,
            StorageError::IdentityUnreadable { .. } | StorageError::NewerFormat { .. }
        );
        assert!(refused, "byte {at}: {error}");
    }
    fs::write(&file, r#"{"format": 99, "unheard": "of"}"#).unwrap();
    let error = DataDir::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("has format 99") && error.contains("reads up to 1"), "{error}");
}

#[test]
fn a_log_without_its_identity_is_not_overwritten() {
    let (temporary, directory) = new_data_dir();
    let (mut storage, _) = Storage::open(&directory).unwrap();
    storage.persist(&[entries([entry(1, 1, 10)]), vote(1, 1, 0)]).unwrap();
    drop((storage, directory));
    let path = temporary.path().join("data");
    fs::remove_file(path.join("identity.json")).unwrap();
    let mut directory = DataDir::open(&path, None).unwrap();
    let error = directory.create_identity(ClusterId::new(7), node(1), name("n1"), 11).unwrap_err();
    assert!(matches!(error, StorageError::IdentityMissing { .. }), "{error}");
}

#[test]
fn nodes_that_start_at_once_share_the_directories_above() {
    for _ in 0..50 {
        let temporary = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let path = temporary.path().join("state/tenure/nodes").join(name);
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    DataDir::open(path, None).unwrap();
                });
            }
        });
    }
}

#[test]
fn what_is_not_a_directory_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DataDir::open(path, None).unwrap_err();
        assert!(matches!(error, StorageError::NotADirectory { .. }), "{error}");
    }
}

#[test]
fn a_directory_without_access_is_explained() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data");
    // Nobody may write there, not even root.
    let error = DataDir::open("/proc/1/tenure", None).unwrap_err().to_string();
    assert!(error.contains("cannot create /proc/1/tenure"), "{error}");
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may write everywhere, so missing permissions are not tested");
        return;
    }
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    let error = DataDir::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("read and write access"), "{error}");
}
