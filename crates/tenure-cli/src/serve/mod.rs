//! A node process: the node, its own candidates, and the line it prints for each thing that
//! happens.

mod contend;

use std::{io::ErrorKind, time::Duration};

use tenure::Elector;
use tenure_core::{
    ElectionName, NodeName,
    timing::{Drift, adaptive::TtlRange},
};
use tenure_quorum::{
    client::Client,
    clock,
    node::{Node, NodeConfig, NodeError, Notice},
    storage::StorageError,
    transport::BindError,
    wire::{Push, Question, Reply},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    task::JoinSet,
};

use crate::{
    args::bounds,
    ask::{self, RaftRole},
    command::StopSignals,
    error::{Exit, Failure, Outcome},
    events::{Belief, NodeEvent, NodeLine, Stamp},
    output::Output,
    realtime,
};

/// Longest wait for a leader to resign before its node stops.
const FAREWELL: Duration = Duration::from_millis(500);

/// A node that stopped by itself takes no resignation any more: its candidates only say that
/// they lead no longer. The sooner the process ends, the sooner its death is proved.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What a node process is to be.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The node.
    pub(crate) config: NodeConfig,
    /// Its own candidates.
    pub(crate) contest: Contest,
}

/// What a node process contends for.
#[derive(Debug, Clone)]
pub(crate) struct Contest {
    /// For which elections.
    pub(crate) elections: Vec<ElectionName>,
    /// Under which name.
    pub(crate) candidate: String,
    /// What observers are told.
    pub(crate) value: String,
    /// Length of the lease.
    pub(crate) ttl: TtlRange,
    /// Bound on clock rates.
    pub(crate) drift: Drift,
    /// Whether renewals are told, too.
    pub(crate) lease_events: bool,
}

/// Something that happened, and when.
type Told = (u64, NodeEvent);

/// Runs a node until it is asked to stop, or cannot go on.
pub(crate) async fn run(setup: Setup, output: Output) -> Outcome {
    let mut stop = StopSignals::listen()?;
    let Setup { config, contest } = setup;
    let (name, first) = (config.name.clone(), config.on_thread_start);
    let mut node = tokio::select! {
        started = Node::start(config) => started.map_err(|error| cannot_start(&error))?,
        _ = stop.name() => return Ok(Exit::Interrupted),
    };
    let printer = Printer { name, output };
    printer.print(clock::monotonic_nanos(), &started(&node));
    let (tell, mut told) = unbounded_channel();
    let (stopping, stopped) = watch::channel(false);
    let mut candidates = JoinSet::new();
    if !contest.elections.is_empty() {
        let elector = Elector::builder().adaptive_ttl(bounds(contest.ttl));
        let elector = realtime::elector(elector, first).drift(contest.drift);
        let elector = elector.on_node(&node).await.map_err(|error| {
            Failure::new(Exit::Tool, "cannot contend", error, "look at the limits of the user")
        })?;
        for election in &contest.elections {
            let task = contend::contend(
                elector.clone(),
                contest.clone(),
                election.clone(),
                tell.clone(),
                stopped.clone(),
            );
            candidates.spawn(task);
        }
    }
    let client = node.client();
    tokio::spawn(follow(node.client(), contest.elections, tell.clone()));
    let Some(mut notices) = node.notices() else { return Ok(Exit::Yes) };
    let exit = watch_over(&printer, &mut stop, &mut notices, &mut told, &client, &tell).await;
    let _ = stopping.send(true);
    let farewell = async { while candidates.join_next().await.is_some() {} };
    let node_stopped =
        async { while !matches!(notices.recv().await, Some(Notice::Stopped { .. }) | None) {} };
    tokio::select! {
        () = farewell => {}
        // Without the node, nobody can be told of a resignation.
        () = node_stopped, if exit.is_ok() => {}
        () = tokio::time::sleep(if exit.is_ok() { FAREWELL } else { LAST_WORDS }) => {}
    }
    while let Ok((at, event)) = told.try_recv() {
        printer.print(at, &event);
    }
    node.stop();
    exit
}

fn started(node: &Node) -> NodeEvent {
    NodeEvent::NodeStarted {
        id: node.id().get(),
        addr: node.address().to_owned(),
        socket: node.socket().map(str::to_owned),
        cluster: node.cluster().to_string(),
    }
}

