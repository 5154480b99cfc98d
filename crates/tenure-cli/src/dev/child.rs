//! The processes of the nodes.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tenure_core::NodeName;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc::UnboundedSender,
};

use super::{home::Home, supervisor::Input};
use crate::{command::node::Timing, discover::LocalNode, error::Failure};

/// Environment of this process that must not become settings of every node.
const NOT_FOR_NODES: [&str; 14] = [
    "TENURE_ADVERTISE",
    "TENURE_CLUSTER",
    "TENURE_DATA_DIR",
    "TENURE_DIR",
    "TENURE_ID",
    "TENURE_JOIN",
    "TENURE_LISTEN",
    "TENURE_LOG_FORMAT",
    "TENURE_PEERS",
    "TENURE_TIMEOUT",
    "TENURE_TTL",
    "TENURE_URL",
    "TENURE_VALUE",
    "NOTIFY_SOCKET",
];

/// Nodes that a joining one is told of.
const CONTACTS: usize = 16;

/// A process that runs, or has ended and was not looked at yet.
#[derive(Debug)]
pub(super) struct Child {
    /// Its number.
    pub(super) pid: u32,
    /// The process itself: its number may be given to another one later, this is not.
    handle: OwnedFd,
}

impl Child {
    /// Starts a node. Must be called on the main thread: the kernel kills the node when the
    /// thread that started it ends.
    pub(super) fn start(
        home: &Home,
        node: &LocalNode,
        settings: &Settings,
        inputs: &UnboundedSender<Input>,
    ) -> io::Result<Self> {
        let log = home.log_file(&node.node);
        let log = File::options().create(true).append(true).open(log)?;
        // The program of this very process, also when its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("tenure")
            .args(arguments(home, node, settings))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in this terminal is the supervisor's to handle.
            .process_group(0);
        for variable in NOT_FOR_NODES {
            command.env_remove(variable);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let number = child.id().unwrap_or(0);
        let opened = i32::try_from(number).ok().and_then(Pid::from_raw);
        let opened = opened.ok_or(io::ErrorKind::NotFound)?;
        // The child was not waited for yet, so its number is still its own.
        let handle = pidfd_open(opened, PidfdFlags::empty())?;
        let (name, inputs) = (node.node.clone(), inputs.clone());
        tokio::spawn(async move {
            if let Some(stdout) = stdout {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = inputs.send(Input::Line(line));
                }
            }
            // Its last words come before its end.
            let status = child.wait().await.map_or_else(|error| error.to_string(), describe);
            let _ = inputs.send(Input::Exited { name, pid: number, status });
        });
        Ok(Self { pid: number, handle })
    }

    /// Sends a signal to this process and no other.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.handle, signal)?)
    }
}

/// What all nodes have in common.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Length of leases.
    pub(super) ttl: tenure_core::timing::Ttl,
    /// How fast a silent leader of the quorum is noticed.
    pub(super) timing: Timing,
    /// How many nodes vote at most.
    pub(super) voters: u8,
    /// Whether each renewal is told.
    pub(super) lease_events: bool,
}

/// Nodes are dealt out to the zones in the order of their numbers.
fn zone(node: &NodeName, zones: u8) -> Option<String> {
    let number: u32 = node.as_str().strip_prefix('n')?.parse().ok()?;
    let zone = number.checked_sub(1)?.checked_rem(zones.into())?;
    Some(format!("z{}", zone + 1))
}

fn arguments(home: &Home, node: &LocalNode, settings: &Settings) -> Vec<String> {
    let file = &home.file;
    let micros = |length: std::time::Duration| format!("{}us", length.as_micros());
    let mut arguments = vec![
        String::from("node"),
        String::from("--json"),
        format!("--id={}", node.node),
        format!("--data-dir={}", home.data_dir(&node.node).display()),
        format!("--listen={}", node.addr),
        format!("--campaign={}", file.election),
        format!("--ttl={}ms", file.ttl_ms),
        format!("--election-timeout={}", micros(settings.timing.election_timeout)),
        format!("--heartbeat={}", micros(settings.timing.heartbeat)),
        format!("--voters={}", settings.voters),
        format!("--die-with-parent={}", std::process::id()),
    ];
    let founders = &file.founders;
    if founders.iter().any(|founder| founder.node == node.node) {
        let peers: Vec<_> =
            founders.iter().map(|peer| format!("{}={}", peer.node, peer.addr)).collect();
        arguments.push(format!("--peers={}", peers.join(",")));
        arguments.push(format!("--cluster={}", file.cluster));
    } else {
        // Those who founded may be gone, but then not those who came next.
        let others = file.nodes.iter().filter(|other| other.node != node.node);
        let contacts: Vec<_> = others.map(|other| other.addr.as_str()).take(CONTACTS).collect();
        arguments.push(format!("--join={}", contacts.join(",")));
    }
    arguments.extend(zone(&node.node, file.zones).map(|zone| format!("--zone={zone}")));
    if settings.lease_events {
        arguments.push(String::from("--lease-events"));
    }
    arguments
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => String::from("killed"),
        (None, Some(15)) => String::from("terminated"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => String::from("unknown end"),
    }
}

/// What a node said last before it ended, if it said why.
pub(super) fn last_words(home: &Home, name: &NodeName) -> Option<Failure> {
    let text = tail(&home.log_file(name))?;
    text.lines().rev().take(5).find_map(Failure::from_json)
}

fn tail(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let from = bytes.len().saturating_sub(16 << 10);
    Some(String::from_utf8_lossy(&bytes[from..]).into_owned())
}
