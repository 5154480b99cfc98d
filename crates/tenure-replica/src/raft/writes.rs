//! What the disk still owes, and which messages wait for it.

use super::message::RaftMessage;
use crate::log::HardState;
use std::collections::VecDeque;

/// One unit that was handed out to be persisted.
struct Unit {
    number: u64,
    /// The library's number of the latest of its readies that this unit completes: the one it
    /// came from, or a later one without anything to persist. 0 for a unit that the library
    /// knows nothing of.
    ready: u64,
    term: u64,
}

/// Persist before send, as data.
///
/// Messages that depend on the disk are tagged with the last unit they could depend on and wait
/// here. A message can depend on a unit of an earlier round too (a repeated append is confirmed
/// again while the write of the first one is under way), hence "the last one handed out" and
/// not "the one it came with".
pub(super) struct Writes {
    issued: u64,
    in_flight: VecDeque<Unit>,
    /// The last unit that holds messages back: one with a term, a vote, entries or a snapshot
    /// from the leader. A snapshot made here delays nobody.
    gate: u64,
    done: u64,
    held: VecDeque<(u64, RaftMessage)>,
    released: Vec<RaftMessage>,
    /// As in the last unit handed out.
    pub(super) hard_state: HardState,
    /// The highest term that a crash would not take back.
    durable_term: u64,
}

impl Writes {
    pub(super) fn new(durable: HardState) -> Self {
        Self {
            issued: 0,
            in_flight: VecDeque::new(),
            gate: 0,
            done: 0,
            held: VecDeque::new(),
            released: Vec::new(),
            hard_state: durable,
            durable_term: durable.term,
        }
    }

    /// Numbers a new unit.
    pub(super) fn issue(&mut self, ready: u64, gates: bool) -> u64 {
        self.issued += 1;
        if gates {
            self.gate = self.issued;
        }
        let term = self.hard_state.term;
        self.in_flight.push_back(Unit { number: self.issued, ready, term });
        self.issued
    }

    /// A ready of the library that has nothing to persist. Returns whether it is complete now;
    /// otherwise it is complete with the last unit in flight.
    pub(super) fn nothing_to_write(&mut self, ready: u64) -> bool {
        match self.in_flight.back_mut() {
            Some(unit) => {
                unit.ready = ready;
                false
            }
            None => true,
        }
    }

    /// Sends a message now or when the disk is done. A leader's own messages may overtake its
    /// writes, which is safe because it counts itself towards a commit only once its write is
    /// done; but not before its *term* is durable. That matters for a single voter, which elects
    /// itself without asking anybody: after a crash it would lead the same term again and put
    /// other entries at positions that its learners already have.
    pub(super) fn send(&mut self, message: RaftMessage) {
        let may_overtake = message.kind.is_leaders() && message.term <= self.durable_term;
        if may_overtake || self.is_settled() {
            self.released.push(message);
        } else {
            self.held.push_back((self.gate, message));
        }
    }

    /// The disk has finished this unit and all before it. Returns the library's number of the
    /// last ready completed by that.
    pub(super) fn finish(&mut self, number: u64) -> Option<u64> {
        let mut completed = None;
        while self.in_flight.front().is_some_and(|unit| unit.number <= number) {
            let Some(unit) = self.in_flight.pop_front() else { break };
            self.done = unit.number;
            self.durable_term = unit.term;
            completed = completed.max(Some(unit.ready));
        }
        while self.held.front().is_some_and(|(gate, _)| *gate <= self.done) {
            let Some((_, message)) = self.held.pop_front() else { break };
            self.released.push(message);
        }
        completed
    }

    pub(super) fn take_released(&mut self) -> Vec<RaftMessage> {
        std::mem::take(&mut self.released)
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// No message is waiting for the disk, nor would the next one.
    pub(super) fn is_settled(&self) -> bool {
        self.gate <= self.done
    }
}
