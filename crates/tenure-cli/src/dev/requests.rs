//! What the supervisor does when it is asked for something.

use std::time::Duration;

use rustix::process::Signal;
use tenure_core::{CandidateId, ElectionName, NodeName, Token, ledger::Command};
use tenure_quorum::{client::Endpoint, clock};
use tokio::{sync::oneshot, time::Instant};

use super::{
    control::{Answer, Change, HandoverReport, LeaderReport, NodeReport, Request, Status, Target},
    model::{Model, NodeState, Phase},
    pending::{Pending, Wait, patience},
    supervisor::{After, Input, Supervisor},
    voice::DevEvent,
};
use crate::{
    ask::{Asker, MemberWish, PATIENCE, Wish},
    discover::Found,
    error::{Exit, Failure, Outcome},
    events::role_word,
    output::time::precise_millis,
};

/// Who waits; nobody any more when it was answered or passed on.
type Reply = Option<oneshot::Sender<Answer>>;

impl Supervisor {
    /// Does what is asked; answers now or when it has happened.
    pub(super) fn on_request(&mut self, request: Request, reply: oneshot::Sender<Answer>) {
        let mut reply = Some(reply);
        let started = match request {
            Request::Status => {
                let status = serde_json::to_value(self.status()).unwrap_or_default();
                answer(&mut reply, Ok(status));
                return;
            }
            Request::Down => {
                self.farewell.extend(reply);
                self.stop = Some(Ok(Exit::Yes));
                return;
            }
            Request::Add => self.add(),
            Request::Kill { target } => self.kill(&target),
            Request::Pause { target } => self.pause(&target),
            Request::Resume { node } => self.resume(&node),
            Request::Restart { node } => self.restart(&node),
            Request::Remove { node } => self.remove(&node, &mut reply),
            Request::Resign => self.hand_over(None, "resigned", &mut reply),
            Request::Transfer { to } => {
                let to = to.or_else(|| next_in_line(&self.model));
                match to {
                    Some(to) => self.hand_over(Some(to), "transferred", &mut reply),
                    None => Err(nobody("no other node runs")),
                }
            }
        };
        match started {
            Ok(Some(mut pending)) => {
                pending.reply = reply;
                self.pending.push(pending);
            }
            Ok(None) => {}
            Err(failure) => answer(&mut reply, Err(failure)),
        }
    }

    /// The cluster has answered what was asked for a request.
    pub(super) fn on_asked(&mut self, pending: Pending, result: Outcome<After>) {
        match result {
            Err(failure) => {
                let Pending { mut reply, .. } = pending;
                answer(&mut reply, Err(failure));
            }
            Ok(After::Wait) => self.pending.push(pending),
            Ok(After::Bury(name)) => {
                self.signal(&name, Signal::TERM);
                self.home.file.nodes.retain(|node| node.node != name);
                self.model.nodes.retain(|node| node.name != name);
                self.write_down();
                self.pending.push(pending);
            }
        }
    }

    fn pending(&self, did: &str, node: Option<&NodeState>, waits: Vec<Wait>) -> Pending {
        let change = Change {
            did: did.to_owned(),
            node: node.map(|node| node.name.clone()),
            pid: node.and_then(|node| node.pid),
            ..Change::default()
        };
        Pending {
            change,
            waits,
            begun: clock::monotonic_nanos(),
            until: Instant::now() + patience(self.settings.ttl.get()),
            must: true,
            reply: None,
        }
    }

    /// The node that is meant.
    fn find(&self, target: &Target) -> Outcome<&NodeState> {
        match target {
            Target::Leader => {
                self.model.leader_node().ok_or_else(|| nobody("no node leads the election"))
            }
            Target::QuorumLeader => {
                let leader = self.model.quorum_leader().map(|(node, _)| node);
                leader.ok_or_else(|| nobody("no node leads the quorum"))
            }
            Target::Node(name) => self.model.node(name).ok_or_else(|| {
                let names: Vec<_> = self.model.nodes.iter().map(|n| n.name.to_string()).collect();
                Failure::new(
                    Exit::NotFound,
                    format!("there is no node {name}"),
                    format!("the nodes are {}", names.join(", ")),
                    "tenure dev status",
                )
            }),
        }
    }

    fn find_running(&self, target: &Target) -> Outcome<&NodeState> {
        let node = self.find(target)?;
        if node.pid.is_some() {
            return Ok(node);
        }
        Err(Failure::new(
            Exit::Conflict,
            format!("{} does not run", node.name),
            "it is down already",
            format!("tenure dev restart {}", node.name),
        ))
    }

