//! The end of a local cluster: no node survives it.

use std::time::Duration;

use rustix::process::Signal;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use super::{
    model::Phase,
    supervisor::{Input, Supervisor},
};
use crate::error::{Exit, Outcome};

/// How long nodes have to resign and stop before they are killed.
const GRACE: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Ends all nodes: politely, then not.
    pub(super) async fn end(mut self, mut arrived: UnboundedReceiver<Input>) -> Outcome {
        self.screen = None;
        for (name, child) in &self.children {
            let paused = self.model.node(name).is_some_and(|node| node.phase == Phase::Paused);
            let _ = child.signal(if paused { Signal::KILL } else { Signal::TERM });
        }
        let until = Instant::now() + GRACE;
        while !self.children.is_empty() {
            match tokio::time::timeout_at(until, arrived.recv()).await {
                Ok(Some(Input::Exited { name, pid, status })) => self.on_exit(&name, pid, &status),
                Ok(Some(Input::Line(line))) => self.on_line(&line),
                Ok(Some(Input::Request { reply, .. })) => drop(reply),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for child in self.children.values() {
            let _ = child.signal(Signal::KILL);
        }
        while !self.children.is_empty() {
            match arrived.recv().await {
                Some(Input::Exited { name, pid, status }) => self.on_exit(&name, pid, &status),
                Some(_) => {}
                None => break,
            }
        }
        self.home.file.pid = None;
        self.write_down();
        let dir = self.home.dir.display();
        self.output.talk(&format!("the cluster is stopped; its data stays in {dir}"));
        let _ = std::fs::remove_file(self.home.control_socket());
        for farewell in self.farewell {
            let _ = farewell.send(Ok(serde_json::json!({ "did": "stopped" })));
        }
        // The answers to `down` are written by other tasks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.stop.unwrap_or(Ok(Exit::Yes))
    }
}
