//! How many clusters run at once: more would measure the machine and not the program.

use std::sync::{Condvar, Mutex, PoisonError};

const CLUSTERS: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

/// The right to run a cluster, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(());

impl Permit {
    /// Waits for a free place.
    pub(crate) fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |running: &mut usize| *running >= CLUSTERS;
        let mut running = LEFT.wait_while(running, full).unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LEFT.notify_one();
    }
}
