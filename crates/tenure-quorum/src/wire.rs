//! What is said on a connection, and how it is framed.
//!
//! A connection begins with the four bytes of [`MAGIC`] and a [`Hello`]; the other end answers
//! with a [`Greeting`]. After that, a connection of a node carries [`tenure_replica::PeerFrame`]s
//! in one direction (each node sends on the connection that it dialled), and a connection of a
//! client carries [`ClientFrame`]s one way and [`NodeFrame`]s the other. Every message is a
//! big-endian `u32` length and that many bytes of the versioned encoding of
//! [`tenure_replica::encode`].

use core::time::Duration;
use serde::{Deserialize, Serialize};
use tenure_core::{
    ClusterId, ElectionName, Incarnation, NodeId, NodeName, RequestId, Revision, SessionId,
    Sighting, WallTime, Zone,
    ledger::{Event, Outcome, PastTenure, Role},
};
use tenure_replica::{Status, Wish};

/// First bytes of every connection.
pub const MAGIC: [u8; 4] = *b"TNR1";
/// Version of what is said; both ends must speak one that the other knows.
pub const PROTOCOL: u16 = 1;
/// Longest first message, in bytes: a stranger can make a node hold no more than this.
pub const MAX_HELLO: u32 = 4 << 10;
/// Longest message of or to a client, in bytes.
pub const MAX_CLIENT_FRAME: u32 = 4 << 20;
/// Longest message between nodes, in bytes; a snapshot must fit.
pub const MAX_PEER_FRAME: u32 = 256 << 20;
/// A connection that has not said who it is by then is closed.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(2);

/// The machine and process at one end of a connection. Two processes whose boot and pid
/// namespace are equal can hold each other's pidfd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Random id of this boot of the machine.
    pub boot: String,
    /// Inode of the pid namespace.
    pub pid_namespace: u64,
    /// Process id in that namespace; for people only.
    pub pid: u32,
}

/// Who dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialler {
    /// A node of the quorum.
    Node {
        /// Its id.
        id: NodeId,
        /// Its name.
        name: NodeName,
        /// Its data directory.
        directory: u64,
    },
    /// A node without a log, which asks for itself and for the processes that it serves.
    Member {
        /// Its id.
        id: NodeId,
        /// Its name.
        name: NodeName,
        /// Its data directory.
        directory: u64,
        /// Where it is, if it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<Zone>,
    },
    /// A process that contends, watches or operates.
    Client,
}

/// First message of whoever dials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol it speaks.
    pub protocol: u16,
    /// Version of its software.
    pub software: String,
    /// The cluster it means; a client may not know it yet.
    pub cluster: Option<ClusterId>,
    /// Who it is.
    pub dialler: Dialler,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub host: Host,
}

/// Answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// Go on.
    Welcome(Welcome),
    /// The connection is closed.
    Rejected(Rejected),
}

/// Who was dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol it speaks.
    pub protocol: u16,
    /// Version of its software.
    pub software: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub host: Host,
    /// Its unix socket, for processes on the same machine.
    pub socket: Option<String>,
}

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejected {
    /// The versions of the protocol have nothing in common.
    #[error("protocol version {theirs} is not spoken here (this node speaks {ours})")]
    Protocol {
        /// What the node speaks.
        ours: u16,
        /// What was offered.
        theirs: u16,
    },
    /// The two ends belong to different clusters.
    #[error("wrong cluster: this node belongs to {ours}, you asked for {theirs}")]
    Cluster {
        /// The node's cluster.
        ours: ClusterId,
        /// The one asked for.
        theirs: ClusterId,
    },
    /// Not a member, or removed.
    #[error("node {id} is not a member of this cluster (never added, or removed)")]
    NotMember {
        /// The node that dialled.
        id: NodeId,
    },
    /// Another process with the same node id is connected.
    #[error("node {id} is connected already from another process: two nodes share one id")]
    Duplicate {
        /// The node that dialled.
        id: NodeId,
    },
    /// The node comes with another data directory than it used to.
    #[error(
        "node {id} came back with another data directory: a voter that lost its disk must not \
         vote under its old id. Remove it (`tenure cluster remove {name}`) and add it again \
         (`tenure node --join`)"
    )]
    Directory {
        /// The node that dialled.
        id: NodeId,
        /// Its name.
        name: NodeName,
    },
    /// Nodes ask those that keep the log.
    #[error("{name} keeps no log: nodes must ask a voter")]
    NoLog {
        /// The node that was dialled.
        name: NodeName,
    },
    /// Too many connections.
    #[error("too many connections ({max})")]
    Full {
        /// How many are allowed.
        max: u32,
    },
}

