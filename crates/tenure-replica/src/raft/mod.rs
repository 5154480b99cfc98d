//! The consensus library behind our own vocabulary.
//!
//! **Invariant:** only this folder names the `raft` crate; replacing the library means
//! rewriting this folder and nothing else.
//!
//! What it adds to the library, and why:
//! - pre-vote and check-quorum are always on: either alone is not live under partial partitions;
//! - persist before send, as data ([`writes`]): what depends on a write comes out after it;
//! - everything from the network or the disk is checked first ([`check`]), because the library
//!   panics on what it does not expect;
//! - election time-outs from a seed ([`timeouts`]), so that a run is a function of its inputs;
//! - snapshots that contain the node they are sent to ([`store`]), and a leader that steps down
//!   when it is removed: the library leaves both to its user.

mod check;
mod convert;
mod inputs;
mod membership;
mod message;
mod ready;
mod store;
#[cfg(test)]
mod tests;
mod timeouts;
mod writes;

pub(crate) use check::StepError;
pub(crate) use inputs::ProposeError;
pub(crate) use membership::MembershipChange;
pub use message::RaftMessage;
pub(crate) use ready::Ready;

use crate::log::{HardState, Membership, Restored, Snapshot};
use crate::status::RaftRole;
use ::raft::{Config, RawNode, StateRole};
use check::BARRIER_BYTES;
use std::collections::BTreeMap;
use store::Store;
use tenure_core::NodeId;
use timeouts::Timeouts;
use writes::Writes;

/// Index and term of the snapshot that every founding node starts from. Not 0: a node that
/// joins later must be sent the founding membership, and the library sends a snapshot only to
/// whom it cannot send the log from its first entry.
const FOUNDING: u64 = 1;

/// Appends to one follower that may be on their way unconfirmed. Past it the leader waits.
const MAX_INFLIGHT: usize = 128;

/// Bytes of entries in one append.
const MAX_APPEND_BYTES: u64 = 256 * 1024;

/// Bytes proposed but not committed, past which proposals are refused: what a leader may pile
/// up while it does not know yet that it lost its quorum.
const MAX_UNCOMMITTED_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of committed entries in one [`Ready`].
const MAX_COMMITTED_BYTES: u64 = 4 * 1024 * 1024;

/// Who this node is and how fast its clock ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConsensusConfig {
    /// This node.
    pub(crate) id: NodeId,
    /// Ticks between the leader's heartbeats.
    pub(crate) heartbeat_ticks: usize,
    /// Ticks without a leader before a follower campaigns; the actual number is drawn from
    /// `election_ticks..2 * election_ticks`. Also how often a leader checks that it still has a
    /// quorum. Must be greater than `heartbeat_ticks`; five to ten times is sane.
    pub(crate) election_ticks: usize,
    /// Entries kept behind a snapshot, so that a follower that is only a little behind gets
    /// them instead of the whole state.
    pub(crate) log_tail: u64,
}

/// Why a node cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// The caller's settings do not fit together.
    #[error("consensus settings do not fit together: {0}")]
    Config(String),
    /// What the disk gave back contradicts itself.
    #[error("the stored consensus state is damaged: {problem}")]
    Corrupt {
        /// What contradicts what.
        problem: &'static str,
    },
    /// The disk remembers a commit beyond the end of the log: it lost entries that were
    /// acknowledged. The node must come back under a new id.
    #[error("the log ends at {last}, but {committed} was known to be committed: entries are lost")]
    LogLost {
        /// The commit index remembered.
        committed: u64,
        /// Where the log ends.
        last: u64,
    },
}

/// What a new cluster starts from. Every founding node must be given the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    /// The founding voters; this node is one of them.
    pub(crate) membership: Membership,
    /// The encoded state machine at the start.
    pub(crate) data: Vec<u8>,
}

/// Role, leader and term, as far as this node knows. Never a lease: a deposed leader calls
/// itself leader until it hears of the next one or misses its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// [`RaftRole::Learner`] for every node without a vote: it receives the log only, was
    /// removed, or has not joined yet.
    pub(crate) role: RaftRole,
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
}

/// What the leader knows of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerProgress {
    pub(crate) id: NodeId,
    pub(crate) voter: bool,
    /// The member's log equals the leader's up to here, and is persisted there.
    pub(crate) matched: u64,
    /// Heard from since the leader last checked its quorum, which is every `election_ticks`.
    pub(crate) recent_active: bool,
    /// It is being sent a snapshot.
    pub(crate) snapshotting: bool,
}

