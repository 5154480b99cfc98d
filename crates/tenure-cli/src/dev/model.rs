//! What the supervisor knows about its nodes, from what they say and what it did to them. No
//! clock, no process: stamps are arguments.

use std::{collections::VecDeque, time::Duration};

use tenure_core::{CandidateId, ElectionName, NodeName, Token};

use crate::{
    ask::RaftRole,
    events::{Belief, NodeEvent, NodeLine, Short, ViewWord},
};

/// Hand-overs that are remembered.
const REMEMBERED: usize = 32;

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was started and has not said anything yet.
    Starting,
    /// It runs.
    Running,
    /// It is stopped with SIGSTOP.
    Paused,
    /// It is not there; how it ended.
    Down(String),
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) name: NodeName,
    pub(super) addr: String,
    pub(super) socket: Option<String>,
    /// Its number in the cluster.
    pub(super) id: Option<u64>,
    pub(super) pid: Option<u32>,
    pub(super) phase: Phase,
    pub(super) role: Option<RaftRole>,
    pub(super) term: u64,
    /// Its own view of the election, and when it had it.
    pub(super) belief: Option<(u64, Belief)>,
    /// The end of its own lease by CLOCK_MONOTONIC, in nanoseconds.
    pub(super) lease_until: Option<u64>,
}

impl NodeState {
    /// A node that is not there.
    pub(super) fn down(name: NodeName, addr: String) -> Self {
        Self {
            name,
            addr,
            socket: None,
            id: None,
            pid: None,
            phase: Phase::Down(String::from("not started")),
            role: None,
            term: 0,
            belief: None,
            lease_until: None,
        }
    }

    /// Whether it can say anything at all.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Running
    }

    fn token(&self) -> Option<Token> {
        self.belief.as_ref()?.1.leader.as_ref().map(|leader| leader.token)
    }

    fn forget(&mut self) {
        self.role = None;
        self.belief = None;
        self.lease_until = None;
    }
}

/// Why a leader changed, and when that began.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    node: NodeName,
    at: u64,
    word: &'static str,
}

/// One leader after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handover {
    /// Who led before.
    pub(super) from: Option<CandidateId>,
    /// Who leads after it.
    pub(super) to: CandidateId,
    /// With which token.
    pub(super) token: Token,
    /// Why.
    pub(super) cause: &'static str,
    /// When the change began; none when that is not known.
    pub(super) begun: Option<u64>,
    /// When the successor knew that it leads.
    pub(super) granted: Option<u64>,
    /// When the first node showed it.
    pub(super) shown: Option<u64>,
    /// When the last live node showed it.
    pub(super) shown_by_all: Option<u64>,
}

impl Handover {
    /// How long it took until the first node showed the successor.
    pub(super) fn took(&self) -> Option<Duration> {
        self.since_begun(self.shown)
    }

    /// How long it took until the last live node showed the successor.
    pub(super) fn took_all(&self) -> Option<Duration> {
        self.since_begun(self.shown_by_all)
    }

    fn since_begun(&self, at: Option<u64>) -> Option<Duration> {
        Some(Duration::from_nanos(at?.saturating_sub(self.begun?)))
    }
}

/// Everything that is known.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) election: ElectionName,
    pub(super) ttl: Duration,
    pub(super) nodes: Vec<NodeState>,
    /// The latest last.
    pub(super) handovers: VecDeque<Handover>,
    /// Who leads the quorum, with which term.
    quorum: Option<(NodeName, u64)>,
    /// The latest term for which a quorum stood behind its leader, and since when.
    proved: Option<(u64, u64)>,
    /// The latest leader that anybody showed.
    leader: Option<Short>,
    cause: Option<Cause>,
}

impl Model {
    /// No node runs yet.
    pub(super) fn new(election: ElectionName, ttl: Duration, nodes: Vec<NodeState>) -> Self {
        let handovers = VecDeque::new();
        Self {
            election,
            ttl,
            nodes,
            handovers,
            quorum: None,
            proved: None,
            leader: None,
            cause: None,
        }
    }

    /// One node.
    pub(super) fn node(&self, name: &NodeName) -> Option<&NodeState> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    fn node_mut(&mut self, name: &NodeName) -> Option<&mut NodeState> {
        self.nodes.iter_mut().find(|node| node.name == *name)
    }

    /// Nodes that can say something.
    pub(super) fn live(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.iter().filter(|node| node.is_live())
    }

    /// The leader with the highest token that a live node shows.
    pub(super) fn leader(&self) -> Option<&Short> {
        let shown = self.live().filter_map(|node| node.belief.as_ref()?.1.leader.as_ref());
        shown.max_by_key(|leader| leader.token)
    }

