//! A process that ends with its parent.

use std::io;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Has the kernel send this process a signal when its parent ends.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when that process is not the parent (any more); otherwise what the
/// kernel says.
pub(crate) fn end_with(parent: u32, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))?;
    // The parent may have ended before the kernel was told.
    let now = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    match u32::try_from(now) == Ok(parent) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "it ended just now")),
    }
}