    /// What has to happen when this node falls silent.
    fn consequences(&self, node: &NodeState) -> Vec<Wait> {
        let mut waits = Vec::new();
        if self.model.leader_node().is_some_and(|leader| leader.name == node.name) {
            waits.push(Wait::Successor(self.model.token()));
        }
        if let Some((leader, term)) = self.model.quorum_leader()
            && leader.name == node.name
        {
            waits.push(Wait::QuorumLeader(term));
        }
        waits
    }

    fn kill(&mut self, target: &Target) -> Outcome<Option<Pending>> {
        let node = self.find_running(target)?;
        let name = node.name.clone();
        let mut waits = self.consequences(node);
        waits.push(Wait::Exited(name.clone()));
        let pending = Pending { must: false, ..self.pending("killed", Some(node), waits) };
        self.model.struck(&name, "killed", pending.begun);
        self.signal(&name, Signal::KILL);
        Ok(Some(pending))
    }

    fn pause(&mut self, target: &Target) -> Outcome<Option<Pending>> {
        let node = self.find_running(target)?;
        let (name, pid) = (node.name.clone(), node.pid.unwrap_or_default());
        let waits = self.consequences(node);
        let pending = Pending { must: false, ..self.pending("paused", Some(node), waits) };
        self.model.paused(&name, pending.begun);
        self.signal(&name, Signal::STOP);
        self.say(&DevEvent::NodePaused { node: &name, pid }, || format!("{name} is paused"));
        Ok(Some(pending))
    }

    fn resume(&mut self, name: &NodeName) -> Outcome<Option<Pending>> {
        let node = self.find_running(&Target::Node(name.clone()))?;
        let pid = node.pid.unwrap_or_default();
        let pending = self.pending("resumed", Some(node), vec![Wait::Sees(name.clone())]);
        self.signal(name, Signal::CONT);
        self.model.resumed(name);
        self.say(&DevEvent::NodeResumed { node: name, pid }, || format!("{name} goes on"));
        Ok(Some(pending))
    }

    /// A node that runs is killed first and started when its process is gone.
    fn restart(&mut self, name: &NodeName) -> Outcome<Option<Pending>> {
        let node = self.find(&Target::Node(name.clone()))?;
        let runs = node.pid.is_some();
        let waits = vec![Wait::Started(name.clone()), Wait::Sees(name.clone())];
        let mut pending = self.pending("restarted", Some(node), waits);
        pending.change.pid = None;
        if runs {
            self.model.struck(name, "killed", pending.begun);
            // What it shows until its end is not the new process's word.
            self.model.doomed(name);
            self.again.push(name.clone());
            self.signal(name, Signal::KILL);
        } else {
            self.start(name)?;
        }
        Ok(Some(pending))
    }

    fn add(&mut self) -> Outcome<Option<Pending>> {
        let node = self.home.add()?;
        self.home.save()?;
        self.model.nodes.push(NodeState::down(node.node.clone(), node.addr));
        self.start(&node.node)?;
        let waits = vec![Wait::Started(node.node.clone()), Wait::Sees(node.node.clone())];
        Ok(Some(self.pending("added", self.model.node(&node.node), waits)))
    }

    fn remove(&mut self, name: &NodeName, reply: &mut Reply) -> Outcome<Option<Pending>> {
        let node = self.find(&Target::Node(name.clone()))?;
        let mut waits: Vec<_> = self.consequences(node);
        waits.push(Wait::Exited(name.clone()));
        let mut pending = self.pending("removed", Some(node), waits);
        pending.reply = reply.take();
        let wish = Wish::Member(MemberWish::Remove { name: name.clone() });
        let leader = self.model.leader().filter(|leader| leader.id.as_str() == name.as_str());
        let yielded = leader.map(|leader| (self.model.election.clone(), leader.token));
        self.model.struck(name, "removed", pending.begun);
        self.ask(pending, yielded, wish, After::Bury(name.clone()));
        Ok(None)
    }

    fn hand_over(
        &self,
        to: Option<CandidateId>,
        did: &str,
        reply: &mut Reply,
    ) -> Outcome<Option<Pending>> {
        let Some(leader) = self.model.leader() else {
            return Err(nobody("no node leads the election"));
        };
        if to.as_ref() == Some(&leader.id) {
            let change = self.pending(did, None, Vec::new()).change;
            let leader = LeaderReport { id: leader.id.clone(), token: leader.token };
            let note = Some(format!("{} leads already", leader.id));
            let change = Change { leader: Some(leader), note, ..change };
            answer(reply, Ok(serde_json::to_value(change).unwrap_or_default()));
            return Ok(None);
        }
        let waits = vec![Wait::Successor(leader.token)];
        let mut pending = self.pending(did, self.model.leader_node(), waits);
        pending.reply = reply.take();
        let election: ElectionName = self.model.election.clone();
        let command = Command::Reserve { election, to, if_token: Some(leader.token) };
        self.ask(pending, None, Wish::Command(command), After::Wait);
        Ok(None)
    }

