//! The directory of a node without a log: who it is, and where it finds the others.

use std::io;

use super::{
    SEGMENT_BYTES,
    data_dir::{DataDir, Identity, has_history, write_identity, write_json},
    error::StorageError,
    home::{Home, number_of},
    wal::{LOG, Wal},
};

/// Its presence says that the node keeps no log. Holds the addresses of those that do.
const VOTERS: &str = "voters.json";

impl DataDir {
    /// Makes the directory the memory of a node that keeps no log. After a crash in between it
    /// can be called again.
    ///
    /// # Errors
    /// [`StorageError`] when the directory already is somebody's memory, or cannot be written.
    pub fn create_member(
        &mut self,
        identity: Identity,
        voters: &[String],
    ) -> Result<&Identity, StorageError> {
        self.adopt(identity, |home| {
            if has_history(home)? {
                return Err(StorageError::IdentityMissing { path: home.path.clone() });
            }
            write_json(home, VOTERS, &voters)?;
            write_identity(home)
        })
    }

    /// Where a node that keeps no log finds those that do; none when this node keeps one.
    ///
    /// # Errors
    /// [`StorageError`] when the file cannot be read.
    pub fn voters(&self) -> Result<Option<Vec<String>>, StorageError> {
        if self.identity().is_none() {
            return Ok(None);
        }
        let home = self.home()?;
        let bytes = match home.disk.read(VOTERS) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(home.failed("read", VOTERS)(error)),
        };
        // What cannot be read is no loss: the contacts of the command line remain.
        Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Remembers where the nodes are that keep the log.
    ///
    /// # Errors
    /// [`StorageError`] when the file cannot be written.
    pub fn remember_voters(&self, voters: &[String]) -> Result<(), StorageError> {
        write_json(&self.home()?, VOTERS, &voters)
    }

    /// Makes the directory ready for a log. After a crash in between it can be called again.
    ///
    /// # Errors
    /// [`StorageError`] when it cannot be written.
    pub fn begin_log(&self) -> Result<(), StorageError> {
        let home = self.home()?;
        if !has_log(&home)? {
            Wal::create(&home, SEGMENT_BYTES)?;
        }
        match home.disk.remove(VOTERS) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(home.failed("remove", VOTERS)(error))
            }
            _ => home.disk.sync().map_err(home.failed("flush", "")),
        }
    }
}

fn has_log(home: &Home) -> Result<bool, StorageError> {
    Ok(home.list()?.iter().any(|name| number_of(LOG, name).is_some()))
}

#[cfg(test)]
mod tests {
    use tenure_core::{ClusterId, NodeId, NodeName};

    use super::*;
    use crate::storage::Storage;

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId::new(1),
            node: NodeId::new(9).unwrap(),
            name: NodeName::new("n9").unwrap(),
            directory: 7,
        }
    }

    #[test]
    fn a_member_that_is_enrolled_keeps_its_identity_and_begins_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let voters = [String::from("127.0.0.1:1")];
        DataDir::open(dir.path(), None).unwrap().create_member(identity(), &voters).unwrap();
        let member = DataDir::open(dir.path(), None).unwrap();
        assert_eq!(member.voters().unwrap().unwrap(), voters);
        member.remember_voters(&[]).unwrap();
        assert_eq!(member.voters().unwrap(), Some(Vec::new()));
        // Killed after the log was made and before the old sign was removed: again.
        Wal::create(&member.home().unwrap(), SEGMENT_BYTES).unwrap();
        assert_eq!(member.voters().unwrap(), Some(Vec::new()));
        member.begin_log().unwrap();
        assert_eq!(member.voters().unwrap(), None);
        assert_eq!(member.identity(), Some(&identity()));
        Storage::open(&member).unwrap();
    }
}
