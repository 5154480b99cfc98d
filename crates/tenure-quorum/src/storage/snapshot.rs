//! The snapshot file: the whole state up to an index, checksummed, written before the log
//! mentions it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tenure_replica::Snapshot;

use super::{
    disk::replace,
    error::StorageError,
    home::{Home, number_of, numbered},
    record::SnapshotId,
};

/// Starts the name of a snapshot file.
pub(super) const SNAPSHOT: &str = "snapshot-";
const MAGIC: &[u8; 4] = b"TnrS";
/// Magic, then u64 length and u32 checksum of what follows, little-endian, then u32 checksum
/// of these 16 bytes.
const HEADER: usize = 20;

/// The content of the file. A new version of the format is a new variant.
#[derive(Serialize, Deserialize)]
enum Stored<'a> {
    V1(Cow<'a, Snapshot>),
}

/// Makes a snapshot durable under its name.
pub(super) fn write(home: &Home, snapshot: &Snapshot) -> Result<(), StorageError> {
    let name = numbered(SNAPSHOT, snapshot.index);
    let mut bytes = vec![0; HEADER];
    rmp_serde::encode::write_named(&mut bytes, &Stored::V1(Cow::Borrowed(snapshot)))
        .map_err(|error| StorageError::Impossible { reason: error.to_string() })?;
    let (length, crc) = ((bytes.len() - HEADER) as u64, crc32fast::hash(&bytes[HEADER..]));
    bytes[0..4].copy_from_slice(MAGIC);
    bytes[4..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    replace(&*home.disk, &name, &bytes).map_err(home.failed("write", &name))
}

/// Reads the snapshot that the log mentions.
pub(super) fn read(home: &Home, id: SnapshotId) -> Result<Snapshot, StorageError> {
    let name = numbered(SNAPSHOT, id.index);
    if !home.list()?.contains(&name) {
        return Err(home.corrupt(&name, 0, "the log mentions it, and it is gone"));
    }
    let bytes = home.read(&name)?;
    let snapshot = decode(&bytes).map_err(|(at, reason)| home.corrupt(&name, at, reason))?;
    if SnapshotId::of(&snapshot) != id {
        return Err(home.corrupt(&name, HEADER, "it is another snapshot than the log mentions"));
    }
    Ok(snapshot)
}

fn decode(bytes: &[u8]) -> Result<Snapshot, (usize, String)> {
    let damaged = |at, reason: &str| (at, reason.to_owned());
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(damaged(bytes.len(), "the file ends inside the header"));
    };
    let (fields, crc) = header.split_at(16);
    if &fields[..4] != MAGIC || crc != crc32fast::hash(fields).to_le_bytes() {
        return Err(damaged(0, "the header does not match its checksum"));
    }
    if fields[4..12] != (body.len() as u64).to_le_bytes() {
        return Err(damaged(4, "the file is longer or shorter than its header says"));
    }
    if fields[12..16] != crc32fast::hash(body).to_le_bytes() {
        return Err(damaged(HEADER, "the content does not match its checksum"));
    }
    match rmp_serde::from_slice(body) {
        Ok(Stored::V1(snapshot)) => Ok(snapshot.into_owned()),
        Err(error) => Err((HEADER, format!("it makes no sense to this program ({error})"))),
    }
}

/// Removes all snapshots but one: older ones, and one that was written when the node went
/// down before the log could mention it.
pub(super) fn remove_others(home: &Home, kept: Option<SnapshotId>) -> Result<(), StorageError> {
    for name in home.list()? {
        let index = number_of(SNAPSHOT, &name);
        if index.is_some() && index != kept.map(|id| id.index) {
            home.remove(&name)?;
        }
    }
    Ok(())
}