/// From a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// The client's number for the question; the answer repeats it.
    pub number: u64,
    /// The question.
    pub question: Question,
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Carry this out; repeat it unchanged when the answer was lost. A campaign also
    /// subscribes the connection to its election.
    Wish {
        /// Names the wish.
        request: RequestId,
        /// The wish.
        wish: Wish,
    },
    /// Renew a session. Answered with [`Reply::Renewed`] once a quorum has confirmed.
    Renew {
        /// The session.
        session: SessionId,
    },
    /// From a member: renew all of these, and tell whether what this node pushed is current.
    /// Answered with [`Reply::Alive`] once a quorum has confirmed.
    KeepAlive {
        /// Sessions of the processes behind it.
        sessions: Vec<SessionId>,
    },
    /// From a member: it holds proof that a process is dead. Answered with [`Reply::Accepted`].
    Died {
        /// The process.
        process: Incarnation,
        /// When that was seen.
        observed: WallTime,
    },
    /// Answered with [`Reply::Confirmed`] once a quorum has confirmed that what this node shows
    /// is current.
    Confirm,
    /// Are you there? Answered at once with [`Reply::Pong`].
    Ping,
    /// Push every change of these elections, beginning with how they stand now.
    Subscribe {
        /// Elections by name.
        elections: Vec<ElectionName>,
        /// All elections whose name begins with this, present and future.
        prefix: Option<String>,
        /// The client contends for them and only needs to hear of changes: not that this node
        /// ceases to know.
        #[serde(default)]
        contends: bool,
    },
    /// Who leads, as this node knows it.
    View {
        /// The election.
        election: ElectionName,
    },
    /// All elections whose name begins with this.
    List {
        /// Beginning of the names.
        prefix: String,
    },
    /// One election in full.
    Detail {
        /// The election.
        election: ElectionName,
    },
    /// The nodes, as this node knows them.
    Cluster,
    /// Where nodes are that keep the log. Answered with [`Reply::Voters`].
    Voters,
    /// Hand the Raft leadership to this node, or to the best one.
    TransferQuorum {
        /// To whom.
        to: Option<NodeName>,
    },
}

/// To a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeFrame {
    /// Answer to a question.
    Answer {
        /// The client's number for it.
        number: u64,
        /// The answer.
        reply: Reply,
    },
    /// A subscribed election changed, or its subscription began.
    Push(Box<Push>),
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The wish has this outcome.
    Outcome(Outcome),
    /// The session is alive; nothing that this node pushed before is outdated by it.
    Renewed,
    /// The session is not open.
    Gone,
    /// All sessions are alive but these; nothing that this node pushed before is outdated by it.
    Alive {
        /// Sessions that are not open.
        gone: Vec<SessionId>,
        /// What the member that asked is now; none when it was removed.
        role: Option<Role>,
    },
    /// What this node shows is current as of the question.
    Confirmed,
    /// The node is there.
    Pong,
    /// The subscription began; its first pushes were sent before this.
    Subscribed,
    /// Who leads.
    View(Sighting),
    /// Elections.
    List(Vec<ElectionLine>),
    /// One election; none when it was never heard of.
    Detail(Option<Box<ElectionDetail>>),
    /// The nodes.
    Cluster(Box<ClusterView>),
    /// Addresses of nodes that keep the log.
    Voters(Vec<String>),
    /// Sent on.
    Accepted,
    /// No quorum answered in time. A wish may still be carried out: its outcome is unknown.
    Unavailable {
        /// Why, in words.
        why: String,
    },
    /// The question makes no sense to this node or is not this client's to ask.
    Denied {
        /// Why, in words.
        why: String,
    },
}

/// One election as it stands after a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// The election.
    pub election: ElectionName,
    /// Who leads, as this node knows it.
    pub sighting: Sighting,
    /// The session that holds it.
    pub holder: Option<SessionId>,
    /// The holder is asked to hand over.
    pub handover: bool,
    /// The holder's tenure is revoked.
    pub revoked: bool,
    /// How many contend.
    pub candidates: u32,
    /// What changed; empty when the subscription began or when only the knowledge changed
    /// (known, unknown).
    pub events: Vec<Event>,
    /// The node's monotonic clock when it learned of the change, in nanoseconds. Comparable
    /// only on one machine: it lets a bench measure with one clock.
    pub mono_ns: u64,
}

/// One line of a list of elections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElectionLine {
    /// The election.
    pub election: ElectionName,
    /// Who leads.
    pub sighting: Sighting,
    /// How many contend.
    pub candidates: u32,
    /// Whether it is paused.
    pub paused: bool,
}

/// One waiting candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingCandidate {
    /// Its name.
    pub id: tenure_core::CandidateId,
    /// Its value.
    pub value: tenure_core::Value,
    /// Whether it may be granted the election.
    pub eligible: bool,
    /// Its priority.
    pub priority: i32,
    /// Its rank.
    pub rank: u64,
}

/// One election in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElectionDetail {
    /// The line of it in a list.
    pub line: ElectionLine,
    /// Whether the leader is asked to hand over, and to whom.
    pub handover: Option<Option<tenure_core::CandidateId>>,
    /// Whether the tenure is revoked.
    pub revoked: bool,
    /// Who waits, the next leader first.
    pub waiting: Vec<WaitingCandidate>,
    /// Who is banned.
    pub banned: Vec<tenure_core::CandidateId>,
    /// For how long nobody led before the present tenure.
    pub gap: Option<Duration>,
    /// Past tenures, oldest first.
    pub history: Vec<PastTenure>,
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its address.
    pub address: String,
    /// Whether it votes.
    pub role: Role,
    /// Where it is, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// It is about to give its vote up, because another one has it already.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub retiring: bool,
}

/// The cluster as one node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that answers.
    pub node: NodeName,
    /// The node's process id.
    pub pid: u32,
    /// The node's software.
    pub software: String,
    /// All nodes.
    pub members: Vec<MemberView>,
    /// The replica of the node that answers.
    pub status: Status,
    /// Number of the last applied change.
    pub revision: Revision,
    /// Open sessions.
    pub sessions: u64,
    /// Elections that are remembered.
    pub elections: u64,
    /// Wall time at the node.
    pub at: WallTime,
    /// Connections refused since the node started, by reason.
    pub refused: Vec<(String, u64)>,
}