/// Prints what happens, until the end.
async fn watch_over(
    printer: &Printer,
    stop: &mut StopSignals,
    notices: &mut UnboundedReceiver<Notice>,
    told: &mut UnboundedReceiver<Told>,
    client: &Client,
    tell: &UnboundedSender<Told>,
) -> Outcome {
    loop {
        tokio::select! {
            Some((at, event)) = told.recv() => printer.print(at, &event),
            notice = notices.recv() => match notice {
                Some(Notice::Role { role, term, leader }) => {
                    let leader = leader.map(tenure_core::NodeId::get);
                    let event = NodeEvent::Role { role, term, leader };
                    printer.print(clock::monotonic_nanos(), &event);
                    if role == RaftRole::Leader {
                        tokio::spawn(prove_quorum(client.clone(), term, tell.clone()));
                    }
                }
                Some(Notice::Stopped { why: Some(why) }) => {
                    let event = NodeEvent::Stopping { reason: why.clone() };
                    printer.print(clock::monotonic_nanos(), &event);
                    return Err(stopped_itself(&why));
                }
                // Later versions may say more.
                #[allow(unreachable_patterns)]
                Some(Notice::Stopped { why: None }) | None => return Ok(Exit::Yes),
            },
            signal = stop.name() => {
                let reason = signal.to_owned();
                printer.print(clock::monotonic_nanos(), &NodeEvent::Stopping { reason });
                return Ok(if signal == "SIGINT" { Exit::Interrupted } else { Exit::Yes });
            }
        }
    }
}

/// A Raft leader is the quorum's leader once a quorum has confirmed it, which takes a committed
/// entry of its own term.
async fn prove_quorum(client: Client, term: u64, tell: UnboundedSender<Told>) {
    if let Ok(Reply::Confirmed) = client.ask(Question::Confirm).await {
        let _ = tell.send((clock::monotonic_nanos(), NodeEvent::QuorumLeader { term }));
    }
}

/// Tells each change of this node's own view.
async fn follow(client: Client, elections: Vec<ElectionName>, tell: UnboundedSender<Told>) {
    if elections.is_empty() {
        return;
    }
    let Ok(mut watch) = client.watch(elections, None).await else { return };
    let mut last = std::collections::BTreeMap::new();
    while let Some(push) = ask::next_push(&mut watch).await {
        let Push { election, sighting, mono_ns, .. } = push;
        let belief = Belief::from(&sighting);
        let same = last.insert(election.clone(), (belief.view, belief.leader.clone()));
        if same.as_ref() != last.get(&election) {
            let _ = tell.send((mono_ns, NodeEvent::View { election, belief }));
        }
    }
}

/// Prints lines of one node.
#[derive(Debug)]
struct Printer {
    name: NodeName,
    output: Output,
}

impl Printer {
    fn print(&self, at: u64, event: &NodeEvent) {
        let stamp = Stamp::at(&self.name, at);
        let line = if self.output.json {
            Some(NodeLine::print(&stamp, event))
        } else {
            NodeLine::human(&stamp, event)
        };
        // A node goes on when nobody reads what it says.
        let _ = line.map(|line| self.output.data(&line));
    }
}

fn stopped_itself(why: &str) -> Failure {
    Failure::new(
        Exit::Tool,
        "the node stopped",
        why,
        "do what the reason says, then start it again",
    )
}

/// Why a node could not start, with its exit code.
fn cannot_start(error: &NodeError) -> Failure {
    let what = "the node cannot start";
    let failed = |exit, next: &str| Failure::new(exit, what, error, next);
    match error {
        NodeError::Config(_) => failed(Exit::Usage, "tenure node --help"),
        NodeError::NotInPeers { .. } => {
            failed(Exit::Usage, "add it to --peers on every node, or join with --join HOST:PORT")
        }
        NodeError::Storage(source) => disk(source),
        NodeError::Bind(source) => failed(bind_exit(source), bind_advice(source)),
        NodeError::Join { .. } => {
            failed(Exit::Unavailable, "see that one of the nodes in --join runs, then try again")
        }
        NodeError::Refused { .. } => {
            failed(Exit::Conflict, "tenure cluster status shows the nodes there are")
        }
        _ => failed(Exit::Tool, "the log lines above say more"),
    }
}

fn bind_exit(error: &BindError) -> Exit {
    match error {
        BindError::InUse { .. } => Exit::Conflict,
        BindError::Tcp { source, .. } | BindError::Unix { source, .. } => match source.kind() {
            ErrorKind::AddrInUse => Exit::Conflict,
            ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Tool,
        },
    }
}

fn bind_advice(error: &BindError) -> &'static str {
    match (error, bind_exit(error)) {
        (BindError::Tcp { .. }, Exit::Conflict) => {
            "stop what uses that port, or give another one with --listen"
        }
        (BindError::Tcp { .. }, Exit::Denied) => "give a port above 1023 with --listen",
        (BindError::Tcp { .. }, _) => "give an address of this machine with --listen",
        (_, Exit::Conflict) => "stop that process first",
        (_, _) => "give another data directory with --data-dir",
    }
}

fn disk(error: &StorageError) -> Failure {
    let exit = match error {
        StorageError::NotADirectory { .. } => Exit::Usage,
        StorageError::Locked { .. }
        | StorageError::OtherCluster { .. }
        | StorageError::OtherNode { .. } => Exit::Conflict,
        StorageError::Io { cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {
            Exit::Denied
        }
        _ => Exit::Tool,
    };
    // These messages end with what to do next.
    let text = error.to_string();
    let parts = text.split_once(". ").or_else(|| text.split_once(": "));
    let (why, next) = parts.unwrap_or((&text, "look at --data-dir"));
    Failure::new(exit, "the data directory cannot be used", why, next)
}
