//! What the nodes said and what was done to them, all on one clock (`CLOCK_MONOTONIC`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fleet::ELECTION;

/// One thing that happened to one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Entry {
    /// Nanoseconds; the node's own stamp for what it said, the bench's for what it did.
    pub(super) at: u64,
    pub(super) node: String,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Its process was started.
    Begun,
    /// It listens.
    Listens,
    /// Its own view of the election.
    Shows(Shown),
    /// It leads, with this token.
    Elected(u64),
    /// It does not believe any more that it leads with this token, and why.
    Lost(u64, String),
    /// It may act under this token until then, in nanoseconds, if it never renews again.
    Lease { token: u64, until: u64 },
    /// Whether it keeps the log.
    Votes(bool),
    /// It leads the quorum.
    LeadsQuorum,
    /// kill -9.
    Killed,
    /// SIGSTOP.
    Paused,
    /// SIGCONT.
    Woken,
    /// It was told to end in peace, or to leave for good.
    Asked,
    /// Its process is gone.
    Ended,
}

/// What a node shows about the election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shown {
    /// This token leads.
    Led(u64),
    /// Nobody leads.
    Vacant,
    /// It cannot know, and why.
    Unknown(String),
}

/// The events of `tenure node --json` that matter here; others are passed over.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    NodeStarted {},
    View { election: String, view: String, leader: Option<Leader>, reason: Option<String> },
    Elected { election: String, token: u64 },
    Lost { election: String, token: u64, reason: String },
    Lease { election: String, token: u64, remaining_ms: u64 },
    Role { role: String },
    QuorumLeader {},
}

#[derive(Deserialize)]
struct Leader {
    token: u64,
}

#[derive(Deserialize)]
struct Line {
    node: String,
    mono_ns: u64,
    #[serde(flatten)]
    event: Event,
}

/// Everything so far, and how things stand by it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) entries: Vec<Entry>,
    shown: BTreeMap<String, Shown>,
    listening: BTreeSet<String>,
    voters: BTreeSet<String>,
    holder: Option<(String, u64)>,
    quorum: Option<String>,
}

impl Journal {
    /// Takes in a line of a node; what is not understood must not end a bench.
    pub(super) fn hear(&mut self, line: &str) {
        let Ok(Line { node, mono_ns, event }) = serde_json::from_str(line) else { return };
        let ours = |election: &str| election == ELECTION;
        let what = match event {
            Event::NodeStarted {} => What::Listens,
            Event::View { election, view, leader, reason } if ours(&election) => {
                What::Shows(match (leader, view.as_str()) {
                    (Some(leader), _) => Shown::Led(leader.token),
                    (None, "vacant") => Shown::Vacant,
                    (None, _) => Shown::Unknown(reason.unwrap_or_default()),
                })
            }
            Event::Elected { election, token } if ours(&election) => What::Elected(token),
            Event::Lost { election, token, reason } if ours(&election) => What::Lost(token, reason),
            Event::Lease { election, token, remaining_ms } if ours(&election) => {
                What::Lease { token, until: mono_ns + remaining_ms * 1_000_000 }
            }
            Event::Role { role } => What::Votes(role != "member" && role != "learner"),
            Event::QuorumLeader {} => What::LeadsQuorum,
            _ => return,
        };
        self.add(Entry { at: mono_ns, node, what });
    }

    /// Takes in anything.
    pub(super) fn add(&mut self, entry: Entry) {
        let node = &entry.node;
        match &entry.what {
            What::Shows(shown) => _ = self.shown.insert(node.clone(), shown.clone()),
            What::Listens => _ = self.listening.insert(node.clone()),
            What::Votes(true) => _ = self.voters.insert(node.clone()),
            What::Votes(false) => _ = self.voters.remove(node),
            What::LeadsQuorum => self.quorum = Some(node.clone()),
            What::Elected(token) => {
                if self.holder.as_ref().is_none_or(|(_, last)| token > last) {
                    self.holder = Some((node.clone(), *token));
                }
            }
            What::Begun | What::Ended => {
                self.shown.remove(node);
                self.listening.remove(node);
            }
            What::Lost(..) | What::Lease { .. } | What::Killed => {}
            What::Paused | What::Woken | What::Asked => {}
        }
        self.entries.push(entry);
    }

