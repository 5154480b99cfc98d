//! What a supervisor says: lines for machines, in order, and a few for people.
//!
//! A thread of its own writes them: nobody who reads slowly, or not at all, can hold up the
//! supervision.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use serde::Serialize;
use tenure_core::{CandidateId, ElectionName, Token};
use tenure_quorum::clock;

use crate::{
    command::run::Outside,
    error::{Failure, Outcome},
    output::{Output, json, time},
};

/// Lines that wait for their reader; what comes after is dropped and counted.
const QUEUE: usize = 1024;
/// How long the end waits for a reader.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// It contends.
    Campaigning,
    /// Somebody else leads.
    Standby { position: u32 },
    /// It may not contend for now.
    Refused { reason: String },
    /// It leads.
    Elected { token: Token },
    /// It leads, and the slot was taken before, by that tenure: nothing is run.
    SlotTaken { slot: String, slot_token: Token },
    /// A renewal was acknowledged; told with -v.
    Renewed { token: Token, remaining_ms: u64 },
    /// A renewal is overdue.
    RenewFailed { token: Token, remaining_ms: u64 },
    /// The machine was suspended for so long, or its wall clock was set by so much.
    ClockJump { suspended_ms: u64, wall_ms: i64 },
    /// Another leader was seen, or none.
    Changed { leader: Option<CandidateId>, leader_token: Option<Token> },
    /// The command is about to start, and its hook has succeeded.
    Promoted { token: Token },
    /// The command runs.
    ChildStarted { token: Token, child: u32 },
    /// The command has ended.
    ChildExited { token: Option<Token>, code: Option<u8>, signal: Option<u8> },
    /// Renewals are not acknowledged, and the lease is nearly over.
    AtRisk { token: Token, remaining_ms: u64 },
    /// Everything is asked to stop.
    Demoting { token: Option<Token>, reason: &'static str },
    /// Everything is killed.
    ChildKilled { token: Option<Token> },
    /// Nothing runs any more.
    Demoted { token: Option<Token> },
    /// Something may still act although the lease is over.
    SafetyAlarm { token: Option<Token> },
    /// It is asked to hand over.
    HandoverAsked { token: Token },
    /// It hands over: nothing runs any more.
    Handover { token: Token },
    /// It gives leadership up: nothing runs any more.
    Resigned { token: Token },
    /// It does not lead any more, against its will.
    Lost { token: Token, reason: &'static str },
    /// A hook has ended.
    HookEnded { hook: &'static str, code: Option<u8>, signal: Option<u8> },
    /// A hook was not run.
    HookSkipped { hook: &'static str, reason: &'static str },
    /// The health check failed, so often in a row.
    CheckFailed { failures: u32 },
    /// It ends.
    Exiting { code: u8, reason: &'static str },
}

impl Event {
    fn human(&self) -> Option<String> {
        Some(match self {
            Self::Standby { position } => format!("waits, number {position} in the queue"),
            Self::Refused { reason } => format!("refused for now: {reason}"),
            Self::Elected { token } => format!("leads with token {token}"),
            Self::SlotTaken { slot, slot_token } => {
                format!("slot {slot} was taken before (token {slot_token}): nothing to do")
            }
            Self::RenewFailed { remaining_ms, .. } => {
                format!("a renewal is overdue, the lease lasts {remaining_ms} ms more")
            }
            Self::ClockJump { suspended_ms, wall_ms } => format!(
                "the machine was suspended for {suspended_ms} ms, the wall clock set by \
                 {wall_ms} ms"
            ),
            Self::AtRisk { remaining_ms, .. } => format!(
                "no renewal is acknowledged, the lease lasts {remaining_ms} ms more: stops the \
                 command"
            ),
            Self::ChildKilled { .. } => String::from("kills what did not stop in time"),
            Self::SafetyAlarm { .. } => String::from(
                "SAFETY ALARM: the lease is over, and something that was started may still run",
            ),
            Self::HandoverAsked { .. } => String::from("is asked to hand over: stops the command"),
            Self::Handover { token } => format!("hands over (token {token})"),
            Self::Resigned { token } => format!("resigns (token {token})"),
            Self::Lost { token, reason } => format!("lost leadership (token {token}, {reason})"),
            Self::HookSkipped { hook, reason } => format!("did not run hook {hook}: {reason}"),
            Self::HookEnded { hook, code, signal } if *code != Some(0) => match (code, signal) {
                (Some(code), _) => format!("hook {hook} ended with code {code}"),
                (None, signal) => format!("hook {hook} died of signal {}", signal.unwrap_or(0)),
            },
            Self::CheckFailed { failures } => format!("the health check failed {failures} times"),
            _ => return None,
        })
    }
}

/// What every line has.
#[derive(Debug, Serialize)]
struct Stamp<'a> {
    at: String,
    mono_ns: u64,
    election: &'a ElectionName,
    id: &'a CandidateId,
    /// The process that the user started.
    pid: u32,
    /// The one that holds the lease.
    warden: u32,
    #[serde(skip_serializing_if = "is_zero")]
    dropped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape that serde asks for
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug)]
struct Line {
    json: String,
    human: Option<String>,
}

/// Where it is said.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) election: ElectionName,
    id: CandidateId,
    front: u32,
    queue: Option<SyncSender<Line>>,
    written: Receiver<()>,
    dropped: u64,
}

