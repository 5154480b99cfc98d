//! What the warden starts: the command, hooks and checks. All of them are its children, and
//! nothing is given up while one of them, or a descendant, is alive.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tenure_core::{CandidateId, Moment};

use super::{
    cgroup,
    environment::{self, Occasion},
    launch::Launch,
    parse::Hook,
    settings::Settings,
    tree,
};
use crate::command::run::StdinFrom;

/// What was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command itself.
    Command,
    /// The hook before it.
    Promote,
    /// The hook after it.
    Demote,
    /// A hook that nothing waits for.
    Aside(&'static str),
    /// The health check.
    Check,
    /// What must succeed before it contends.
    ReadyCheck,
}

/// Something that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    /// When it is killed; the machine has its own idea for the command and its two hooks.
    pub(crate) until: Option<Moment>,
}

/// Everything that was started and has not ended.
#[derive(Debug)]
pub(crate) struct Jobs {
    settings: Settings,
    id: CandidateId,
    /// Standard input as the user gave it.
    stdin: OwnedFd,
    terminal: bool,
    front_group: u32,
    pub(crate) cgroup: Option<PathBuf>,
    /// The kernel's lock that keeps others from leading, where that is how it is done. It is
    /// inherited by whatever is started: the lock lives as long as any of that.
    pub(crate) lock: Option<OwnedFd>,
    running: BTreeMap<u32, Job>,
    /// Hooks that nothing waits for run one at a time.
    pub(crate) queue: VecDeque<(&'static str, Hook, Occasion)>,
}

impl Jobs {
    pub(crate) fn new(
        settings: Settings,
        id: CandidateId,
        stdin: OwnedFd,
        terminal: bool,
        front_group: u32,
        cgroup: Option<PathBuf>,
    ) -> Self {
        let (running, queue) = (BTreeMap::new(), VecDeque::new());
        let lock = None;
        Self { settings, id, stdin, terminal, front_group, cgroup, lock, running, queue }
    }

    /// Starts the command; `before` is when it would be too late.
    pub(crate) fn start(&mut self, occasion: &Occasion, before: Moment) -> io::Result<u32> {
        let program = self.settings.program.clone();
        let program = program.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let child = &self.settings.options.child;
        let launch = Launch {
            parent: std::process::id(),
            before: Some(before),
            cgroup: self.cgroup.clone(),
            terminal: self.terminal && !child.foreground && self.front_has_terminal(),
        };
        let mut command = launch.command(&program.file, &program.name);
        command.args(&program.arguments);
        environment::prepare(&mut command, &self.settings, &self.id, occasion);
        let stdin = match child.stdin {
            StdinFrom::Inherit => Stdio::from(self.stdin.try_clone()?),
            StdinFrom::Null => Stdio::null(),
        };
        command.stdin(stdin);
        let group = if child.foreground { self.front_group } else { 0 };
        command.process_group(i32::try_from(group).unwrap_or(0));
        if let Some(dir) = &child.cwd {
            command.current_dir(dir);
        }
        self.spawn(command, Kind::Command, None)
    }

    /// Starts a hook or a check. What it says goes to standard error: standard output belongs
    /// to the command.
    pub(crate) fn start_hook(
        &mut self,
        kind: Kind,
        hook: &Hook,
        occasion: &Occasion,
        until: Option<Moment>,
    ) -> io::Result<u32> {
        let parent = std::process::id();
        let cgroup = self.cgroup.clone();
        let launch = Launch { parent, before: None, cgroup, terminal: false };
        let mut command = launch.command(&hook.file, &hook.file.clone().into());
        command.args(&hook.arguments);
        if !matches!(kind, Kind::Check | Kind::ReadyCheck) {
            let token = occasion.token.map(|token| token.to_string()).unwrap_or_default();
            command.args([occasion.event, occasion.role(), occasion.election.as_str(), &token]);
        }
        environment::prepare(&mut command, &self.settings, &self.id, occasion);
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        command.stdin(Stdio::null()).stdout(Stdio::from(stderr)).process_group(0);
        self.spawn(command, kind, until)
    }

