//! One task, one closed set of inputs, one loop: the process that looks after the nodes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, IsTerminal},
    time::Duration,
};

use ratatui::crossterm::event::Event as TerminalEvent;
use rustix::process::Signal;
use tenure_core::{ElectionName, NodeName, timing::Ttl};
use tenure_quorum::clock;
use tokio::{
    sync::{
        mpsc::{self, UnboundedSender},
        oneshot,
    },
    time::{MissedTickBehavior, interval},
};

use super::{
    Plan, VOTERS,
    child::{Child, Settings, last_words},
    control::{self, Answer, Request},
    home::Home,
    model::{Model, NodeState, Phase},
    pending::{Pending, Wait},
    screen::Screen,
    view::Scene,
    voice::{DevEvent, ReadyNode},
};
use crate::{
    cli::Global,
    command::{StopSignals, node::Timing},
    error::{Exit, Failure, Outcome},
    events::NodeLine,
    log,
    output::Output,
};

/// Nodes that may be on their way into the cluster at the same time.
const JOIN_AT_ONCE: usize = 16;

/// How often the clock is looked at: for late requests and for the screen.
const TICK: Duration = Duration::from_millis(100);

/// Everything that can happen to the supervisor.
#[derive(Debug)]
pub(super) enum Input {
    /// A node said something.
    Line(String),
    /// A process ended.
    Exited { name: NodeName, pid: u32, status: String },
    /// Another terminal asks for something.
    Request { request: Request, reply: oneshot::Sender<Answer> },
    /// The cluster answered what the supervisor asked for a request.
    Asked { pending: Box<Pending>, result: Outcome<After> },
    /// What became of a key.
    Noted(Answer),
    /// A key was pressed, or the terminal changed its size.
    Terminal(TerminalEvent),
}

/// What is left to do when the cluster has said yes.
#[derive(Debug)]
pub(super) enum After {
    /// Nothing but to wait.
    Wait,
    /// End the process of a node that is not a member any more.
    Bury(NodeName),
}

/// The state of the loop.
pub(super) struct Supervisor {
    pub(super) home: Home,
    pub(super) settings: Settings,
    pub(super) model: Model,
    pub(super) children: BTreeMap<NodeName, Child>,
    pub(super) inputs: UnboundedSender<Input>,
    pub(super) pending: Vec<Pending>,
    /// Nodes that have not joined yet, in the order of their turns.
    joining: VecDeque<NodeName>,
    /// Those of them whose process runs.
    on_their_way: BTreeSet<NodeName>,
    /// Nodes that are to be started again as soon as their old process is gone.
    pub(super) again: Vec<NodeName>,
    pub(super) output: Output,
    pub(super) screen: Option<Screen>,
    note: Option<String>,
    /// A person watched the view and needs no lines after it.
    pub(super) drew: bool,
    ready: bool,
    /// The file for other processes is not up to date.
    unwritten: bool,
    pub(super) stop: Option<Outcome>,
    /// Told when everything has ended.
    pub(super) farewell: Vec<oneshot::Sender<Answer>>,
}

/// Runs a local cluster until it is told to stop.
pub(super) async fn run(plan: Plan, global: &Global, output: Output) -> Outcome {
    let mut signals = StopSignals::listen()?;
    let draws = io::stdout().is_terminal() && !output.json;
    log::start(global, if draws { "off" } else { "warn" });
    let home = Home::open(&plan)?;
    let (inputs, mut arrived) = mpsc::unbounded_channel();
    let mut supervisor = Supervisor::new(&plan, home, inputs, output, draws)?;
    supervisor.listen()?;
    supervisor.start_all()?;
    if draws {
        supervisor.screen = Some(Screen::open(&supervisor.inputs, global.color)?);
    } else {
        let dir = supervisor.home.dir.display();
        output.talk(&format!("a cluster of {} starts in {dir}", supervisor.model.nodes.len()));
        output.talk("try from another terminal: tenure leader demo --all, tenure dev kill leader");
    }
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while supervisor.stop.is_none() {
        tokio::select! {
            Some(input) = arrived.recv() => {
                supervisor.take_in(input);
                while let Ok(input) = arrived.try_recv() {
                    supervisor.take_in(input);
                }
            }
            _ = tick.tick() => supervisor.write_if_needed(),
            name = signals.name() => supervisor.stop = Some(Ok(ended_by(name))),
        }
        supervisor.after_each();
    }
    supervisor.end(arrived).await
}

fn ended_by(signal: &str) -> Exit {
    if signal == "SIGINT" { Exit::Interrupted } else { Exit::Yes }
}

