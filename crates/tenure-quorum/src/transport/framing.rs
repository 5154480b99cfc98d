//! Length-prefixed messages over any byte stream.
//!
//! A message is a big-endian `u32` length and that many bytes of [`tenure_replica::encode`].
//! The length is checked against the bound of its kind before anything is allocated, and the
//! buffer of a long message grows as its bytes arrive: four bytes from a stranger cost nothing.

use std::{io, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tenure_replica::{DecodeError, decode, encode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::wire::MAGIC;

/// Bytes of the length before each message.
const HEAD: usize = 4;
/// What is asked from the stream at once, and what an idle connection keeps.
const CHUNK: usize = 4 << 10;
/// A long message is read in steps of at most this much.
const STEP: usize = 64 << 10;

/// Why a message could not be read. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The connection ended in the middle of a message.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// The first bytes are not those of this protocol.
    #[error("this is not the tenure protocol (the first bytes are {0:02x?})")]
    Foreign([u8; 4]),
    /// The message says that it is longer than its kind may be.
    #[error("a message of {length} bytes was announced, at most {max} are allowed")]
    Oversized {
        /// Bytes announced.
        length: u32,
        /// Bytes allowed.
        max: u32,
    },
    /// The message is not what was expected here.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// What should have arrived did not arrive in time.
    #[error("what should have come did not come within {0:?}")]
    Slow(Duration),
}

/// How long to wait for a message.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// For ever for its first byte, then so long for all the rest: against strangers who
    /// trickle.
    Whole(Duration),
    /// So long for the next piece of it, also for the first: for whoever speaks regularly and
    /// may have much to say.
    Piece(Duration),
}

/// An encoded message with its length, cheap to clone: it is encoded once for many receivers.
#[derive(Debug, Clone)]
pub struct Packet {
    head: [u8; HEAD],
    body: Arc<Vec<u8>>,
}

impl Packet {
    /// Encodes a message.
    ///
    /// # Errors
    /// [`FrameError::Oversized`] when it is longer than `max` bytes; nothing was sent.
    pub fn new<T: Serialize>(message: &T, max: u32) -> Result<Self, FrameError> {
        let body = encode(message);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if length > max {
            return Err(FrameError::Oversized { length, max });
        }
        Ok(Self { head: length.to_be_bytes(), body: Arc::new(body) })
    }

    /// Bytes on the wire, length included.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        HEAD + self.body.len()
    }

    /// What is left on the wire after `written` bytes: the rest of the length, and of the body.
    pub(crate) fn rest(&self, written: usize) -> [&[u8]; 2] {
        match written.checked_sub(HEAD) {
            None => [&self.head[written..], &self.body],
            Some(of_body) => [&[], &self.body[of_body..]],
        }
    }
}

/// Writes one message. Not cancel safe: when the future is dropped, part of the message may
/// have been written and the connection is of no further use.
///
/// # Errors
/// Whatever the stream reports.
pub async fn write_packet<W: AsyncWrite + Unpin>(to: &mut W, packet: &Packet) -> io::Result<()> {
    // One write, so that a small message is one segment.
    let mut bytes = Vec::with_capacity(packet.wire_len());
    bytes.extend_from_slice(&packet.head);
    bytes.extend_from_slice(&packet.body);
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads messages from a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were consumed.
    start: usize,
    max: u32,
    patience: Patience,
    /// When the message that is under way must be complete.
    deadline: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads messages of at most `max` bytes.
    pub fn new(from: R, max: u32, patience: Patience) -> Self {
        Self { from, buffer: Vec::new(), start: 0, max, patience, deadline: None }
    }

    /// From now on other bounds hold.
    pub fn expect(&mut self, max: u32, patience: Patience) {
        (self.max, self.patience) = (max, patience);
    }

    /// Reads the first bytes of a connection. Cancel safe. False when it ended before any.
    ///
    /// # Errors
    /// [`FrameError::Foreign`] as soon as a byte differs, and what the stream reports.
    pub async fn magic(&mut self) -> Result<bool, FrameError> {
        loop {
            let seen = &self.buffer[self.start..];
            let compared = seen.len().min(MAGIC.len());
            if seen[..compared] != MAGIC[..compared] {
                let mut first = [0; 4];
                first[..compared].copy_from_slice(&seen[..compared]);
                return Err(FrameError::Foreign(first));
            }
            if compared == MAGIC.len() {
                self.consume(MAGIC.len());
                return Ok(true);
            }
            if self.fill(MAGIC.len()).await? == 0 {
                return if compared == 0 { Ok(false) } else { Err(FrameError::Truncated) };
            }
        }
    }

    /// The next message and the number of its bytes; none when the stream ended between two
    /// messages. Cancel safe: what was read is kept.
    ///
    /// # Errors
    /// [`FrameError`]; the connection must be closed then.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(T, usize)>, FrameError> {
        loop {
            let missing = match self.length()? {
                Some(length) if self.available() >= HEAD + length => {
                    let body = self.start + HEAD;
                    let message = decode(&self.buffer[body..body + length])?;
                    self.consume(HEAD + length);
                    return Ok(Some((message, length)));
                }
                Some(length) => HEAD + length - self.available(),
                None => HEAD - self.available(),
            };
            if self.fill(missing).await? == 0 {
                let between = self.available() == 0;
                return if between { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn available(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Length of the message that is under way, once it is known.
    fn length(&self) -> Result<Option<usize>, FrameError> {
        let Some(head) = self.buffer[self.start..].first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head);
        if length > self.max {
            return Err(FrameError::Oversized { length, max: self.max });
        }
        Ok(Some(length as usize))
    }

    async fn fill(&mut self, missing: usize) -> Result<usize, FrameError> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(missing.clamp(CHUNK, STEP));
        let (deadline, patience) = match self.patience {
            Patience::Whole(_) if self.buffer.is_empty() => {
                return Ok(self.from.read_buf(&mut self.buffer).await?);
            }
            Patience::Whole(whole) => {
                (*self.deadline.get_or_insert_with(|| Instant::now() + whole), whole)
            }
            Patience::Piece(piece) => (Instant::now() + piece, piece),
        };
        match timeout_at(deadline, self.from.read_buf(&mut self.buffer)).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(FrameError::Slow(patience)),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.deadline = None;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            self.buffer.shrink_to(STEP);
        }
    }
}