/// One node's share of the consensus.
///
/// Kinds of methods: *inputs* (`tick`, `step`, `propose…`, `read_barrier`, `transfer_to`,
/// `forget_leader`, `campaign…`, `report_…`, `persisted`, `applied_to`, `apply_membership`,
/// `offer_snapshot`), *output* (`ready`, to be drained after every input) and *getters*.
/// `persisted` takes numbers that never go back; `applied_to` follows what `ready` handed out.
pub(crate) struct Consensus {
    me: NodeId,
    node: RawNode<Store>,
    timeouts: Timeouts,
    writes: Writes,
    /// A snapshot made here that is still to be persisted, with where to cut the log.
    made: Option<(Snapshot, Option<u64>)>,
    /// Last index given out in [`Ready::committed`] or [`Ready::install`].
    handed_out: u64,
    /// Last index that the state machine contains. The library may be told later.
    state_at: u64,
    /// A membership change is in force at an index that `state_at` has not reached yet.
    membership_ahead: bool,
    /// Read barriers asked for, so that no two ever share a context.
    barriers: u64,
    /// Ticks for which a member has been waiting for the end of a snapshot.
    snapshot_waits: BTreeMap<u64, usize>,
    election_ticks: usize,
    log_tail: u64,
    reported: Standing,
}

impl Consensus {
    /// Starts a node from what its disk gave back.
    ///
    /// With `founding` and an empty disk the node founds a cluster: it starts from a snapshot of
    /// that membership and data, which comes out of the first [`Consensus::ready`] to be
    /// persisted. On a disk with a snapshot `founding` is ignored. With neither, the node has no
    /// members and waits for a leader's snapshot. `seed` sets the election time-outs apart; take
    /// another one on every node.
    ///
    /// # Errors
    ///
    /// When the settings or the stored state cannot be worked with; nothing was changed.
    pub(crate) fn new(
        config: ConsensusConfig,
        restored: Restored,
        founding: Option<Founding>,
        seed: u64,
    ) -> Result<Self, ConsensusError> {
        let founded = match founding {
            Some(founding) if restored == Restored::default() => {
                Some(founding_snapshot(config.id, founding)?)
            }
            Some(_) if restored.snapshot.is_none() => {
                let problem = "a node that waited to join is told to found a cluster";
                return Err(ConsensusError::Corrupt { problem });
            }
            _ => None,
        };
        let durable = restored.hard_state;
        let restored = match &founded {
            Some(snapshot) => Restored {
                hard_state: HardState { term: FOUNDING, vote: None, commit: FOUNDING },
                snapshot: Some(snapshot.clone()),
                entries: Vec::new(),
            },
            None => restored,
        };
        let store = Store::restore(restored)?;
        let state_at = store.snapshot_index();
        let node = RawNode::new(&library_config(config, state_at), store, &silent())
            .map_err(|error| ConsensusError::Config(error.to_string()))?;
        let mut consensus = Self {
            me: config.id,
            node,
            timeouts: Timeouts::new(seed, config.election_ticks),
            writes: Writes::new(durable),
            made: founded.map(|snapshot| (snapshot, None)),
            handed_out: state_at,
            state_at,
            membership_ahead: false,
            barriers: 0,
            snapshot_waits: BTreeMap::new(),
            election_ticks: config.election_ticks,
            log_tail: config.log_tail,
            reported: Standing { role: RaftRole::Learner, leader: None, term: 0 },
        };
        consensus.settle();
        Ok(consensus)
    }

    /// Overwrites the library's own random number; to be called after everything that may have
    /// reset the election timer.
    fn settle(&mut self) {
        let raft = &mut self.node.raft;
        let timeout = self.timeouts.current(raft.term, raft.state);
        raft.set_randomized_election_timeout(timeout);
    }

    /// Role, leader and term.
    pub(crate) fn standing(&self) -> Standing {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => RaftRole::Leader,
            _ if !raft.promotable() => RaftRole::Learner,
            StateRole::Follower => RaftRole::Follower,
            StateRole::PreCandidate => RaftRole::PreCandidate,
            StateRole::Candidate => RaftRole::Candidate,
        };
        Standing { role, leader: NodeId::new(raft.leader_id), term: raft.term }
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Highest index known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// Index up to which the state machine was last said to be.
    pub(crate) fn applied(&self) -> u64 {
        self.state_at
    }

