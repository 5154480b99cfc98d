//! What waits to be written on one connection.
//!
//! When nothing waits and the socket takes it, a message leaves within the call: no task is
//! woken. What the socket does not take waits in a bounded queue, and the connection's task
//! writes many messages with one call when the socket has room again.

use std::{
    collections::VecDeque,
    io,
    io::IoSlice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{conn::Conn, framing::Packet};

/// Most pieces given to the kernel at once; it takes no more than 1024.
const SLICES: usize = 128;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

/// More waits than may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

#[derive(Debug, Default)]
struct Waiting {
    conn: Option<Arc<Conn>>,
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Bytes of the first packet that were written.
    written: usize,
    /// Packets that were dropped for want of room.
    dropped: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    bound: Bound,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Outbox {
    /// Without a connection: whatever is pushed is lost.
    pub(crate) fn new(bound: Bound) -> Self {
        Self { bound, waiting: Mutex::default(), wake: Notify::new() }
    }

    pub(crate) fn connected(bound: Bound, conn: Arc<Conn>) -> Self {
        let outbox = Self::new(bound);
        outbox.attach(conn);
        outbox
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, conn: Arc<Conn>) {
        *self.lock() = Waiting { conn: Some(conn), ..Waiting::default() };
    }

    pub(crate) fn detach(&self) {
        *self.lock() = Waiting::default();
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.lock().conn.is_some()
    }

    /// Closes the connection; its task will notice.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        if let Some(conn) = waiting.conn.take() {
            conn.close();
        }
        *waiting = Waiting::default();
    }

    /// Lets a packet wait, and makes room by dropping the oldest that has not begun to leave.
    /// Gives the number of packets dropped by this call.
    pub(crate) fn push_dropping(&self, packet: Packet) -> u64 {
        let mut waiting = self.lock();
        if waiting.conn.is_none() {
            return 1;
        }
        let before = waiting.dropped;
        while !waiting.has_room(self.bound, &packet) {
            let oldest = usize::from(waiting.written > 0);
            let Some(dropped) = waiting.packets.remove(oldest) else { break };
            waiting.bytes -= dropped.wire_len();
            waiting.dropped += 1;
        }
        waiting.push(packet);
        waiting.dropped - before
    }

    /// Lets a packet wait, or says that there is no room.
    pub(crate) fn push(&self, packet: Packet) -> Result<(), Overflow> {
        let mut waiting = self.lock();
        if !waiting.has_room(self.bound, &packet) {
            return Err(Overflow);
        }
        if waiting.conn.is_some() {
            waiting.push(packet);
        }
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it now.
    pub(crate) fn flush(&self) {
        let mut waiting = self.lock();
        let Some(conn) = waiting.conn.clone() else { return };
        while !waiting.packets.is_empty() {
            match waiting.write_some(&conn) {
                Ok(count) => waiting.wrote(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wake.notify_one();
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    conn.close();
                    *waiting = Waiting::default();
                    return;
                }
            }
        }
    }

    /// Writes what waits whenever the socket has room. Never ends; cancel safe.
    pub(crate) async fn drive(&self) {
        loop {
            while let Some(conn) = self.unfinished() {
                if conn.writable().await.is_err() {
                    break;
                }
                self.flush();
            }
            self.wake.notified().await;
        }
    }

    fn unfinished(&self) -> Option<Arc<Conn>> {
        let waiting = self.lock();
        if waiting.packets.is_empty() { None } else { waiting.conn.clone() }
    }
}

impl Waiting {
    /// A single packet always has room: a snapshot may be longer than the bound.
    fn has_room(&self, bound: Bound, packet: &Packet) -> bool {
        self.packets.is_empty()
            || (self.packets.len() < bound.packets && self.bytes + packet.wire_len() <= bound.bytes)
    }

    fn push(&mut self, packet: Packet) {
        self.bytes += packet.wire_len();
        self.packets.push_back(packet);
    }

    fn write_some(&self, conn: &Conn) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let mut written = self.written;
        for packet in self.packets.iter().take(SLICES / 2) {
            for piece in packet.rest(written).into_iter().filter(|piece| !piece.is_empty()) {
                slices[used] = IoSlice::new(piece);
                used += 1;
            }
            written = 0;
        }
        conn.try_write(&slices[..used])
    }

    fn wrote(&mut self, mut count: usize) {
        while let Some(first) = self.packets.front() {
            let left = first.wire_len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.bytes -= first.wire_len();
            self.written = 0;
            self.packets.pop_front();
        }
    }
}