    /// The highest token anybody ever showed.
    pub(super) fn token(&self) -> Token {
        self.leader.as_ref().map_or(Token::new(0), |leader| leader.token)
    }

    /// The node that leads the election, when it is one of ours.
    pub(super) fn leader_node(&self) -> Option<&NodeState> {
        let leader = self.leader()?;
        self.nodes.iter().find(|node| node.name.as_str() == leader.id.as_str())
    }

    /// The node that leads the quorum, with its term.
    pub(super) fn quorum_leader(&self) -> Option<(&NodeState, u64)> {
        let proved = self.quorum.as_ref().and_then(|(name, term)| Some((self.node(name)?, *term)));
        let claims = self.nodes.iter().filter(|node| node.role == Some(RaftRole::Leader));
        let claimed = claims.map(|node| (node, node.term)).max_by_key(|(_, term)| *term);
        // A node that is paused still leads, until somebody else proves that it does not.
        proved.or(claimed)
    }

    /// Since when the quorum has a leader with a higher term than this; none when it has not.
    pub(super) fn quorum_since(&self, term: u64) -> Option<u64> {
        self.quorum.as_ref()?;
        self.proved.filter(|(proved, _)| *proved > term).map(|(_, at)| at)
    }

    /// The leader that every live node shows, when all of them show the same.
    pub(super) fn agreed(&self) -> Option<&Short> {
        let mut live = self.live().peekable();
        let first = live.peek()?.belief.as_ref()?.1.leader.as_ref()?;
        live.all(|node| node.token() == Some(first.token)).then_some(first)
    }

    /// The leader that every live node shows and that knows of it itself. After a restart of all
    /// nodes, a session of a process that is gone may still be shown for a while.
    pub(super) fn settled(&self) -> Option<&Short> {
        let leader = self.agreed()?;
        let ours = self.nodes.iter().any(|node| node.name.as_str() == leader.id.as_str());
        let granted = self.handovers.iter().rev().find(|handover| handover.token == leader.token);
        let knows = granted.is_some_and(|handover| handover.granted.is_some());
        (knows || !ours).then_some(leader)
    }

    /// Whether a node shows something, and knows who leads if any other live node does.
    pub(super) fn knows_as_much_as_the_others(&self, name: &NodeName) -> bool {
        let knows = |node: &NodeState| {
            let belief = node.belief.as_ref().map(|(_, belief)| belief.view);
            belief.map(|view| view != ViewWord::Unknown)
        };
        match self.node(name).and_then(knows) {
            Some(true) => true,
            Some(false) => !self.live().any(|node| knows(node) == Some(true)),
            None => false,
        }
    }

    /// Whether anybody is left who could be asked why.
    pub(super) fn why_unknown(&self) -> Option<&str> {
        let unknown = |node: &&NodeState| {
            node.belief.as_ref().is_some_and(|(_, belief)| belief.view == ViewWord::Unknown)
        };
        self.live().find(unknown)?.belief.as_ref()?.1.reason.as_deref()
    }

    // What the supervisor did

    /// A process was started for a node.
    pub(super) fn started(&mut self, name: &NodeName, pid: u32) {
        if let Some(node) = self.node_mut(name) {
            node.forget();
            node.id = None;
            node.pid = Some(pid);
            node.phase = Phase::Starting;
        }
    }

    /// A process ended by itself or was killed.
    pub(super) fn exited(&mut self, name: &NodeName, status: String, at: u64) {
        self.struck(name, "died", at);
        if self.quorum.as_ref().is_some_and(|(leader, _)| leader == name) {
            self.quorum = None;
        }
        if let Some(node) = self.node_mut(name) {
            node.forget();
            node.pid = None;
            node.socket = None;
            node.phase = Phase::Down(status);
        }
        self.look_for_end();
    }

    /// A process is about to end; what it still says does not count.
    pub(super) fn doomed(&mut self, name: &NodeName) {
        if let Some(node) = self.node_mut(name) {
            node.forget();
            node.id = None;
            node.phase = Phase::Starting;
        }
    }

    /// A process was stopped with SIGSTOP.
    pub(super) fn paused(&mut self, name: &NodeName, at: u64) {
        self.struck(name, "paused", at);
        if let Some(node) = self.node_mut(name) {
            node.phase = Phase::Paused;
        }
        self.look_for_end();
    }

    /// A process goes on after SIGCONT. What it showed before is old.
    pub(super) fn resumed(&mut self, name: &NodeName) {
        if let Some(node) = self.node_mut(name) {
            node.phase = Phase::Running;
        }
    }

    /// Something happened to a node that may cost it leadership; the first cause counts.
    pub(super) fn struck(&mut self, name: &NodeName, word: &'static str, at: u64) {
        let leads = self.leader.as_ref().is_some_and(|leader| leader.id.as_str() == name.as_str());
        let known = self.cause.as_ref().is_some_and(|cause| cause.node == *name);
        if leads && !known {
            self.cause = Some(Cause { node: name.clone(), at, word });
        }
    }

