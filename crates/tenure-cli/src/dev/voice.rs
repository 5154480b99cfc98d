//! What the supervisor itself says.

use serde::Serialize;
use tenure_core::NodeName;
use tenure_quorum::clock;

use super::supervisor::Supervisor;
use crate::output::{json, time};

/// What the supervisor itself says with `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum DevEvent<'a> {
    /// Every node shows the same leader for the first time.
    Ready { nodes: Vec<ReadyNode<'a>> },
    /// A process ended.
    NodeExited { node: &'a NodeName, pid: u32, status: &'a str },
    /// A process was stopped with SIGSTOP.
    NodePaused { node: &'a NodeName, pid: u32 },
    /// A process goes on after SIGCONT.
    NodeResumed { node: &'a NodeName, pid: u32 },
}

/// One node of a cluster that is ready.
#[derive(Debug, Serialize)]
pub(super) struct ReadyNode<'a> {
    pub(super) node: &'a NodeName,
    pub(super) pid: u32,
    pub(super) addr: &'a str,
    pub(super) socket: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Stamp {
    at: String,
    mono_ns: u64,
}

impl Supervisor {
    /// Says something in the way that was asked for.
    pub(super) fn say(&self, event: &DevEvent<'_>, human: impl FnOnce() -> String) {
        if self.drew {
            return;
        }
        let at = time::rfc3339(clock::wall());
        let text = if self.output.json {
            json::line(event, &Stamp { at, mono_ns: clock::monotonic_nanos() })
        } else {
            format!("{}  dev  {}", at.get(11..23).unwrap_or(&at), human())
        };
        self.print(Some(text));
    }

    pub(super) fn print(&self, text: Option<String>) {
        // The cluster goes on when nobody reads what it says.
        let _ = text.map(|text| self.output.data(&text));
    }
}