    /// All of it in the order of time, a line of JSON each: whoever wants to know why there was a
    /// gap finds it here.
    pub(super) fn lines(&self) -> String {
        let mut sorted: Vec<_> = self.entries.iter().collect();
        sorted.sort_by_key(|entry| entry.at);
        let line = |entry: &&Entry| serde_json::to_string(entry).unwrap_or_default() + "\n";
        sorted.iter().map(line).collect()
    }

    /// Node and token of the last grant.
    pub(super) fn holder(&self) -> Option<&(String, u64)> {
        self.holder.as_ref()
    }

    /// Who led the quorum last.
    pub(super) fn quorum_leader(&self) -> Option<&String> {
        self.quorum.as_ref()
    }

    /// Whether it voted when it last said so.
    pub(super) fn votes(&self, node: &str) -> bool {
        self.voters.contains(node)
    }

    /// Whether its process listens.
    pub(super) fn listens(&self, node: &str) -> bool {
        self.listening.contains(node)
    }

    /// Whether it shows the last grant.
    pub(super) fn is_current(&self, node: &str) -> bool {
        let token = self.holder.as_ref().map(|(_, token)| *token);
        matches!(self.shown.get(node), Some(Shown::Led(shown)) if Some(*shown) == token)
    }

    /// Whether so many nodes, and no fewer, show the last grant.
    pub(super) fn agrees(&self, nodes: usize) -> bool {
        self.shown.len() == nodes && self.shown.keys().all(|node| self.is_current(node))
    }

    /// How things stand, in a few words.
    pub(super) fn state(&self) -> String {
        let current = self.shown.keys().filter(|node| self.is_current(node)).count();
        let (listening, shown) = (self.listening.len(), self.shown.len());
        match &self.holder {
            Some((node, token)) => format!(
                "{node} leads with token {token}, shown by {current} of {shown} that show \
                 anything; {listening} nodes listen"
            ),
            None => format!("nobody was elected; {listening} nodes listen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_entries_and_a_state() {
        let mut journal = Journal::default();
        for line in [
            r#"{"v":1,"event":"node_started","node":"n1","pid":1,"mono_ns":1,"id":1,"addr":"x"}"#,
            r#"{"event":"elected","node":"n1","mono_ns":2,"election":"demo","token":7}"#,
            r#"{"event":"elected","node":"n9","mono_ns":3,"election":"other","token":9}"#,
            r#"{"event":"view","node":"n1","mono_ns":4,"election":"demo","view":"led",
                "leader":{"id":"n1","token":7},"revision":7}"#,
            r#"{"event":"view","node":"n2","mono_ns":5,"election":"demo","view":"unknown",
                "leader":null,"revision":7,"reason":"too old"}"#,
            r#"{"event":"lease","node":"n1","mono_ns":6,"election":"demo","token":7,
                "remaining_ms":2}"#,
            r#"{"event":"role","node":"n2","mono_ns":6,"role":"follower","term":1,"leader":1}"#,
            r#"{"event":"something_new","node":"n1","mono_ns":7}"#,
            "not json",
        ] {
            journal.hear(line);
        }
        let whats: Vec<_> = journal.entries.iter().map(|entry| entry.what.clone()).collect();
        assert_eq!(
            whats,
            [
                What::Listens,
                What::Elected(7),
                What::Shows(Shown::Led(7)),
                What::Shows(Shown::Unknown("too old".into())),
                What::Lease { token: 7, until: 2_000_006 },
                What::Votes(true),
            ]
        );
        assert!(journal.is_current("n1") && !journal.is_current("n2"));
        assert!(!journal.agrees(2), "one of them does not know");
        assert!(journal.votes("n2") && journal.listens("n1"));
        journal.add(Entry { at: 9, node: "n2".into(), what: What::Ended });
        assert!(journal.agrees(1));
    }
}
