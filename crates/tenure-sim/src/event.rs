//! What can happen, and when.

use std::{cmp::Ordering, collections::BinaryHeap};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, NodeId, RequestId, Revision, SessionId, Token,
    ledger::Outcome, timing::adaptive::TtlRange,
};
use tenure_replica::{PeerFrame, Wish};

/// A process in the world: a node or a candidate, observer or operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Node(usize),
    Process(usize),
}

/// What a client asks a node.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Wish(RequestId, Wish),
    Renew(SessionId),
    Confirm,
    Subscribe(Vec<ElectionName>),
    TransferQuorum,
}

/// What a node answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Outcome(Outcome),
    Renewed,
    Gone,
    Confirmed,
    Accepted,
    Unavailable,
}

/// One election as a node shows it.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) election: ElectionName,
    /// Whether the node says that it knows.
    pub(crate) known: bool,
    pub(crate) revision: Revision,
    pub(crate) token: Option<Token>,
    pub(crate) holder: Option<SessionId>,
    pub(crate) handover: bool,
    pub(crate) revoked: bool,
}

/// What travels on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Frame(Box<PeerFrame>),
    Question(u64, Question),
    Answer(u64, Reply),
    Push(Push),
    /// The other end closed the connection.
    End,
}

/// Something at a node or a process; while it is paused these wait in the order they came.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A connection with the node or process at the other end exists.
    Up { conn: u64 },
    /// It ended.
    Down { conn: u64 },
    /// Something arrived on it.
    Heard { conn: u64, item: Item },
    /// The disk has finished.
    Persisted(u64),
    /// This process was seen dead.
    Died { process: Incarnation, node: Option<NodeId>, who: Who },
    /// Time to try to connect, for a node to this node.
    Dial(NodeId),
    /// The same for a client, to whichever node is next.
    Connect,
    /// The application does something.
    Act(Act),
}

/// What an application does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Campaign(ElectionName),
    /// The work of this tenure has stopped.
    Finish(ElectionName, Token, Option<CandidateId>),
    Withdraw(ElectionName),
    Write(ElectionName, Token),
    /// Everything is left, then the process ends.
    Close,
    /// An observer asks for a word that is current.
    Confirm,
    /// Its lease is to have other bounds.
    SetTtl(TtlRange),
}

/// A write on its way to a fenced resource.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) election: ElectionName,
    pub(crate) token: Token,
    pub(crate) process: Incarnation,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// The first item in this direction of a connection is due.
    Arrive {
        conn: u64,
        side: usize,
    },
    /// Something happens at somebody, if it still lives the same life.
    At {
        who: Who,
        life: u32,
        /// Boxed: the queue moves its events about.
        what: Box<Happening>,
    },
    /// A timer rings.
    Wake {
        who: Who,
        life: u32,
    },
    /// The disk of a node has finished what it was writing.
    Flushed {
        node: usize,
        life: u32,
    },
    /// A pause is over.
    Resume {
        who: Who,
        life: u32,
    },
    /// A write arrives at a resource.
    Write(Box<Write>),
    /// A cut ends that two nodes' connections did not outlive.
    Severed {
        cut: u64,
        nodes: (usize, usize),
    },
    /// A cut ends, or a flapping link changes.
    Mend(u64),
    Flap(u64),
    /// Somebody who is down starts again.
    Start(Who),
    /// A disk is fast again.
    FastDisk(usize),
    /// The old words of a connection that one end gave up are read.
    Release(u64),
    /// Connections that are silent for too long are given up.
    Audit,
    /// Something goes wrong.
    Trouble,
    /// Somebody wants a lease of another length.
    Retime,
}

impl Event {
    pub(crate) fn at(who: Who, life: u32, what: Happening) -> Self {
        Self::At { who, life, what: Box::new(what) }
    }
}

struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    /// The earliest is the greatest; of two at the same time the one that was planned first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Events by true time.
pub(crate) struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    planned: u64,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<E> Schedule<E> {
    pub(crate) fn plan(&mut self, at: u64, event: E) {
        self.planned += 1;
        self.heap.push(Entry { at, number: self.planned, event });
    }

    pub(crate) fn next(&mut self, until: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}
