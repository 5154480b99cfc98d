//! What a message from the network must satisfy before the library sees it.
//!
//! The library trusts its peers: an index out of range, a zero term or a gap between entries is
//! a panic there. Peers are authenticated, but a peer can be of another version, restored from
//! an old disk or simply wrong, and one bad frame must not take a voter down.

use super::message::{MessageKind, RaftMessage};
use crate::log::{Entry, Snapshot};
use tenure_core::NodeId;

/// No cluster ever gets here: far enough from `u64::MAX` for every sum the library forms.
const LARGEST: u64 = 1 << 62;

/// Terms grow by one per election. A message whose term is further ahead than all elections of
/// a century, one per second, is damaged; following it would bring `LARGEST` within reach.
const LARGEST_TERM_STEP: u64 = 1 << 32;

/// The library marks votes of a leadership transfer with this context; they pass the lease.
pub(super) const TRANSFER: &[u8] = ::raft::CAMPAIGN_TRANSFER;

/// Length of the context that [`super::Consensus::read_barrier`] puts into heartbeats.
pub(super) const BARRIER_BYTES: usize = 16;

/// Why a message was not taken. The state is as before in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepError {
    /// The sender is at fault, or the transport delivered to the wrong node.
    #[error("a Raft message for node {to} from node {from} arrived here")]
    Misdelivered {
        /// Whom it was for.
        to: NodeId,
        /// Who sent it.
        from: NodeId,
    },
    /// The sender is at fault: another version or a damaged frame.
    #[error("node {from} sent a Raft message that makes no sense: {problem}")]
    Malformed {
        /// Who sent it.
        from: NodeId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An answer from a node that is not in the membership: late, or removed. Harmless.
    #[error("node {0} answered but is not a member")]
    NotMember(NodeId),
    /// **This node is at fault.** Its log is shorter than what it once confirmed, so its disk
    /// lost acknowledged entries. It must stop and come back under a new id.
    #[error(
        "node {leader} knows entries up to {confirmed} to be stored here, but the log ends at \
         {last}: this node's disk has lost acknowledged entries"
    )]
    LogLost {
        /// Who knows.
        leader: NodeId,
        /// What this node had confirmed.
        confirmed: u64,
        /// Where its log ends now.
        last: u64,
    },
}

/// What the checks need to know of the receiver.
pub(super) struct Receiver {
    pub(super) me: NodeId,
    pub(super) term: u64,
    pub(super) last_index: u64,
    pub(super) leader: Option<NodeId>,
}

impl Receiver {
    /// Refuses everything that the library would answer with a panic or with nonsense.
    pub(super) fn check(&self, message: &RaftMessage) -> Result<(), StepError> {
        let from = message.from;
        if message.to != self.me || from == self.me {
            return Err(StepError::Misdelivered { to: message.to, from });
        }
        self.check_shape(message).map_err(|problem| StepError::Malformed { from, problem })?;
        // Below our term the library looks at nothing but the term.
        let leading = self.leader == Some(self.me) && message.term == self.term;
        if message.kind == MessageKind::Heartbeat
            && message.term >= self.term
            && !leading
            && message.commit > self.last_index
        {
            let (leader, confirmed, last) = (from, message.commit, self.last_index);
            return Err(StepError::LogLost { leader, confirmed, last });
        }
        Ok(())
    }

    fn check_shape(&self, m: &RaftMessage) -> Result<(), &'static str> {
        if m.term == 0 || m.term > LARGEST || m.term > self.term.saturating_add(LARGEST_TERM_STEP) {
            return Err("its term is out of range");
        }
        let largest = m.log_term.max(m.index).max(m.commit).max(m.commit_term).max(m.reject_hint);
        if largest > LARGEST {
            return Err("an index is out of range");
        }
        if m.kind != MessageKind::Append && !m.entries.is_empty() {
            return Err("it carries entries");
        }
        if (m.kind == MessageKind::Snapshot) != m.snapshot.is_some() {
            return Err("a snapshot is missing or out of place");
        }
        match m.kind {
            MessageKind::Append => check_entries(m),
            MessageKind::Snapshot => match &m.snapshot {
                Some(snapshot) if snapshot.term <= m.term => check_snapshot(snapshot),
                _ => Err("its snapshot is of a later term"),
            },
            MessageKind::AppendResponse => self.check_append_response(m),
            MessageKind::Vote | MessageKind::PreVote => {
                let known = m.context.is_empty() || m.context == TRANSFER;
                known.then_some(()).ok_or("its campaign is of an unknown kind")
            }
            MessageKind::Heartbeat | MessageKind::HeartbeatResponse => {
                let known = m.context.is_empty() || m.context.len() == BARRIER_BYTES;
                known.then_some(()).ok_or("its read context is of an unknown kind")
            }
            MessageKind::VoteResponse | MessageKind::PreVoteResponse | MessageKind::TimeoutNow => {
                Ok(())
            }
        }
    }

    fn check_append_response(&self, m: &RaftMessage) -> Result<(), &'static str> {
        let mine = self.leader == Some(self.me) && m.term == self.term;
        // Within one term a leader's log only grows, so no honest answer is beyond its end.
        if mine && (m.index > self.last_index || m.reject_hint > self.last_index) {
            return Err("it confirms entries that this leader does not have");
        }
        Ok(())
    }
}

fn check_entries(m: &RaftMessage) -> Result<(), &'static str> {
    // The log of every node starts behind a snapshot (see `Consensus::new`), so position 0 never
    // precedes an entry; the library would match it against any position it does not have.
    if m.index == 0 || m.log_term == 0 {
        return Err("its entries start before the first position");
    }
    check_run(&m.entries, m.index, m.log_term)?;
    if m.entries.last().is_some_and(|last| last.term > m.term) || m.log_term > m.term {
        return Err("its entries are of a later term");
    }
    Ok(())
}

/// Entries follow each other and `(index, term)` without a gap, with terms that never go back.
pub(super) fn check_run(entries: &[Entry], index: u64, term: u64) -> Result<(), &'static str> {
    let mut previous = (index, term);
    for entry in entries {
        if Some(entry.index) != previous.0.checked_add(1) {
            return Err("its entries are not contiguous");
        }
        if entry.term < previous.1 {
            return Err("the terms of its entries go back");
        }
        previous = (entry.index, entry.term);
    }
    Ok(())
}

/// A snapshot that the library can restore.
pub(super) fn check_snapshot(snapshot: &Snapshot) -> Result<(), &'static str> {
    if snapshot.index == 0 || snapshot.index > LARGEST {
        return Err("its snapshot is at no position");
    }
    if snapshot.term == 0 || snapshot.term > LARGEST {
        return Err("its snapshot is of no term");
    }
    check_membership(&snapshot.membership.voters, &snapshot.membership.learners)
}

/// At least one voter, and nobody twice.
pub(super) fn check_membership(voters: &[NodeId], learners: &[NodeId]) -> Result<(), &'static str> {
    if voters.is_empty() {
        return Err("its membership has no voter");
    }
    let mut all: Vec<NodeId> = voters.iter().chain(learners).copied().collect();
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("its membership names a node twice");
    }
    Ok(())
}