    /// Asks the cluster for something, when wanted after its leader has handed over; the answer
    /// comes back as an input.
    fn ask(
        &self,
        pending: Pending,
        yielded: Option<(ElectionName, Token)>,
        wish: Wish,
        after: After,
    ) {
        let found = Found { endpoints: endpoints(&self.model), nodes: Vec::new() };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let asked = async {
                let asker = Asker::connect_to(&found, PATIENCE).await?;
                if let Some((election, token)) = yielded {
                    hand_over_first(&asker, &election, token).await;
                }
                asker.wish(wish).await.map(|_| after)
            };
            let result = asked.await;
            let _ = inputs.send(Input::Asked { pending: Box::new(pending), result });
        });
    }

    fn status(&self) -> Status {
        let model = &self.model;
        let leader = |short: &crate::events::Short| LeaderReport {
            id: short.id.clone(),
            token: short.token,
        };
        let nodes = model.nodes.iter().map(|node| {
            let belief = node.belief.as_ref().filter(|_| node.is_live()).map(|(_, belief)| belief);
            NodeReport {
                node: node.name.clone(),
                pid: node.pid,
                state: state_word(&node.phase).to_owned(),
                status: match &node.phase {
                    Phase::Down(status) => Some(status.clone()),
                    _ => None,
                },
                addr: node.addr.clone(),
                socket: node.socket.clone(),
                role: node.role.map(|role| role_word(role).to_owned()),
                view: belief.map(|belief| belief.view.as_str().to_owned()),
                leader: belief.and_then(|belief| belief.leader.as_ref()).map(leader),
            }
        });
        let millis = |length: Option<Duration>| {
            length.map(|length| precise_millis(u64::try_from(length.as_nanos()).unwrap_or(0)))
        };
        let handovers = model.handovers.iter().map(|handover| HandoverReport {
            from: handover.from.clone(),
            to: handover.to.clone(),
            token: handover.token,
            cause: handover.cause.to_owned(),
            took_ms: millis(handover.took()),
            all_ms: millis(handover.took_all()),
        });
        Status {
            pid: std::process::id(),
            dir: self.home.dir.display().to_string(),
            election: model.election.to_string(),
            ttl_ms: self.home.file.ttl_ms,
            leader: model.leader().map(leader),
            quorum_leader: model.quorum_leader().map(|(node, _)| node.name.clone()),
            nodes: nodes.collect(),
            handovers: handovers.collect(),
        }
    }
}

/// Longest wait for a leader to hand over before its node is removed all the same.
const COURTESY: Duration = Duration::from_secs(1);

/// Has the leader hand over, if it does so soon and there is somebody to hand over to.
async fn hand_over_first(asker: &Asker, election: &ElectionName, token: Token) {
    let command = Command::Reserve { election: election.clone(), to: None, if_token: Some(token) };
    if asker.command(command).await.is_err() {
        return;
    }
    let changed = async {
        while let Ok(sighting) = asker.view(election).await {
            if sighting.view.leader().is_none_or(|leader| leader.token > token) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let _ = tokio::time::timeout(COURTESY, changed).await;
}

/// Where a process stands, in one word.
pub(super) fn state_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Down(_) => "down",
    }
}

/// The first node after the leader that runs.
fn next_in_line(model: &Model) -> Option<CandidateId> {
    let leader = model.leader_node()?;
    let at = model.nodes.iter().position(|node| node.name == leader.name)?;
    let (before, after) = model.nodes.split_at(at);
    let mut others = after.iter().skip(1).chain(before);
    let next = others.find(|node| node.is_live())?;
    CandidateId::new(next.name.as_str()).ok()
}

/// How to reach the nodes that run: the quorum's leader first, it is the shortest way.
fn endpoints(model: &Model) -> Vec<Endpoint> {
    let first = model.quorum_leader().map(|(node, _)| &node.name);
    let mut live: Vec<_> = model.live().collect();
    live.sort_by_key(|node| Some(&node.name) != first);
    let ways = live.into_iter().flat_map(|node| {
        let socket = node.socket.iter().map(|path| Endpoint::Unix(path.into()));
        socket.chain([Endpoint::Tcp(node.addr.clone())])
    });
    ways.collect()
}

fn nobody(why: &str) -> Failure {
    Failure::new(Exit::No, "there is nobody to do that to", why, "tenure dev status")
}

fn answer(reply: &mut Reply, with: Answer) {
    if let Some(reply) = reply.take() {
        let _ = reply.send(with);
    }
}
