//! Signals as things to read, not as interruptions.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// What a wrapper hears in place of its command.
const HEARD: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];
/// `si_code` of a signal that the kernel sent by itself, as the terminal's driver does.
const BY_KERNEL: i32 = 0x80;

/// The signals of this process.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// From now on signals wait to be read. Must come before other threads begin, which inherit
    /// this. So do started programs, until they call [`release`].
    ///
    /// A signal that this process was started to ignore (`nohup`) stays ignored, here and in
    /// whatever it starts.
    pub(crate) fn take() -> io::Result<Self> {
        let ignored = fs::read_to_string("/proc/self/status")?;
        let ignored = ignored_mask(&ignored);
        let mut heard: SigSet =
            HEARD.into_iter().filter(|signal| ignored & bit(*signal) == 0).collect();
        heard.add(Signal::SIGCHLD);
        blocked().thread_block()?;
        Ok(Self(SignalFd::with_flags(&heard, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next one, if there is one: its number, and whether a key press caused it.
    pub(crate) fn next(&self) -> Option<(i32, bool)> {
        let signal = self.0.read_signal().ok()??;
        let number = i32::try_from(signal.ssi_signo).ok()?;
        Some((number, signal.ssi_code == BY_KERNEL))
    }
}

/// Takes back what [`Signals::take`] did: a program inherits what its starter blocks.
pub(crate) fn release() -> io::Result<()> {
    Ok(blocked().thread_unblock()?)
}

/// The last one lets a process give the terminal away from the background.
fn blocked() -> SigSet {
    HEARD.into_iter().chain([Signal::SIGCHLD, Signal::SIGTTOU]).collect()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A child has changed.
pub(crate) const CHILD: i32 = Signal::SIGCHLD as i32;
/// The terminal asks to stop.
pub(crate) const TERMINAL_STOP: i32 = Signal::SIGTSTP as i32;

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_known() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        let mask = ignored_mask(status);
        assert_ne!(mask & bit(Signal::SIGHUP), 0);
        assert_eq!(mask & bit(Signal::SIGINT), 0);
        assert_eq!(ignored_mask(""), 0);
    }
}
