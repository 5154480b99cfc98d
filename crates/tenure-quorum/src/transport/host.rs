//! The machine and the process that this is.

use std::{fs, io, os::unix::fs::MetadataExt};

use tenure_core::Incarnation;

use crate::wire::Host;

/// Boot id, pid namespace and pid of this process. Where the kernel does not tell (no procfs),
/// the boot id is random: then this process shares its machine with nobody, which only costs
/// the fast path.
#[must_use]
pub fn this_host() -> Host {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .ok()
        .filter(|boot| !boot.is_empty());
    let boot = boot.unwrap_or_else(|| format!("unknown-{:016x}", getrandom::u64().unwrap_or(0)));
    let pid_namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |file| file.ino());
    Host { boot, pid_namespace, pid: std::process::id() }
}

/// Whether processes on these two hosts can hold each other's pidfd.
pub(crate) fn share_machine(one: &Host, other: &Host) -> bool {
    one.boot == other.boot && one.pid_namespace == other.pid_namespace && one.pid_namespace != 0
}

/// Draws the identity of this start of this process. Draw it once and pass it on.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn draw_incarnation() -> io::Result<Incarnation> {
    random_u64().map(Incarnation::from_random)
}

/// A random number, for seeds and names; nothing secret is made of it.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn random_u64() -> io::Result<u64> {
    getrandom::u64().map_err(no_randomness)
}

fn no_randomness(error: getrandom::Error) -> io::Error {
    io::Error::other(format!("the system gives no random numbers: {error}"))
}
