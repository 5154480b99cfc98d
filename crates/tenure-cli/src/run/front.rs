//! The process that the user started: it relays signals, gives the exit code, and watches the
//! warden. It has one thread, no async runtime, and hardly anything that could stall.
//!
//! **Why two processes.** Whoever holds the lease must be the last to die: a store that sees
//! the holder's death (a pidfd, a file lock) lets the next one lead at once. So the lease, and
//! the command with it, belong to the *warden*, and the process that people kill is this one.
//! - This one is killed: the warden kills the command and all its descendants, sees that they
//!   are dead, and only then gives leadership up.
//! - The warden is killed: the command dies with it (`PR_SET_PDEATHSIG`), what else descends
//!   from it falls to this process, which kills it.
//! - The warden is stopped or stalled: this process has the deadline of the lease, and kills
//!   the command and all its descendants half a margin before it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, getpgrp, getpid, kill_process, set_child_subreaper},
    termios::{tcgetpgrp, tcsetpgrp},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use tenure_core::Moment;
use tenure_quorum::clock;

use super::{
    cgroup, deadman,
    link::{Heard, Link, Message},
    machine::{End, FAILED, LOST_KILLED},
    notify::Manager,
    signals::{CHILD, Signals, TERMINAL_STOP},
    tree::{self, Change},
};
use crate::{
    error::{Exit, Failure, Outcome},
    output::Output,
};

/// Set in the environment of the warden.
pub(crate) const WARDEN: &str = "TENURE_RUN_WARDEN";
/// After the deadline the process table is read this often, for as long as the warden is silent.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

/// What must be dead, and when.
#[derive(Debug)]
struct Guard {
    until: Moment,
    cgroup: Option<std::path::PathBuf>,
    /// It had to act.
    acted: bool,
}

struct Front {
    warden: u32,
    link: Link,
    signals: Signals,
    timer: OwnedFd,
    guard: Option<Guard>,
    /// A copy of the kernel's lock that keeps others from leading: it is free when this process
    /// has seen that nothing is left, and not when the warden dies.
    lock: Option<OwnedFd>,
    manager: Manager,
    terminal: bool,
    output: Output,
}

/// Starts the warden, and stays until it has ended; gives the exit code.
pub(crate) fn run(manager: Manager, output: Output) -> Outcome<u8> {
    let failed = |what: &str, error: io::Error| {
        Failure::io(what, &error, "look at the limits of the user, then try again")
    };
    let signals = Signals::take().map_err(|error| failed("cannot take signals", error))?;
    set_child_subreaper(Some(getpid()))
        .map_err(|error| failed("cannot adopt orphans", error.into()))?;
    let stdin = io::stdin();
    let terminal = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
    let (link, theirs) = Link::pair().map_err(|error| failed("cannot make a socket", error))?;
    link.say(&Message::Hello { terminal }, Some(stdin.as_fd()))
        .map_err(|error| failed("cannot pass standard input on", error))?;
    let timer =
        timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|error| failed("cannot make a timer", error.into()))?;
    let warden =
        start(theirs, &manager).map_err(|error| failed("cannot start the warden", error))?;
    let mut front =
        Front { warden, link, signals, timer, guard: None, lock: None, manager, terminal, output };
    let code = front.watch();
    if front.terminal {
        // The command is gone; the terminal belongs to whoever started this process.
        let _ = tcsetpgrp(io::stdin(), getpgrp());
    }
    code
}

/// The same program with the same arguments.
fn start(link: OwnedFd, manager: &Manager) -> io::Result<u32> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "tenure".into());
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, name);
    // What is meant for this process must reach the warden neither by key press nor by a signal
    // to the group.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.args(arguments).stdin(Stdio::from(link)).env(WARDEN, std::process::id().to_string());
    manager.prepare(&mut command);
    Ok(command.spawn()?.id())
}

impl Front {
    fn watch(&mut self) -> Outcome<u8> {
        let mut deaf = false;
        loop {
            self.wait(deaf).map_err(|error| {
                Failure::io("cannot wait for what happens", &error, "report this")
            })?;
            while let Some((number, terminal)) = self.signals.next() {
                if number != CHILD {
                    // A warden that does not listen is judged by the lease.
                    let _ = self.link.say(&Message::Signal { number, terminal }, None);
                }
            }
            loop {
                match self.link.hear() {
                    Heard::Message(message, file) => self.on_message(message, file),
                    Heard::Nothing => break,
                    Heard::Closed => {
                        deaf = true;
                        break;
                    }
                }
            }
            self.act_in_time();
            self.manager.pass_on();
            if self.manager.asks() {
                // One that does not answer is given up by the service manager.
                let _ = self.link.say(&Message::Ask, None);
            }
            if let Some(end) = self.look_at_children() {
                return Ok(self.after(end));
            }
        }
    }