impl Supervisor {
    fn new(
        plan: &Plan,
        home: Home,
        inputs: UnboundedSender<Input>,
        output: Output,
        draws: bool,
    ) -> Outcome<Self> {
        let broken = |why: String| {
            Failure::new(
                Exit::Tool,
                format!("{} cannot be used", home.dir.join("cluster.json").display()),
                why,
                "start afresh in another directory: tenure dev --dir DIR",
            )
        };
        let ttl = Ttl::new(Duration::from_millis(home.file.ttl_ms));
        let ttl = ttl.map_err(|error| broken(error.to_string()))?;
        let election = ElectionName::new(home.file.election.as_str());
        let election = election.map_err(|error| broken(error.to_string()))?;
        let timing = Timing::choose(ttl, None, None).map_err(|failure| {
            // The second half of the advice is about flags that only a node has.
            let next = failure.next.split(", or").next().unwrap_or_default().to_owned();
            Failure { next, ..failure }
        })?;
        let voters = plan.voters.min(VOTERS);
        let settings = Settings { ttl, timing, voters, lease_events: draws };
        let nodes = home.file.nodes.iter();
        let nodes = nodes.map(|node| NodeState::down(node.node.clone(), node.addr.clone()));
        let model = Model::new(election, settings.ttl.get(), nodes.collect());
        Ok(Self {
            home,
            settings,
            model,
            children: BTreeMap::new(),
            inputs,
            pending: Vec::new(),
            joining: VecDeque::new(),
            on_their_way: BTreeSet::new(),
            again: Vec::new(),
            output,
            screen: None,
            note: None,
            drew: draws,
            ready: false,
            unwritten: false,
            stop: None,
            farewell: Vec::new(),
        })
    }

    fn listen(&self) -> Outcome<()> {
        let path = self.home.control_socket();
        control::serve(&path, self.inputs.clone()).map_err(|error| {
            let what = format!("cannot take requests at {}", path.display());
            Failure::io(what, &error, "give another directory: tenure dev --dir DIR")
        })
    }

    /// Starts the founders at once, and has the others join some at a time.
    fn start_all(&mut self) -> Outcome<()> {
        self.home.file.pid = Some(std::process::id());
        let names: Vec<_> = self.home.file.nodes.iter().map(|node| node.node.clone()).collect();
        for name in names {
            let founds = self.home.file.founders.iter().any(|founder| founder.node == name);
            if founds || self.home.data_dir(&name).join("identity.json").exists() {
                self.start(&name)?;
            } else {
                self.joining.push_back(name);
            }
        }
        self.home.save()
    }

    /// Starts the process of one node.
    pub(super) fn start(&mut self, name: &NodeName) -> Outcome<()> {
        let Some(node) = self.home.file.nodes.iter().find(|node| node.node == *name) else {
            return Ok(());
        };
        let child = Child::start(&self.home, node, &self.settings, &self.inputs);
        let child = child.map_err(|error| {
            let what = format!("cannot start {name}");
            Failure::io(what, &error, "look at the limits of the user and at free memory")
        })?;
        self.model.started(name, child.pid);
        self.children.insert(name.clone(), child);
        Ok(())
    }

