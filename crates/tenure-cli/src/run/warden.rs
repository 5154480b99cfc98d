//! The process that holds the lease and is the parent of the command: the shell around
//! [`Machine`]. It turns what happens into inputs, and carries effects out.
//!
//! Its main thread starts everything, because the kernel's parent-death signal follows the
//! *thread* that forked, and it lives as long as the process.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, getpid, pidfd_open, set_child_subreaper},
};
use tenure_core::{CandidateId, ElectionName, Moment, Token};
use tenure_quorum::clock;

use super::{
    cgroup::Group,
    contest::{self, Bell, Lease, News, Order, Orders, Voice},
    deadman::Deadman,
    environment::Occasion,
    front,
    health::Health,
    http::{self, Status},
    jobs::{Job, Jobs, Kind},
    link::{Heard, Link, Message},
    machine::{Effect, End, FAILED, Input, Machine, Phase, Why},
    report::{Event, Report},
    settings::Settings,
    signals::{CHILD, Signals},
    tree::{self, Change},
};
use crate::{
    command::campaign::random_id,
    error::{Exit, Failure, Outcome},
    output::{Output, time},
};

/// Longest wait for hooks that are still to run when everything else is over.
const LAST_HOOKS: Duration = Duration::from_secs(10);

pub(super) struct Warden {
    pub(super) settings: Settings,
    pub(super) id: CandidateId,
    pub(super) machine: Machine,
    pub(super) jobs: Jobs,
    pub(super) health: Health,
    pub(super) report: Report,
    pub(super) lease: Lease,
    link: Link,
    signals: Signals,
    front: Option<OwnedFd>,
    bell: Bell,
    news: mpsc::Receiver<News>,
    pub(super) orders: Orders,
    deadman: Deadman,
    pub(super) status: Arc<Mutex<Status>>,
    armed: Option<Moment>,
    // Of the present tenure, or the last one.
    pub(super) election: ElectionName,
    pub(super) token: Option<Token>,
    pub(super) previous: Option<CandidateId>,
    pub(super) loss: Option<&'static str>,
    pub(super) connected: bool,
    pub(super) contend_when_connected: bool,
    pub(super) failure: Option<Failure>,
    heard_already: bool,
    exit: Option<u8>,
    _group: Option<Group>,
}

/// Supervises until the end; gives the exit code.
pub(crate) fn run(settings: Settings, output: Output) -> Outcome<u8> {
    let mut warden = begin(settings, output)?;
    let code = warden.supervise();
    warden.last_hooks();
    warden.report.finish();
    if let (FAILED, Some(failure)) = (code, warden.failure.take()) {
        output.failure(&failure);
    }
    Ok(code)
}