    fn spawn(
        &mut self,
        mut command: std::process::Command,
        kind: Kind,
        until: Option<Moment>,
    ) -> io::Result<u32> {
        let inherited = self.lock.as_ref().map(inheritable).transpose()?;
        let pid = command.spawn()?.id();
        drop(inherited);
        self.running.insert(pid, Job { kind, until });
        Ok(pid)
    }

    /// A child has ended.
    pub(crate) fn ended(&mut self, pid: u32) -> Option<Job> {
        self.running.remove(&pid)
    }

    /// Whether something of this kind runs.
    pub(crate) fn runs(&self, is_it: impl Fn(Kind) -> bool) -> bool {
        self.running.values().any(|job| is_it(job.kind))
    }

    /// The command itself, while it runs.
    pub(crate) fn command(&self) -> Option<u32> {
        self.running.iter().find(|(_, job)| job.kind == Kind::Command).map(|(pid, _)| *pid)
    }

    /// The next time at which a job is killed.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.running.values().filter_map(|job| job.until).min()
    }

    /// Kills what was given a time that is over.
    pub(crate) fn kill_late(&mut self, now: Moment) {
        for (pid, job) in &mut self.running {
            if job.until.is_some_and(|until| now >= until) {
                job.until = None;
                signal_group(*pid, Signal::KILL);
            }
        }
    }

    /// Passes a signal on to the command.
    pub(crate) fn forward(&self, signal: i32, from_terminal: bool) {
        let Some(pid) = self.command() else { return };
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        if !self.settings.options.child.foreground {
            if signal == Signal::CONT {
                self.give_terminal(pid);
            }
            signal_group(pid, signal);
        } else if !from_terminal {
            // In one group with the front, it has heard what came from the terminal.
            let _ = pid_of(pid).map(|pid| rustix::process::kill_process(pid, signal));
        }
    }

    /// Asks everything that was started to stop: the groups, while the command lives; when it
    /// is gone, whatever it left behind.
    pub(crate) fn soft_stop(&self) {
        let signal = self.settings.options.child.stop_signal;
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        if self.running.is_empty() || self.settings.options.child.foreground {
            // What cannot be found now is killed later.
            let _ = tree::signal_all(std::process::id(), None, signal);
            let _ = tree::signal_all(std::process::id(), None, Signal::CONT);
        }
        for pid in self.running.keys() {
            signal_group(*pid, signal);
            // Who is stopped cannot stop.
            signal_group(*pid, Signal::CONT);
        }
    }

    /// Kills everything that was started.
    pub(crate) fn hard_kill(&self) {
        if let Some(group) = &self.cgroup {
            let _ = cgroup::kill(group);
        }
        for pid in self.running.keys() {
            signal_group(*pid, Signal::KILL);
        }
        // What it cannot find now, the next round may.
        let _ = tree::kill_all(std::process::id(), None);
    }

    /// The terminal goes back to the process that the user started.
    pub(crate) fn take_terminal_back(&self) {
        let held = rustix::termios::tcgetpgrp(&self.stdin);
        if self.terminal
            && held != Ok(rustix::process::getpgrp())
            && let Some(front) = pid_of(self.front_group)
        {
            let _ = rustix::termios::tcsetpgrp(&self.stdin, front);
        }
    }

    /// Whether the command was given the terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal && !self.settings.options.child.foreground
    }

    fn give_terminal(&self, command: u32) {
        if self.terminal
            && self.front_has_terminal()
            && let Some(group) = pid_of(command)
        {
            let _ = rustix::termios::tcsetpgrp(&self.stdin, group);
        }
    }

    fn front_has_terminal(&self) -> bool {
        let group = rustix::termios::tcgetpgrp(&self.stdin);
        group.is_ok_and(|group| u32::try_from(group.as_raw_nonzero().get()) == Ok(self.front_group))
    }
}

/// A copy that a program keeps when it begins. Out of the way of scripts, which like the low
/// numbers, unless so many are not allowed.
fn inheritable(lock: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
    let copy = fcntl_dupfd_cloexec(lock, 200).or_else(|_| fcntl_dupfd_cloexec(lock, 3))?;
    fcntl_setfd(&copy, FdFlags::empty())?;
    Ok(copy)
}

/// The number is a child's that was not waited for, so it is nobody else's.
fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
