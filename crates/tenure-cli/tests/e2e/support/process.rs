//! A child process whose standard output is a stream of events.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};

use super::{PATIENCE, journal::Journal};

/// The program under test, without settings from the environment of the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TENURE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A process of the test. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: PathBuf,
    journal: Arc<Journal>,
}

impl Process {
    /// Starts it. Must be called on the thread of the test: a child that was started with
    /// `--die-with-parent` ends with the *thread* that started it.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        said: &Path,
        journal: &Arc<Journal>,
    ) -> Self {
        let log = File::options().create(true).append(true).open(said).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (run, stdout) = (child.id(), child.stdout.take().unwrap());
        let (heard, who) = (journal.clone(), name.to_owned());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.hear(&who, run, &line);
            }
        });
        Self {
            name: name.to_owned(),
            child,
            reader: Some(reader),
            said: said.to_owned(),
            journal: journal.clone(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. The child is not waited for before this value has its end, so the
    /// number is its own.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(pid(&self.child), signal);
    }

    /// Kills it without waiting for its end. Gives the moment before.
    pub(crate) fn strike(&self) -> u64 {
        let at = self.journal.note(&self.name, self.pid(), "killed");
        self.signal(Signal::KILL);
        at
    }

    /// Kills it. Gives the moment before.
    pub(crate) fn kill(&mut self) -> u64 {
        let at = self.strike();
        self.wait();
        at
    }

    /// Asks it to end. Gives the moment before.
    pub(crate) fn ask_to_stop(&self, signal: Signal) -> u64 {
        let at = self.journal.note(&self.name, self.pid(), "asked_to_stop");
        self.signal(signal);
        at
    }

    /// Waits for its end, and for its last words.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child, PATIENCE)
            .unwrap_or_else(|| panic!("{} did not end within {PATIENCE:?}", self.name));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }

    /// Its exit code, once it has ended by itself.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("{} died of {:?}", self.name, status.signal()))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.strike();
        }
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits for the end of a child, at most this long.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    let handle = pidfd_open(pid(child), PidfdFlags::empty()).unwrap();
    if has_ended(&handle, limit) { child.wait().ok() } else { None }
}

/// A process that is no child of the test.
#[derive(Debug)]
pub(crate) struct Other {
    pid: u32,
    handle: OwnedFd,
}

impl Other {
    /// It must run now.
    pub(crate) fn new(pid: u32) -> Self {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
        Self { pid, handle: pidfd_open(number, PidfdFlags::empty()).unwrap() }
    }

    pub(crate) fn runs(&self) -> bool {
        !has_ended(&self.handle, Duration::ZERO)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.handle, signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn ends(&self) {
        assert!(has_ended(&self.handle, PATIENCE), "process {} lives on", self.pid);
    }
}

/// Waits for the end of a process, at most this long.
fn has_ended(handle: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&left)) {
            Ok(count) if count > 0 => return true,
            _ if Instant::now() >= deadline => return false,
            _ => {}
        }
    }
}