fn begin(settings: Settings, output: Output) -> Outcome<Warden> {
    let failed = |what: &str, error: io::Error| {
        Failure::io(what, &error, "look at the limits of the user, then try again")
    };
    // Other threads inherit what is done here, so they come later.
    let signals = Signals::take().map_err(|error| failed("cannot take signals", error))?;
    set_child_subreaper(Some(getpid()))
        .map_err(|error| failed("cannot adopt orphans", error.into()))?;
    let _ = rustix::thread::set_name(c"tenure-warden");
    let link = Link::from_stdin().map_err(|error| failed("cannot reach the front", error))?;
    let parent = front::parent();
    let front = parent.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let (Some(parent), Some(front), Heard::Message(Message::Hello { terminal }, Some(stdin))) =
        (parent.filter(|_| front::parent().is_some()), front, link.hear())
    else {
        return Err(Failure::new(
            Exit::Tool,
            "the process that was started is gone",
            "this one works for it and found it ended",
            "start it again",
        ));
    };
    let number = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
    let front_number = number(parent);
    let id = candidate_id(&settings, front_number)?;
    let group = settings.options.child.cgroup.then(Group::create).transpose()?;
    let cgroup = group.as_ref().map(|group| group.path().to_owned());
    let lease = Lease::default();
    let deadman = Deadman::start(lease.clone(), settings.budget, cgroup.clone())?;
    let election = settings.election.clone();
    let outside = &settings.options.outside;
    let report = Report::start(election.clone(), id.clone(), front_number, outside, output)?;
    let status = Arc::new(Mutex::new(Status::new(election.clone(), id.clone(), lease.clone())));
    let listener = outside.listen.as_ref().map(http::bind).transpose()?;
    let bell = Bell::new().map_err(|error| failed("cannot make an event", error))?;
    let (tell, news) = mpsc::channel();
    let (orders, ordered) = tokio::sync::mpsc::unbounded_channel();
    let voice = Voice { news: tell, bell: bell.clone() };
    let jobs = Jobs::new(settings.clone(), id.clone(), stdin, terminal, front_number, cgroup);
    let side = (settings.clone(), id.clone(), lease.clone(), status.clone());
    let talk = move || {
        let (settings, id, lease, status) = side;
        let outcome = crate::command::block_on(async {
            // Also while it connects: whoever asks then is told that it is not ready.
            if let Some(listener) = listener {
                http::start(listener, status);
            }
            contest::serve(settings, id, lease, voice.clone(), ordered).await;
            Ok(())
        });
        if let Err(failure) = outcome {
            let _ = voice.news.send(News::Failed(failure));
            voice.bell.ring();
        }
    };
    std::thread::Builder::new()
        .name("contest".into())
        .spawn(talk)
        .map_err(|error| failed("cannot start a thread", error))?;
    let machine = Machine::new(settings.rules(terminal), clock::moment());
    let health = Health::new(&settings);
    Ok(Warden {
        settings,
        id,
        machine,
        jobs,
        health,
        report,
        lease,
        link,
        signals,
        front: Some(front),
        bell,
        news,
        orders,
        deadman,
        status,
        armed: None,
        election,
        token: None,
        previous: None,
        loss: None,
        connected: false,
        contend_when_connected: false,
        failure: None,
        heard_already: false,
        exit: None,
        _group: group,
    })
}

fn candidate_id(settings: &Settings, front: u32) -> Outcome<CandidateId> {
    if let Some(id) = &settings.options.who.id {
        return Ok(id.clone());
    }
    let pod = std::env::var("POD_NAME").ok().and_then(|name| CandidateId::new(name).ok());
    pod.map_or_else(|| random_id(front), Ok)
}

impl Warden {
    fn supervise(&mut self) -> u8 {
        self.carry_out();
        loop {
            if let Some(code) = self.exit {
                return code;
            }
            self.wait();
            self.look();
        }
    }

    /// Takes in everything that has happened by now.
    fn look(&mut self) {
        self.bell.silence();
        // The lease comes first: whatever else is decided now depends on it.
        if let Some(deadline) = self.lease.deadline() {
            self.input(Input::Deadline(deadline));
        }
        while let Some((number, _)) = self.signals.next() {
            // What people send is for the front; it passes on what is meant for the command.
            if number == CHILD {
                self.look_at_children();
            }
        }
        self.look_at_front();
        while let Ok(news) = self.news.try_recv() {
            self.on_news(news);
        }
        let now = clock::moment();
        self.jobs.kill_late(now);
        self.on_health_due(now);
        self.next_hook();
        self.input(Input::Tick);
        self.arm();
    }

    fn wait(&mut self) {
        let now = clock::moment();
        let mut due: Vec<_> = self.machine.next_deadline().into_iter().collect();
        due.extend(self.jobs.next_deadline());
        due.extend(self.health.next_deadline(self.machine.phase()));
        if self.armed.is_some() || self.lease.deadline().is_some() {
            // Renewals are not told; they are looked for.
            due.push(now + self.settings.budget.ttl.get() / 16);
        }
        let wait = due.into_iter().min().map(|at| at.since(now));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut sources =
            vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
        if let Some(front) = &self.front {
            sources.push(PollFd::new(&self.link, PollFlags::IN));
            sources.push(PollFd::new(front, PollFlags::IN));
        }
        // An interruption is as good as an event: everything is looked at anyway.
        let _ = poll(&mut sources, wait.as_ref());
    }

    pub(super) fn input(&mut self, input: Input) {
        self.machine.handle(input, clock::moment());
        self.carry_out();
    }

    fn look_at_front(&mut self) {
        loop {
            match self.link.hear() {
                Heard::Message(Message::Signal { number, terminal }, _) => {
                    self.on_signal(number, terminal);
                }
                Heard::Message(..) => {}
                Heard::Nothing => break,
                Heard::Closed => {
                    if self.front.take().is_some() {
                        self.input(Input::FrontGone);
                    }
                    break;
                }
            }
        }
    }