    /// Waits for a signal, a message, or the time to act.
    fn wait(&self, deaf: bool) -> io::Result<()> {
        let now = clock::moment();
        let due = self.guard.as_ref().map(|guard| guard.until);
        let due = due.map(|at| if at > now { at } else { now + AGAIN });
        // The clock of the lease goes on while the machine is suspended; that of `poll` does not.
        let it_value = due.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, deadman::timespec);
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &time)?;
        let wait = self.manager.due().and_then(|wait| Timespec::try_from(wait).ok());
        let mut sources = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
        ];
        if !deaf {
            sources.push(PollFd::new(&self.link, PollFlags::IN));
        }
        let proxy = self.manager.proxy();
        sources.extend(proxy.map(|socket: &UnixDatagram| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut sources, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn on_message(&mut self, message: Message, file: Option<OwnedFd>) {
        self.manager.heard();
        match message {
            Message::Armed { until, cgroup } => {
                self.lock = file.or(self.lock.take());
                let acted = self.guard.take().is_some_and(|guard| guard.acted);
                self.guard = Some(Guard { until, cgroup, acted });
            }
            Message::Disarmed => (self.guard, self.lock) = (None, None),
            // The shell that waits for this process gets its terminal back, and wakes it later.
            Message::Stopped => _ = kill_process(getpid(), Signal::STOP),
            Message::Notify(text) => self.manager.tell(&text),
            Message::Alive => {}
            Message::Hello { .. } | Message::Signal { .. } | Message::Ask => {}
        }
    }

    /// The warden had half of the margin to kill what it started.
    fn act_in_time(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        if clock::moment() < guard.until {
            return;
        }
        if let Some(group) = &guard.cgroup {
            // The look at the process table below finds what this could not kill.
            let _ = cgroup::kill(group);
        }
        let found = tree::signal_all(std::process::id(), Some(self.warden), Signal::KILL);
        if !guard.acted && !matches!(found, Ok(0)) {
            guard.acted = true;
            let _ = tree::kill_all(std::process::id(), Some(self.warden));
            self.output.talk(
                "tenure: the supervisor did not act in time (is it stopped?): killed the command \
                 before its lease was over",
            );
        }
    }

    /// How the warden ended, once it has.
    fn look_at_children(&self) -> Option<End> {
        loop {
            match tree::next_change() {
                Change::Ended(pid, end) if pid == self.warden => return Some(end),
                Change::Ended(..) | Change::Stopped(..) => {}
                Change::Nothing => return None,
                // Somebody else took the news; there is no warden any more.
                Change::Empty => return Some(End::Code(FAILED)),
            }
        }
    }

    /// The warden has ended: so has everything, if it did so by itself.
    fn after(&mut self, end: End) -> u8 {
        while let Heard::Message(message, file) = self.link.hear() {
            self.on_message(message, file);
        }
        let was_armed = self.guard.is_some();
        let how = match end {
            // It ends by itself when nothing runs; only a fault of ours cuts it short.
            End::Code(code) if !was_armed || tree::next_change() == Change::Empty => return code,
            End::Code(code) => format!("the supervisor ended with code {code}"),
            End::Signal(signal) => format!("the supervisor was killed by signal {signal}"),
        };
        let group = self.guard.as_ref().and_then(|guard| guard.cgroup.clone());
        loop {
            if let Some(group) = &group {
                let _ = cgroup::kill(group);
            }
            // What cannot be read now can be read in the next round.
            let _ = tree::kill_all(std::process::id(), None);
            let mut change = tree::next_change();
            while matches!(change, Change::Ended(..) | Change::Stopped(..)) {
                change = tree::next_change();
            }
            if change == Change::Empty {
                break;
            }
            while self.signals.next().is_some() {}
            let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let _ = poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(&pause));
        }
        if let Some(group) = &group {
            let _ = std::fs::remove_dir(group);
        }
        self.output.failure(&Failure::new(
            Exit::Tool,
            how,
            if was_armed {
                "the command and all its descendants were killed; leadership ends with the lease"
            } else {
                "nothing ran"
            },
            "start it again",
        ));
        if was_armed { LOST_KILLED } else { FAILED }
    }
}

/// What the key press for "stop" causes; others are no business of the terminal.
pub(crate) fn is_terminal_stop(signal: i32) -> bool {
    signal == TERMINAL_STOP || signal == Signal::TTIN.as_raw() || signal == Signal::TTOU.as_raw()
}

/// The process that started this one, if it still is.
pub(crate) fn parent() -> Option<Pid> {
    let told: i32 = std::env::var(WARDEN).ok()?.parse().ok()?;
    rustix::process::getppid().filter(|parent| parent.as_raw_nonzero().get() == told)
}
