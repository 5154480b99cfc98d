//! What a node process prints with `--json`, one event per line; `tenure dev` reads it back.

use serde::{Deserialize, Serialize};
use tenure_core::{CandidateId, ElectionName, NodeName, Sighting, Token, View};
use tenure_quorum::clock;

use crate::{
    ask::RaftRole,
    output::{json, time},
};

/// What happened in a node process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum NodeEvent {
    /// It listens.
    NodeStarted {
        /// Its number in the cluster.
        id: u64,
        /// Its address.
        addr: String,
        /// Its unix socket.
        #[serde(default)]
        socket: Option<String>,
        /// The cluster.
        cluster: String,
    },
    /// Its part in the Raft group changed.
    Role {
        /// Its part.
        role: RaftRole,
        /// The term.
        term: u64,
        /// Number of the node that leads the Raft group.
        leader: Option<u64>,
    },
    /// It leads the Raft group, and a quorum stands behind it.
    QuorumLeader {
        /// The term.
        term: u64,
    },
    /// Its own view of an election changed.
    View {
        /// The election.
        election: ElectionName,
        /// What it believes.
        #[serde(flatten)]
        belief: Belief,
    },
    /// Its own candidate leads.
    Elected {
        /// The election.
        election: ElectionName,
        /// The token.
        token: Token,
    },
    /// Its own candidate does not lead any more.
    Lost {
        /// The election.
        election: ElectionName,
        /// The token that is over.
        token: Token,
        /// How.
        reason: String,
    },
    /// Its own candidate was asked to hand over, and does.
    HandOver {
        /// The election.
        election: ElectionName,
        /// The token that is about to end.
        token: Token,
    },
    /// Its own lease, as it is renewed. Only with `--lease-events`.
    Lease {
        /// The election.
        election: ElectionName,
        /// The token.
        token: Token,
        /// How long it lasts from `mono_ns` if it is never renewed again.
        remaining_ms: u64,
    },
    /// It ends.
    Stopping {
        /// Why.
        reason: String,
    },
    /// Something that a newer version says.
    #[serde(other)]
    Other,
}

/// What a node believes about an election, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewWord {
    /// Somebody leads.
    Led,
    /// Nobody leads.
    Vacant,
    /// It does not know.
    Unknown,
}

impl ViewWord {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Led => "led",
            Self::Vacant => "vacant",
            Self::Unknown => "unknown",
        }
    }
}

/// A leader, as short as it can be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Short {
    /// Who.
    pub(crate) id: CandidateId,
    /// With which token.
    pub(crate) token: Token,
}

/// What a node believes about an election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Belief {
    /// In one word.
    pub(crate) view: ViewWord,
    /// The leader, when there is one.
    pub(crate) leader: Option<Short>,
    /// Revision of the last change to the election.
    pub(crate) revision: u64,
    /// Why it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl From<&Sighting> for Belief {
    fn from(sighting: &Sighting) -> Self {
        let view = match sighting.view {
            View::Led(_) => ViewWord::Led,
            View::Vacant => ViewWord::Vacant,
            View::Unknown => ViewWord::Unknown,
        };
        let leader = sighting.view.leader();
        let leader = leader.map(|leader| Short { id: leader.id.clone(), token: leader.token });
        let reason = sighting.reason.clone();
        Self { view, leader, revision: sighting.revision.get(), reason }
    }
}

impl Belief {
    /// In a few words.
    pub(crate) fn human(&self) -> String {
        match (&self.leader, &self.reason) {
            (Some(leader), _) => format!("led by {} with token {}", leader.id, leader.token),
            (None, Some(why)) => format!("{} ({why})", self.view.as_str()),
            (None, None) => self.view.as_str().to_owned(),
        }
    }
}

/// A part in the Raft group, in one word.
pub(crate) fn role_word(role: RaftRole) -> &'static str {
    match role {
        RaftRole::Leader => "leader",
        RaftRole::Follower => "follower",
        RaftRole::Candidate => "candidate",
        RaftRole::PreCandidate => "pre-candidate",
        RaftRole::Learner => "learner",
        RaftRole::Member => "member",
    }
}