    fn on_signal(&mut self, number: i32, terminal: bool) {
        // In one group with the front, the command has heard what came from the terminal.
        self.heard_already = terminal && self.settings.options.child.foreground;
        self.input(Input::Signal(number));
        if front::is_terminal_stop(number) && self.jobs.command().is_none() {
            let _ = self.link.say(&Message::Stopped, None);
        }
    }

    fn look_at_children(&mut self) {
        loop {
            match tree::next_change() {
                Change::Ended(pid, end) => {
                    if let Some(job) = self.jobs.ended(pid) {
                        self.on_ended(job, end);
                    }
                }
                Change::Stopped(pid, signal) => {
                    let ours = self.jobs.command() == Some(pid);
                    if ours && front::is_terminal_stop(signal) && self.jobs.has_terminal() {
                        let _ = self.link.say(&Message::Stopped, None);
                    }
                }
                Change::Nothing => break,
                Change::Empty => {
                    self.input(Input::TreeEmpty);
                    break;
                }
            }
        }
    }

    fn on_ended(&mut self, job: Job, end: End) {
        let (code, signal) = match end {
            End::Code(code) => (Some(code), None),
            End::Signal(signal) => (None, Some(signal)),
        };
        let ok = code == Some(0);
        match job.kind {
            Kind::Command => {
                self.jobs.take_terminal_back();
                self.report.tell(&Event::ChildExited { token: self.token, code, signal });
                self.input(Input::ChildExited(end));
            }
            Kind::Promote | Kind::Demote => {
                let hook = if job.kind == Kind::Promote { "promote" } else { "demote" };
                self.report.tell(&Event::HookEnded { hook, code, signal });
                if !ok && job.kind == Kind::Promote {
                    self.failure = Some(hook_failed(&self.settings, end));
                }
                self.input(Input::HookDone { ok });
            }
            Kind::Aside(hook) => self.report.tell(&Event::HookEnded { hook, code, signal }),
            kind @ (Kind::Check | Kind::ReadyCheck) => self.on_checked(kind, ok),
        }
    }