    /// Sends a signal to the process of one node.
    pub(super) fn signal(&self, name: &NodeName, signal: Signal) {
        if let Some(child) = self.children.get(name) {
            // It may have ended a moment ago; then its end is on its way here.
            let _ = child.signal(signal);
        }
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Line(line) => self.on_line(&line),
            Input::Exited { name, pid, status } => self.on_exit(&name, pid, &status),
            Input::Request { request, reply } => self.on_request(request, reply),
            Input::Asked { pending, result } => self.on_asked(*pending, result),
            Input::Noted(answer) => self.on_noted(answer),
            Input::Terminal(event) => self.on_terminal(&event),
        }
    }

    pub(super) fn on_line(&mut self, line: &str) {
        let Some(line_of_node) = NodeLine::parse(line) else { return };
        let noise = matches!(line_of_node.event, crate::events::NodeEvent::Lease { .. });
        self.model.heard(&line_of_node);
        if matches!(line_of_node.event, crate::events::NodeEvent::NodeStarted { .. }) {
            self.unwritten = true;
            self.on_their_way.remove(&line_of_node.stamp.node);
        }
        if noise || self.drew {
            return;
        }
        let text = if self.output.json {
            Some(line.to_owned())
        } else {
            NodeLine::human(&line_of_node.stamp, &line_of_node.event)
        };
        self.print(text);
    }

    pub(super) fn on_exit(&mut self, name: &NodeName, pid: u32, status: &str) {
        if self.children.get(name).is_none_or(|child| child.pid != pid) {
            return;
        }
        self.children.remove(name);
        self.on_their_way.remove(name);
        self.model.exited(name, status.to_owned(), clock::monotonic_nanos());
        // Not now: the disk is busy with what the survivors must write to elect the next leader.
        self.unwritten = true;
        self.say(&DevEvent::NodeExited { node: name, pid, status }, || {
            format!("{name} ended ({status})")
        });
        if let Some(index) = self.again.iter().position(|again| again == name) {
            self.again.remove(index);
            if let Err(failure) = self.start(name) {
                self.stop = Some(Err(failure));
            }
        } else if !self.ready && self.stop.is_none() {
            self.stop = Some(Err(self.stillborn(name, status)));
        } else {
            self.fail_starts(name, status);
        }
    }

    /// Whoever waits for the start of this node need not wait any longer.
    fn fail_starts(&mut self, name: &NodeName, status: &str) {
        let start = Wait::Started(name.clone());
        let waits = |pending: &mut Pending| pending.waits.contains(&start);
        let failed: Vec<_> = self.pending.extract_if(.., waits).collect();
        for reply in failed.into_iter().filter_map(|pending| pending.reply) {
            let _ = reply.send(Err(self.stillborn(name, status)));
        }
    }

    /// A node that ended before the cluster was ready.
    fn stillborn(&self, name: &NodeName, status: &str) -> Failure {
        let log = self.home.log_file(name);
        match last_words(&self.home, name) {
            Some(failure) => {
                let next = match failure.exit {
                    // A node by itself could listen elsewhere; here the others know its port.
                    Exit::Conflict => String::from(
                        "stop what uses it, or start another cluster: tenure dev --dir DIR",
                    ),
                    _ => failure.next,
                };
                Failure { what: format!("{name}: {}", failure.what), next, ..failure }
            }
            None => Failure::new(
                Exit::Tool,
                format!("{name} ended before the cluster was ready"),
                status,
                format!("see {}", log.display()),
            ),
        }
    }

    fn on_terminal(&mut self, event: &TerminalEvent) {
        let Some(mut screen) = self.screen.take() else { return };
        let requests = screen.key(event, &self.model);
        self.screen = Some(screen);
        for request in requests {
            let (reply, answered) = oneshot::channel();
            let inputs = self.inputs.clone();
            tokio::spawn(async move {
                if let Ok(answer) = answered.await {
                    let _ = inputs.send(Input::Noted(answer));
                }
            });
            self.note = None;
            self.on_request(request, reply);
        }
    }

    /// A person at the keys is told what did not work; what did can be seen.
    fn on_noted(&mut self, answer: Answer) {
        self.note = match answer {
            Err(failure) => Some(format!("{}: {}", failure.what, failure.why)),
            Ok(change) => change.get("note").and_then(|note| note.as_str()).map(str::to_owned),
        };
    }

    /// What follows from any input: requests that are done, the first readiness, the screen.
    fn after_each(&mut self) {
        self.let_join();
        let settled =
            |pending: &mut Pending, model: &Model| pending.is_done(model) || pending.is_late();
        let model = &self.model;
        let settled: Vec<_> =
            self.pending.extract_if(.., |pending| settled(pending, model)).collect();
        if !settled.is_empty() {
            // Whoever waited looks into the file next.
            self.write_if_needed();
        }
        for pending in settled {
            pending.answer(&self.model);
        }
        self.look_whether_ready();
        if let Some(mut screen) = self.screen.take() {
            let note = self.note.as_deref();
            let now = clock::monotonic_nanos();
            screen.draw(&self.model, Scene { dir: &self.home.dir, now, note });
            self.screen = Some(screen);
        }
    }

    /// Starts who is next to join, once there is a cluster.
    fn let_join(&mut self) {
        while self.on_their_way.len() < JOIN_AT_ONCE
            && !self.joining.is_empty()
            && (!self.on_their_way.is_empty() || self.model.agreed().is_some())
        {
            let Some(name) = self.joining.pop_front() else { return };
            match self.start(&name) {
                Ok(()) => _ = self.on_their_way.insert(name),
                Err(failure) => self.stop = Some(Err(failure)),
            }
        }
    }

    fn look_whether_ready(&mut self) {
        if self.ready || !self.joining.is_empty() || !self.on_their_way.is_empty() {
            return;
        }
        let all = self.model.nodes.iter().all(|node| node.phase == Phase::Running);
        if !all {
            return;
        }
        let Some(leader) = self.model.settled().cloned() else { return };
        self.ready = true;
        self.write_if_needed();
        let nodes = self.model.nodes.iter().filter_map(|node| {
            let socket = node.socket.as_deref();
            Some(ReadyNode { node: &node.name, pid: node.pid?, addr: &node.addr, socket })
        });
        self.say(&DevEvent::Ready { nodes: nodes.collect() }, || {
            format!("ready: {} leads with token {}", leader.id, leader.token)
        });
    }

    fn write_if_needed(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            self.write_down();
        }
    }

    /// Keeps the file for other processes up to date.
    pub(super) fn write_down(&mut self) {
        for entry in &mut self.home.file.nodes {
            let node = self.model.nodes.iter().find(|node| node.name == entry.node);
            entry.pid = node.and_then(|node| node.pid);
            entry.socket = node.and_then(|node| node.socket.clone());
        }
        if let Err(failure) = self.home.save() {
            tracing::warn!(why = %failure.why, "cannot write cluster.json");
        }
    }
}