impl Report {
    /// Opens what the command line names.
    pub(crate) fn start(
        election: ElectionName,
        id: CandidateId,
        front: u32,
        outside: &Outside,
        output: Output,
    ) -> Outcome<Self> {
        let events = match (&outside.events_fd, &outside.events_file) {
            (Some(number), _) => Some(inherited(*number)?),
            (None, Some(path)) => Some(open(path)?),
            (None, None) => None,
        };
        let (queue, lines) = sync_channel::<Line>(QUEUE);
        let (done, written) = sync_channel(1);
        let name = election.clone();
        let write = move || {
            let mut events = events;
            for line in lines {
                if let Some(file) = &mut events
                    && file.write_all((line.json.clone() + "\n").as_bytes()).is_err()
                {
                    // Nobody reads any more; the command matters more.
                    events = None;
                }
                if output.json {
                    let _ = writeln!(io::stderr().lock(), "{}", line.json);
                } else if let Some(human) = line.human {
                    output.talk(&format!("tenure: {name}: {human}"));
                }
            }
            let _ = done.send(());
        };
        let spawned = std::thread::Builder::new().name("report".into()).spawn(write);
        spawned
            .map_err(|error| Failure::io("cannot start a thread", &error, "free some memory"))?;
        Ok(Self { election, id, front, queue: Some(queue), written, dropped: 0 })
    }

    /// Says it.
    pub(crate) fn tell(&mut self, event: &Event) {
        let stamp = Stamp {
            at: time::rfc3339(clock::wall()),
            mono_ns: clock::monotonic_nanos(),
            election: &self.election,
            id: &self.id,
            pid: self.front,
            warden: std::process::id(),
            dropped: self.dropped,
        };
        let line = Line { json: json::line(event, &stamp), human: event.human() };
        match self.queue.as_ref().map(|queue| queue.try_send(line)) {
            Some(Ok(())) => self.dropped = 0,
            Some(Err(TrySendError::Full(_))) => self.dropped += 1,
            _ => {}
        }
    }

    /// Waits for the last line to be written, but not for ever.
    pub(crate) fn finish(&mut self) {
        self.queue = None;
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

/// A descriptor that this process was started with: itself, because a file that belongs to
/// another user, or a socket, cannot be opened anew.
fn inherited(number: u32) -> Outcome<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = match number {
        1 => io::stdout().as_fd().try_clone_to_owned().ok(),
        2 => io::stderr().as_fd().try_clone_to_owned().ok(),
        _ => pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|own| {
                let number = i32::try_from(number).map_err(|_| rustix::io::Errno::BADF)?;
                pidfd_getfd(own, number, PidfdGetfdFlags::empty())
            })
            .ok(),
    };
    match own {
        Some(own) => Ok(File::from(own)),
        // Not everywhere is the kernel allowed to do that.
        None => open(Path::new(&format!("/proc/self/fd/{number}"))),
    }
}

/// For a pipe, reading as well keeps this from waiting for a reader.
fn open(path: &Path) -> Outcome<File> {
    use std::os::unix::fs::FileTypeExt;
    let mut how = File::options();
    let pipe = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo());
    if pipe && !path.starts_with("/proc/self/fd") {
        how.read(true).write(true);
    } else {
        how.append(true).create(!pipe);
    }
    how.open(path).map_err(|error| {
        let next = "give an open file descriptor, a file or a named pipe that can be written to";
        Failure::io(format!("cannot write events to {}", path.display()), &error, next)
    })
}
