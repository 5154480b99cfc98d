//! Threads that the kernel lets run before all ordinary work.
//!
//! A lease is renewed, and a leader's death noticed, by a thread that needs a few microseconds
//! now and then, and needs them in time. On a machine that has too much to do it waits for its
//! turn like everybody else. Never used for the work of others: what they start would inherit it,
//! and a loop of theirs would starve the machine.

use std::io;

use tenure::ElectorBuilder;
use thread_priority::{
    Error, RealtimeThreadSchedulePolicy::Fifo, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use crate::error::{Exit, Failure, Outcome};

/// What a thread does first.
pub(crate) type First = fn() -> io::Result<()>;

/// Among priorities from 1 to 99: above all ordinary work, below the threads of the kernel that
/// serve the network and the disk.
const PRIORITY: u8 = 10;

/// Schedules this thread, and those that it starts, in real time.
pub(crate) fn this_thread() -> io::Result<()> {
    let priority = ThreadPriorityValue::try_from(PRIORITY).map_err(io::Error::other)?;
    let policy = ThreadSchedulePolicy::Realtime(Fifo);
    let set = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(priority),
        policy,
    );
    set.map_err(|error| match error {
        Error::OS(number) => io::Error::from_raw_os_error(number),
        other => io::Error::other(other),
    })
}

/// Whether the kernel allows it: a thread that ends at once tries.
pub(crate) fn allowed() -> io::Result<()> {
    let tried = std::thread::Builder::new().spawn(this_thread)?;
    tried.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended")))
}

/// What the threads in question do first, when it is asked for. Refused before anything is
/// started: whoever asks for it counts on it.
pub(crate) fn wanted(wanted: bool) -> Outcome<Option<First>> {
    if !wanted {
        return Ok(None);
    }
    allowed().map_err(|error| {
        Failure::new(
            Exit::Denied,
            "--realtime is not allowed here",
            format!("the kernel refused to schedule a thread in real time: {error}"),
            format!("allow it: {ALLOW}; or leave --realtime out"),
        )
    })?;
    Ok(Some(this_thread))
}

/// An elector whose own thread does this first.
pub(crate) fn elector(how: ElectorBuilder, first: Option<First>) -> ElectorBuilder {
    match first {
        Some(first) => how.on_thread_start(first),
        None => how,
    }
}

/// How to allow it.
pub(crate) const ALLOW: &str = "LimitRTPRIO=10 in a systemd unit, rtprio 10 in limits.conf, or the capability CAP_SYS_NICE \
     (a container: --cap-add SYS_NICE)";
