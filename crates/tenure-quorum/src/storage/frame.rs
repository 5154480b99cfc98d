//! The bytes of one batch, and the judgement of bytes that are none.
//!
//! A frame starts at a multiple of 512 bytes and fills whole sectors, so a batch never shares
//! a sector with an acknowledged one. Disks write a sector whole or not at all, and the file
//! was zero before: an interrupted write leaves whole sectors of zeros, and nothing else.
//!
//! ```text
//! 0  magic       u32, all numbers little-endian
//! 4  length      u32, bytes of the payload
//! 8  sequence    u64, one more than the batch before
//! 16 body crc    u32, over everything behind the header, the padding too
//! 20 zero        u32, sectors of the frame that are all zero when it is whole
//! 24 header crc  u32, over bytes 0 to 24
//! 28 payload, then 0xFF up to the end of the sector
//! ```

use super::record::{Batch, Record};

/// What disks write whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;
const HEADER: usize = 28;
const MAGIC: u32 = u32::from_le_bytes(*b"TnrF");

struct Header {
    length: u32,
    sequence: u64,
    body_crc: u32,
    zero_sectors: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.zero_sectors.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let good = word(0)? == MAGIC && word(24)? == crc32fast::hash(bytes.get(..24)?);
        good.then_some(Self {
            length: word(4)?,
            sequence: u64::from(word(8)?) | u64::from(word(12)?) << 32,
            body_crc: word(16)?,
            zero_sectors: word(20)?,
        })
    }
}

/// Puts one batch into `frame`, in place of what was there.
///
/// # Errors
/// A reason in words when the batch is larger than 4 GiB.
pub(super) fn encode(
    frame: &mut Vec<u8>,
    sequence: u64,
    records: Vec<Record<'_>>,
) -> Result<(), String> {
    frame.clear();
    frame.resize(HEADER, 0);
    rmp_serde::encode::write_named(frame, &Batch::V1(records)).map_err(|e| e.to_string())?;
    let length = u32::try_from(frame.len() - HEADER).map_err(|_| "a batch of 4 GiB".to_owned())?;
    frame.resize(frame.len().next_multiple_of(SECTOR), 0xFF);
    let header = Header {
        length,
        sequence,
        body_crc: crc32fast::hash(&frame[HEADER..]),
        // The header's own sector is never zero, so it does not matter that it is not in yet.
        zero_sectors: zero_sectors(&frame[SECTOR..]),
    };
    frame[..HEADER].copy_from_slice(&header.encode());
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn zero_sectors(bytes: &[u8]) -> u32 {
    bytes.chunks(SECTOR).map(|sector| u32::from(is_zero(sector))).sum()
}

/// What stands at some place of a log file.
pub(super) enum Found<'a> {
    /// A whole batch.
    Batch {
        sequence: u64,
        payload: &'a [u8],
        /// Where the next one starts.
        end: usize,
    },
    /// Nothing but zeros up to the end of the file.
    End,
    /// What a write that was interrupted leaves behind, for the reason given.
    Torn(&'static str),
    /// Anything else, for the reason given.
    Damaged(&'static str),
}

/// Judges what stands at `offset`, a multiple of [`SECTOR`], of a whole log file.
pub(super) fn read(file: &[u8], offset: usize) -> Found<'_> {
    let rest = file.get(offset..).unwrap_or_default();
    if is_zero(rest) {
        return Found::End;
    }
    if is_zero(&rest[..rest.len().min(SECTOR)]) {
        return torn(rest, "the first sector of the last batch was never written");
    }
    if rest.len() < HEADER {
        return Found::Torn("the file ends inside the header of the last batch");
    }
    let Some(header) = Header::decode(rest) else {
        return Found::Damaged("the header of a batch does not match its checksum");
    };
    let length = HEADER + header.length as usize;
    let Some(frame) = rest.get(..length.next_multiple_of(SECTOR)) else {
        return torn(rest, "the file ends inside the last batch");
    };
    if crc32fast::hash(&frame[HEADER..]) == header.body_crc {
        let end = offset + frame.len();
        return Found::Batch { sequence: header.sequence, payload: &frame[HEADER..length], end };
    }
    // Counting, instead of looking for any zero sector, keeps a batch whose own content has
    // long runs of zeros from being taken for a torn one after a flipped bit.
    if zero_sectors(&frame[SECTOR..]) > header.zero_sectors {
        return torn(rest, "parts of the last batch were never written");
    }
    Found::Damaged("the content of a batch does not match its checksum")
}

/// A batch is only written once the one before it is durable, so whatever is followed by
/// another batch was whole once.
fn torn<'a>(rest: &[u8], reason: &'static str) -> Found<'a> {
    if rest.chunks(SECTOR).skip(1).any(|sector| Header::decode(sector).is_some()) {
        return Found::Damaged("a batch is missing here, and a later one follows");
    }
    Found::Torn(reason)
}

/// The records of a payload.
pub(super) fn decode(payload: &[u8]) -> Result<Vec<Record<'static>>, String> {
    match rmp_serde::from_slice(payload) {
        Ok(Batch::V1(records)) => Ok(records),
        Err(error) => Err(format!(
            "a batch is whole but makes no sense to this program ({error}); a newer one may \
             have written it"
        )),
    }
}
