//! Limits of this process that the kernel sets low by default.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many open files as the user may have: a node holds two for each process of its
/// machine, and asking a thousand nodes takes a thousand. Not for programs that start others:
/// some of those cannot live with many.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // What may not be raised stays; whoever runs out of files says so then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
