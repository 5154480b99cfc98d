//! Our own versioned encoding, for the wire and for the disk.
//!
//! MessagePack with field names: a reader skips fields that it does not know and fills in those
//! that it misses, so two neighbouring versions can talk while a cluster is upgraded. The first
//! byte is the version of the whole; a reader refuses one that it does not know.

use serde::{Serialize, de::DeserializeOwned};

/// Version of the encoding written by this build.
const VERSION: u8 = 1;

/// Bytes that this build cannot read. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is nothing to read.
    #[error("the record is empty")]
    Empty,
    /// Written by a newer build.
    #[error("the record has format version {0}, this build reads version {VERSION}: upgrade it")]
    Version(u8),
    /// Not what was expected here.
    #[error("the record cannot be read: {0}")]
    Malformed(String),
}

/// Encodes a value that this workspace defined.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    value.serialize(&mut serializer).expect("our own types always encode into memory");
    bytes
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`DecodeError`] for anything else; it never panics and never allocates more than a small
/// multiple of `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, body)) => {
            rmp_serde::from_slice(body).map_err(|error| DecodeError::Malformed(error.to_string()))
        }
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}
