//! The process that holds the lease and is the parent of the command: the shell around
//! [`Machine`]. It turns what happens into inputs, and carries effects out.
//!
//! Its main thread starts everything, because the kernel's parent-death signal follows the
//! *thread* that forked, and it lives as long as the process.

mod begin;
mod effects;
mod looks;

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenure_core::{CandidateId, ElectionName, Moment, Token};
use tenure_quorum::clock;

use super::{
    cgroup::Group,
    contest::{Bell, Lease, News, Orders},
    deadman::{Deadman, Fuse},
    environment::Occasion,
    health::Health,
    http::Status,
    jobs::Jobs,
    link::Link,
    machine::{FAILED, Input, Machine, Phase, Why},
    report::Report,
    settings::Settings,
    signals::{CHILD, Signals},
    tree::{self, Change},
    vigil::{Clocks, Renewals},
};
use crate::{
    error::{Exit, Failure, Outcome},
    output::Output,
};

pub(super) use begin::candidate_id;

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
    fuse: Fuse,
    pub(super) status: Arc<Mutex<Status>>,
    renewals: Renewals,
    clocks: Clocks,
    armed: Option<Moment>,
    /// The front has its copy of the lock.
    lock_is_shared: bool,
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
    let mut warden = begin::begin(settings, output)?;
    let code = warden.supervise();
    warden.last_hooks();
    warden.report.finish();
    if let (FAILED, Some(failure)) = (code, warden.failure.take()) {
        output.failure(&failure);
    } else if code == warden.settings.options.time.conflict_exit_code && !warden.connected {
        // Somebody else who leads is no error; that nobody could be asked is worth a word.
        output.failure(&Failure::new(
            Exit::Unavailable,
            "not elected in time",
            format!("{} was not reached", warden.settings.store.describe()),
            "check --url and whether it runs, or allow more time with --wait",
        ));
    }
    Ok(code)
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
        self.look_at_clocks();
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