    // What the nodes say

    /// One line of one node.
    pub(super) fn heard(&mut self, line: &NodeLine) {
        let NodeLine { stamp, event } = line;
        let at = stamp.mono_ns;
        let election = self.election.clone();
        let Some(node) = self.node_mut(&stamp.node) else { return };
        if node.pid != Some(stamp.pid) {
            // The last words of a process that is gone.
            return;
        }
        match event {
            NodeEvent::NodeStarted { id, addr, socket, .. } => {
                node.id = Some(*id);
                node.addr.clone_from(addr);
                node.socket.clone_from(socket);
                node.phase = Phase::Running;
            }
            NodeEvent::Role { role, term, .. } => {
                node.role = Some(*role);
                node.term = *term;
                let name = node.name.clone();
                if *role != RaftRole::Leader
                    && self.quorum.as_ref().is_some_and(|(leader, _)| *leader == name)
                {
                    self.quorum = None;
                }
            }
            NodeEvent::QuorumLeader { term } => {
                let name = node.name.clone();
                if self.proved.is_none_or(|(known, _)| *term > known) {
                    self.quorum = Some((name, *term));
                    self.proved = Some((*term, at));
                }
            }
            NodeEvent::View { election: of, belief } if *of == election => {
                node.belief = Some((at, belief.clone()));
                if let Some(leader) = &belief.leader {
                    self.shown(leader, at);
                }
                self.look_for_end();
            }
            NodeEvent::Elected { election: of, token } if *of == election => {
                let name = node.name.as_str().to_owned();
                if let Ok(id) = CandidateId::new(name) {
                    self.granted(&Short { id, token: *token }, at);
                }
            }
            NodeEvent::HandOver { election: of, .. } if *of == election => {
                let name = node.name.clone();
                self.struck(&name, "handed over", at);
            }
            NodeEvent::Lost { election: of, reason, .. } if *of == election => {
                node.lease_until = None;
                let name = node.name.clone();
                if let Some(word) = loss_word(reason) {
                    self.struck(&name, word, at);
                }
            }
            NodeEvent::Lease { election: of, remaining_ms, .. } if *of == election => {
                node.lease_until = Some(at + remaining_ms * 1_000_000);
            }
            _ => {}
        }
    }

    /// The hand-over to this leader; begun when it is a new one.
    fn handover(&mut self, leader: &Short) -> Option<&mut Handover> {
        if leader.token > self.token() {
            let before = self.leader.replace(leader.clone());
            let from = before.map(|before| before.id);
            let cause = self.cause.take();
            let ours = |cause: &Cause| {
                from.as_ref().is_some_and(|from| from.as_str() == cause.node.as_str())
            };
            let cause = cause.filter(ours);
            self.handovers.push_back(Handover {
                cause: match (&cause, &from) {
                    (Some(cause), _) => cause.word,
                    (None, Some(_)) => "changed",
                    (None, None) => "first leader",
                },
                begun: cause.map(|cause| cause.at),
                from,
                to: leader.id.clone(),
                token: leader.token,
                granted: None,
                shown: None,
                shown_by_all: None,
            });
            if self.handovers.len() > REMEMBERED {
                self.handovers.pop_front();
            }
        }
        self.handovers.iter_mut().rev().find(|handover| handover.token == leader.token)
    }

    fn granted(&mut self, leader: &Short, at: u64) {
        if let Some(handover) = self.handover(leader) {
            handover.granted.get_or_insert(at);
        }
    }

    /// Lines of several nodes do not arrive in the order of their stamps.
    fn shown(&mut self, leader: &Short, at: u64) {
        if let Some(handover) = self.handover(leader)
            && handover.shown_by_all.is_none()
        {
            handover.shown = Some(handover.shown.map_or(at, |first| first.min(at)));
        }
    }

    /// Whether the last hand-over is now shown by every live node.
    fn look_for_end(&mut self) {
        let Some(token) = self.agreed().map(|leader| leader.token) else { return };
        let last = self.live().filter_map(|node| Some(node.belief.as_ref()?.0)).max();
        let current = self.handovers.back_mut().filter(|handover| handover.token == token);
        if let Some(handover) = current
            && handover.shown_by_all.is_none()
        {
            handover.shown_by_all = last;
        }
    }
}

/// A loss that nothing else explains, in the words of the hand-overs.
fn loss_word(reason: &str) -> Option<&'static str> {
    match reason {
        "evicted" => Some("evicted"),
        "resigned" => Some("resigned"),
        "expired" | "session_gone" => Some("expired"),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
