//! The thread that waits for the disk, so that heartbeats and answers need not.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use tenure_replica::Persist;
use tokio::sync::mpsc::UnboundedSender;

use crate::storage::{Storage, StorageError};

/// What the disk says.
#[derive(Debug)]
pub(super) enum DiskEvent {
    /// Everything up to this number is durable.
    Persisted(u64),
    /// The node must stop; nothing is written any more.
    Failed(StorageError),
}

/// Hands work to the disk thread.
#[derive(Debug)]
pub(super) struct Disk {
    work: Option<Sender<Persist>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    pub(super) fn start(
        storage: Storage,
        done: UnboundedSender<DiskEvent>,
    ) -> std::io::Result<Self> {
        let (work, todo) = channel();
        let thread = std::thread::Builder::new()
            .name(String::from("tenure-disk"))
            .spawn(move || write_all(storage, &todo, &done))?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    pub(super) fn write(&self, persist: Persist) {
        if let Some(work) = &self.work {
            // The thread ends early only after it reported a failure.
            let _ = work.send(persist);
        }
    }
}

impl Drop for Disk {
    /// Waits for the unit under way: the directory is unlocked only when nobody writes.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Group commit: whatever gathered while the last flush ran goes out with the next.
fn write_all(mut storage: Storage, todo: &Receiver<Persist>, done: &UnboundedSender<DiskEvent>) {
    while let Ok(first) = todo.recv() {
        let mut batch = vec![first];
        batch.extend(todo.try_iter());
        let last = batch.last().map_or(0, |persist| persist.number);
        let event = match storage.persist(&batch) {
            Ok(()) => DiskEvent::Persisted(last),
            Err(error) => DiskEvent::Failed(error),
        };
        let failed = matches!(event, DiskEvent::Failed(_));
        if done.send(event).is_err() || failed {
            return;
        }
    }
}