/// What every line of a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The node.
    pub(crate) node: NodeName,
    /// Its process.
    pub(crate) pid: u32,
    /// Wall time, for people.
    pub(crate) at: String,
    /// CLOCK_MONOTONIC in nanoseconds: comparable on one machine.
    pub(crate) mono_ns: u64,
}

impl Stamp {
    /// Something that happened to this process at that time.
    pub(crate) fn at(node: &NodeName, mono_ns: u64) -> Self {
        let at = time::rfc3339(clock::wall());
        Self { node: node.clone(), pid: std::process::id(), at, mono_ns }
    }
}

/// One line, read back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NodeLine {
    /// Who and when.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    /// What.
    #[serde(flatten)]
    pub(crate) event: NodeEvent,
}

impl NodeLine {
    /// One line of text.
    pub(crate) fn print(stamp: &Stamp, event: &NodeEvent) -> String {
        json::line(event, stamp)
    }

    /// One line for people; none for what would only make noise.
    pub(crate) fn human(stamp: &Stamp, event: &NodeEvent) -> Option<String> {
        let what = match event {
            NodeEvent::NodeStarted { addr, .. } => format!("listens on {addr}"),
            NodeEvent::Role { role: RaftRole::Member, .. } => {
                String::from("member: it asks a voter and keeps no log")
            }
            NodeEvent::Role { role, term, .. } => format!("{} in term {term}", role_word(*role)),
            NodeEvent::QuorumLeader { term } => format!("leads the quorum in term {term}"),
            NodeEvent::View { election, belief } => format!("sees {election} {}", belief.human()),
            NodeEvent::Elected { election, token } => {
                format!("is elected leader of {election} with token {token}")
            }
            NodeEvent::Lost { election, token, reason } => {
                format!("does not lead {election} any more (token {token}, {reason})")
            }
            NodeEvent::HandOver { election, token } => {
                format!("hands {election} over (token {token})")
            }
            NodeEvent::Stopping { reason } => format!("stops ({reason})"),
            NodeEvent::Lease { .. } | NodeEvent::Other => return None,
        };
        let clock = stamp.at.get(11..23).unwrap_or(&stamp.at);
        Some(format!("{clock}  {:<4} {what}", stamp.node))
    }

    /// Reads one line of text; none when it is something else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { node: NodeName::new("n1").unwrap(), pid: 7, at: "now".into(), mono_ns: 5 }
    }

    fn round_trip(event: &NodeEvent) -> String {
        let line = NodeLine::print(&stamp(), event);
        let read = NodeLine::parse(&line).unwrap_or_else(|| panic!("cannot read {line}"));
        assert_eq!((&read.stamp, &read.event), (&stamp(), event));
        line
    }

    #[test]
    fn lines_can_be_read_back() {
        let election = ElectionName::new("demo").unwrap();
        let leader = Short { id: CandidateId::new("n2").unwrap(), token: Token::new(42) };
        let belief =
            Belief { view: ViewWord::Led, leader: Some(leader), revision: 7, reason: None };
        assert_eq!(
            round_trip(&NodeEvent::View { election: election.clone(), belief }),
            concat!(
                r#"{"v":1,"event":"view","node":"n1","pid":7,"at":"now","mono_ns":5,"#,
                r#""election":"demo","view":"led","leader":{"id":"n2","token":42},"revision":7}"#
            )
        );
        round_trip(&NodeEvent::Elected { election, token: Token::new(1) });
        round_trip(&NodeEvent::Role { role: RaftRole::PreCandidate, term: 1, leader: None });
        round_trip(&NodeEvent::Stopping { reason: "SIGTERM".into() });
        let cluster = "00".into();
        round_trip(&NodeEvent::NodeStarted { id: 1, addr: "a:1".into(), socket: None, cluster });
    }

    #[test]
    fn lines_of_a_newer_version_are_passed_over_and_garbage_is_no_line() {
        let line = r#"{"v":2,"event":"sneezed","node":"n1","pid":7,"at":"now","mono_ns":5,"x":1}"#;
        assert_eq!(NodeLine::parse(line).unwrap().event, NodeEvent::Other);
        assert_eq!(NodeLine::parse("thread panicked"), None);
    }
}
