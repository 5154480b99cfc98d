//! Where the files are and whose they are: what every part needs to do its work and to
//! explain a failure.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    data_dir::Identity,
    disk::{Disk, TEMPORARY},
    error::StorageError,
};

/// The directory of one node.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

impl Home {
    /// The explanation for a refusal of the operating system.
    pub(super) fn failed(
        &self,
        action: &'static str,
        file: &str,
    ) -> impl FnOnce(io::Error) -> StorageError {
        let path = self.path.join(file);
        move |cause| StorageError::io(action, path, cause)
    }

    /// The explanation for content that no interrupted write leaves behind.
    pub(super) fn corrupt(
        &self,
        file: &str,
        offset: usize,
        reason: impl Into<String>,
    ) -> StorageError {
        StorageError::Corrupt {
            file: self.path.join(file),
            offset: offset as u64,
            reason: reason.into(),
            node: self.identity.name.clone(),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.disk.list().map_err(self.failed("list", ""))
    }

    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, StorageError> {
        self.disk.read(file).map_err(self.failed("read", file))
    }

    pub(super) fn remove(&self, file: &str) -> Result<(), StorageError> {
        self.disk.remove(file).map_err(self.failed("remove", file))
    }
}

/// Name of a numbered file: `log-00000000000000000007`.
pub(super) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:020}")
}

/// The number in the name of a file, when the name is one that [`numbered`] makes.
pub(super) fn number_of(prefix: &str, name: &str) -> Option<u64> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    (numbered(prefix, number) == name).then_some(number)
}

/// Whether a file was still being made when the node went down.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(|name| {
        number_of(super::wal::LOG, name).is_some()
            || number_of(super::snapshot::SNAPSHOT, name).is_some()
            || name == super::data_dir::IDENTITY
    })
}