    /// Index of the last entry, persisted or not.
    pub(crate) fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// Whether an entry of the current term is committed: until then a new leader does not know
    /// how far its predecessors' entries are committed, and answers no reads.
    pub(crate) fn committed_in_term(&self) -> bool {
        self.node.raft.commit_to_current_term()
    }

    /// Bytes of the entries that the latest snapshot does not cover.
    pub(crate) fn bytes_since_snapshot(&self) -> usize {
        self.node.store().bytes_since_snapshot()
    }

    /// A follower needs a newer snapshot than there is: call [`Consensus::offer_snapshot`].
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.node.store().wants_snapshot()
    }

    /// The members, as of the last applied change.
    pub(crate) fn membership(&self) -> Membership {
        convert::membership_out(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Whether a membership change may still be under way; another one is refused until then.
    /// A new leader says yes until it has applied everything that its predecessors left.
    pub(crate) fn has_pending_membership(&self) -> bool {
        self.node.raft.has_pending_conf()
    }

    /// Whether this node may become leader: it is a voter.
    pub(crate) fn promotable(&self) -> bool {
        self.node.raft.promotable()
    }

    /// How far the log of a member is known to equal this leader's; none on other nodes.
    pub(crate) fn matched(&self, id: NodeId) -> Option<u64> {
        let progress = self.node.raft.prs().get(id.get()).filter(|_| self.is_leader())?;
        Some(progress.matched)
    }

    /// Ticks after which [`Consensus::tick`] may have something to do; at least one.
    pub(crate) fn ticks_until_action(&self) -> usize {
        let raft = &self.node.raft;
        let ticks = match raft.state {
            StateRole::Leader => {
                let heartbeat = raft.heartbeat_timeout().saturating_sub(raft.heartbeat_elapsed());
                let quorum = raft.election_timeout().saturating_sub(raft.election_elapsed);
                heartbeat.min(quorum)
            }
            _ if raft.promotable() => {
                raft.randomized_election_timeout().saturating_sub(raft.election_elapsed)
            }
            _ => self.election_ticks,
        };
        ticks.max(1)
    }

    /// What the leader knows of each member, itself included; nothing on other nodes.
    pub(crate) fn peers(&self) -> Vec<PeerProgress> {
        if !self.is_leader() {
            return Vec::new();
        }
        let prs = self.node.raft.prs();
        let mut peers: Vec<PeerProgress> = prs
            .iter()
            .filter_map(|(id, progress)| {
                Some(PeerProgress {
                    id: NodeId::new(*id)?,
                    voter: prs.conf().voters().contains(*id),
                    matched: progress.matched,
                    recent_active: progress.recent_active || *id == self.me.get(),
                    snapshotting: progress.state == ::raft::ProgressState::Snapshot,
                })
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        peers
    }
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("me", &self.me)
            .field("standing", &self.standing())
            .field("committed", &self.committed())
            .field("applied", &self.state_at)
            .field("last_index", &self.last_index())
            .finish_non_exhaustive()
    }
}

fn founding_snapshot(me: NodeId, founding: Founding) -> Result<Snapshot, ConsensusError> {
    let Founding { membership, data } = founding;
    check::check_membership(&membership.voters, &membership.learners)
        .map_err(|problem| ConsensusError::Config(format!("the founding cluster: {problem}")))?;
    if !membership.voters.contains(&me) {
        return Err(ConsensusError::Config(format!("node {me} is not a founding voter")));
    }
    Ok(Snapshot { index: FOUNDING, term: FOUNDING, membership, data })
}

fn library_config(config: ConsensusConfig, applied: u64) -> Config {
    Config {
        id: config.id.get(),
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: MAX_APPEND_BYTES,
        max_inflight_msgs: MAX_INFLIGHT,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ::raft::ReadOnlyOption::Safe,
        // Followers learn of a commit at once instead of with the next heartbeat.
        skip_bcast_commit: false,
        // The library's batching can join entries to a queued append of another position.
        batch_append: false,
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_COMMITTED_BYTES,
        ..Config::default()
    }
}

/// The library's log lines are written for its authors; ours come from what `ready` reports.
fn silent() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}