    /// Tells those who act in this process's place what they would have to do, and when.
    pub(super) fn arm(&mut self) {
        let armed = self.machine.armed();
        if armed == self.armed {
            return;
        }
        if armed.is_some() != self.armed.is_some() {
            self.deadman.arm(armed.is_some());
        }
        self.armed = armed;
        let message = match armed {
            Some(deadline) => Message::Armed {
                until: self.settings.budget.guard_at(deadline),
                cgroup: self.jobs.cgroup.clone(),
            },
            None => Message::Disarmed,
        };
        let _ = self.link.say(&message, None);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.machine.poll() {
            self.act(effect);
        }
        self.publish();
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare => self.begin_ready_check(),
            Effect::Contend => {
                self.report.tell(&Event::Campaigning);
                if self.connected {
                    self.order(Order::Contend);
                } else {
                    self.contend_when_connected = true;
                }
                self.notify("READY=1\nSTATUS=waits to lead");
            }
            Effect::Promote => self.start_own_hook(Kind::Promote),
            Effect::Demote => self.start_own_hook(Kind::Demote),
            Effect::Start => self.start_command(),
            Effect::Forward(signal) => self.jobs.forward(signal, self.heard_already),
            Effect::SoftStop => {
                self.tell_why();
                self.jobs.soft_stop();
            }
            Effect::HardKill => {
                self.report.tell(&Event::ChildKilled { token: self.token });
                self.jobs.hard_kill();
            }
            Effect::Alarm => self.report.tell(&Event::SafetyAlarm { token: self.token }),
            Effect::Release { stay } => self.release(stay),
            Effect::Exit(code) => {
                let reason = self.machine.why().map_or("failed", Why::as_str);
                self.report.tell(&Event::Exiting { code, reason });
                self.notify("STOPPING=1");
                self.exit = Some(code);
            }
        }
    }

    fn tell_why(&mut self) {
        let reason = self.machine.why().map_or("exited", Why::as_str);
        if let (Some(Why::AtRisk), Some(token)) = (self.machine.why(), self.token) {
            let left = self.lease.deadline().map(|at| at.since(clock::moment()));
            let remaining_ms = time::millis(left.unwrap_or_default());
            self.report.tell(&Event::AtRisk { token, remaining_ms });
        }
        self.report.tell(&Event::Demoting { token: self.token, reason });
    }

    fn start_command(&mut self) {
        let Some(deadline) = self.lease.deadline() else {
            // It was lost in this very moment; the news is on its way.
            return self.input(Input::StartFailed(super::machine::LOST));
        };
        // Whoever acts in this process's place knows before there is something to act upon.
        self.arm();
        if let Some(token) = self.token {
            self.report.tell(&Event::Promoted { token });
        }
        let occasion = self.occasion("promoted", true);
        match self.jobs.start(&occasion, self.settings.budget.soft_at(deadline)) {
            Ok(child) => {
                self.health.command_started(clock::moment());
                if let Some(token) = self.token {
                    self.report.tell(&Event::ChildStarted { token, child });
                }
                self.notify(&format!("STATUS=leads {}", self.election));
            }
            Err(error) => {
                self.failure = Some(Failure::io("cannot start the command", &error, "try again"));
                self.input(Input::StartFailed(FAILED));
                self.input(Input::TreeEmpty);
            }
        }
    }

    fn release(&mut self, stay: bool) {
        self.arm();
        self.jobs.take_terminal_back();
        let why = self.machine.why();
        if let Some(token) = self.token.take() {
            self.report.tell(&Event::Demoted { token: Some(token) });
            match why {
                Some(Why::Lost) => {}
                Some(Why::Handover) => self.report.tell(&Event::Handover { token }),
                _ => self.report.tell(&Event::Resigned { token }),
            }
            if matches!(why, Some(Why::Lost | Why::AtRisk)) {
                self.queue_hook("loss", false);
            }
        }
        self.order(Order::Release { stay });
    }

    pub(super) fn order(&mut self, order: Order) {
        if self.orders.send(order).is_err() {
            // That side has ended, so nothing is held any more.
            self.input(Input::Released);
        }
    }

    pub(super) fn occasion(&self, event: &'static str, leads: bool) -> Occasion {
        Occasion {
            event,
            leads,
            election: self.election.clone(),
            token: self.token,
            previous: self.previous.clone(),
            reason: self.loss.or(self.machine.why().map(Why::as_str)),
        }
    }

    fn notify(&self, text: &str) {
        let _ = self.link.say(&Message::Notify(text.to_owned()), None);
    }

    /// Hooks that nothing waited for are not forgotten when the end comes.
    fn last_hooks(&mut self) {
        let deadline = clock::moment() + self.settings.options.hooks.hook_timeout.min(LAST_HOOKS);
        loop {
            self.next_hook();
            while let change @ (Change::Ended(..) | Change::Stopped(..)) = tree::next_change() {
                if let Change::Ended(pid, end) = change
                    && let Some(job) = self.jobs.ended(pid)
                {
                    self.on_ended(job, end);
                }
            }
            let now = clock::moment();
            let busy = self.jobs.runs(|_| true) || !self.jobs.queue.is_empty();
            if !busy || now >= deadline {
                break;
            }
            let wait = Timespec::try_from(deadline.since(now)).ok();
            let _ = poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], wait.as_ref());
            while self.signals.next().is_some() {}
        }
        // One that another user runs stays; it was no part of the work, which is over.
        let _ = tree::kill_all(std::process::id(), None);
        while !matches!(tree::next_change(), Change::Empty | Change::Nothing) {}
    }

    /// Whether hooks that nothing waits for may run now.
    pub(super) fn is_calm(&self) -> bool {
        !matches!(
            self.machine.phase(),
            Phase::Stopping { .. } | Phase::Demoting { .. } | Phase::Promoting { .. }
        )
    }
}

fn hook_failed(settings: &Settings, end: End) -> Failure {
    let hook = settings.hooks.promote.as_ref().map(|hook| hook.file.display().to_string());
    let how = match end {
        End::Code(code) => format!("it ended with code {code}"),
        End::Signal(signal) => format!("it died of signal {signal}"),
    };
    Failure::new(
        Exit::Tool,
        format!("the hook {} did not succeed", hook.unwrap_or_default()),
        format!("{how}; the command was not started"),
        "mend the hook, or leave --on-promote out",
    )
}
