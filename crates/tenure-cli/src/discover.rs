//! Where the cluster is: `--url`, else a dev directory, else the default dev directory.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tenure_core::NodeName;
use tenure_quorum::client::{Endpoint, parse_url};

use crate::{
    cli::Global,
    error::{Exit, Failure, Outcome},
};

/// Name of the file in a dev directory that says where the nodes are.
pub(crate) const CLUSTER_FILE: &str = "cluster.json";

/// One node of a local cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalNode {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its process, while it runs.
    pub(crate) pid: Option<u32>,
    /// Its address; kept over restarts.
    pub(crate) addr: String,
    /// Its unix socket, while it runs.
    pub(crate) socket: Option<String>,
}

/// A name and an address that all founding nodes were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    /// The node.
    pub(crate) node: NodeName,
    /// Its address.
    pub(crate) addr: String,
}

/// A local cluster as `tenure dev` writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterFile {
    /// Version of the shape of this file.
    pub(crate) v: u32,
    /// Names the cluster, so that no two local clusters mix.
    pub(crate) cluster: String,
    /// The process of `tenure dev`, while it runs.
    pub(crate) pid: Option<u32>,
    /// The election that all nodes contend for.
    pub(crate) election: String,
    /// Length of leases, in milliseconds.
    pub(crate) ttl_ms: u64,
    /// Over how many zones the nodes are spread; 0 when they say none.
    #[serde(default)]
    pub(crate) zones: u8,
    /// Who founded the cluster; the list stays, also when one of them was removed.
    pub(crate) founders: Vec<Founder>,
    /// Number of the next node: names are never used again.
    pub(crate) next: u32,
    /// The nodes.
    pub(crate) nodes: Vec<LocalNode>,
}

impl ClusterFile {
    /// Reads the file of a dev directory; none when there is no such file.
    pub(crate) fn read(dir: &Path) -> Outcome<Option<Self>> {
        let path = dir.join(CLUSTER_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("cannot read {}", path.display());
                return Err(Failure::io(what, &error, "give another directory with --dir"));
            }
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::new(
                Exit::Tool,
                format!("{} cannot be understood", path.display()),
                error,
                "restore the file, or start afresh in another directory: tenure dev --dir DIR",
            )
        })
    }

    /// Writes the file so that a reader sees the old one or the new one, never half of one.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(CLUSTER_FILE);
        let draft = dir.join(format!("{CLUSTER_FILE}.new"));
        fs::write(&draft, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(draft, path)
    }
}

/// Where a cluster is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where to ask, the best first.
    pub(crate) endpoints: Vec<Endpoint>,
    /// What the dev directory says about the nodes, when it was found there.
    pub(crate) nodes: Vec<LocalNode>,
}

/// Finds the cluster that the command line means.
pub(crate) fn cluster(global: &Global) -> Outcome<Found> {
    if let Some(url) = &global.url {
        return by_url(url);
    }
    let dir = dev_dir(global);
    let Some(file) = ClusterFile::read(&dir)? else { return Err(nothing(&dir)) };
    let mut file = file;
    for node in &mut file.nodes {
        node.pid = node.pid.filter(|pid| runs(*pid));
    }
    let live: Vec<_> = file.nodes.iter().filter(|node| node.pid.is_some()).collect();
    if live.is_empty() {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("the local cluster in {} is not running", dir.display()),
            "none of its nodes has a process",
            format!("start it again: tenure dev{}", dir_hint(global)),
        ));
    }
    let endpoints = live.into_iter().flat_map(endpoints_of).collect();
    Ok(Found { endpoints, nodes: file.nodes })
}

/// Whether there is such a process. When `tenure dev` was killed, its file still names the nodes
/// that ended with it.
fn runs(pid: u32) -> bool {
    // The state follows the name, which is in brackets and may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    // A zombie is a process that has ended and was not looked at by its parent yet.
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn by_url(url: &str) -> Outcome<Found> {
    if crate::store::is_store(url) {
        return Err(Failure::usage(
            "this command needs a quorum of Tenure nodes",
            "other stores hold leases and no more: no list, no history, no operator's commands",
            "campaign, leader, watch, run and lock work on every store",
        ));
    }
    let endpoints = parse_url(url).map_err(|error| {
        Failure::usage(
            format!("{url:?} does not say where a cluster is"),
            error,
            "give --url tenure://HOST:PORT[,HOST:PORT...] with the addresses of some nodes",
        )
    })?;
    Ok(Found { endpoints, nodes: Vec::new() })
}

/// How to reach one node of a local cluster, the best way first.
pub(crate) fn endpoints_of(node: &LocalNode) -> Vec<Endpoint> {
    let socket = node.socket.iter().map(|path| Endpoint::Unix(PathBuf::from(path)));
    socket.chain([Endpoint::Tcp(node.addr.clone())]).collect()
}

fn nothing(dir: &Path) -> Failure {
    Failure::new(
        Exit::Unavailable,
        "no cluster found",
        format!("no --url is given, and there is no local cluster in {}", dir.display()),
        "tenure dev            start a cluster of processes on this machine, for trying it out\n\
         --url tenure://HOST:PORT   (or TENURE_URL) ask a running cluster\n\
         --dir DIR             (or TENURE_DIR) use the local cluster in that directory",
    )
}

/// `--dir` as it was given, to repeat it in advice.
pub(crate) fn dir_hint(global: &Global) -> String {
    global.dir.as_ref().map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default()
}

/// The directory of the local cluster that the command line means.
pub(crate) fn dev_dir(global: &Global) -> PathBuf {
    global.dir.clone().unwrap_or_else(|| default_dev_dir(|name| env::var_os(name)))
}

fn default_dev_dir(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> PathBuf {
    let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(runtime) = absolute("XDG_RUNTIME_DIR") {
        return runtime.join("tenure/dev");
    }
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    match state {
        Some(state) => state.join("tenure/dev"),
        None => PathBuf::from(format!("/tmp/tenure-{}/dev", rustix::process::getuid().as_raw())),
    }
}

/// Where a node that is not told otherwise keeps its data.
pub(crate) fn default_data_dir(name: &NodeName) -> PathBuf {
    let state = state_dir().unwrap_or_else(|| PathBuf::from("."));
    state.join("tenure/nodes").join(name.as_str().replace('/', "_"))
}

/// Where elections are kept that are for this user on this machine only. The same wherever a
/// process is started: two directories would be two elections.
pub(crate) fn elections_dir() -> PathBuf {
    let nowhere = || PathBuf::from(format!("/tmp/tenure-{}", rustix::process::getuid().as_raw()));
    state_dir().unwrap_or_else(nowhere).join("tenure/elections")
}

fn state_dir() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.or_else(|| env::home_dir().map(|home| home.join(".local/state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> String {
        let var = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        };
        default_dev_dir(var).display().to_string()
    }

    #[test]
    fn the_default_directory_follows_the_environment() {
        let home = ("HOME", "/people/x");
        assert_eq!(found(&[("XDG_RUNTIME_DIR", "/run/user/7"), home]), "/run/user/7/tenure/dev");
        assert_eq!(found(&[("XDG_STATE_HOME", "/state"), home]), "/state/tenure/dev");
        assert_eq!(found(&[home]), "/people/x/.local/state/tenure/dev");
        assert!(found(&[]).starts_with("/tmp/tenure-"));
        assert!(found(&[("XDG_RUNTIME_DIR", "relative")]).starts_with("/tmp/tenure-"));
    }

    #[test]
    fn a_zombie_does_not_run() {
        assert!(runs(std::process::id()));
        assert!(!runs(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while runs(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn the_cluster_file_survives_a_round_trip_and_its_absence_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ClusterFile::read(dir.path()).unwrap(), None);
        let file = ClusterFile {
            v: 1,
            cluster: "dev-1".into(),
            pid: Some(7),
            election: "demo".into(),
            ttl_ms: 1000,
            zones: 3,
            founders: Vec::new(),
            next: 2,
            nodes: vec![LocalNode {
                node: NodeName::new("n1").unwrap(),
                pid: None,
                addr: "127.0.0.1:7401".into(),
                socket: None,
            }],
        };
        file.write(dir.path()).unwrap();
        assert_eq!(ClusterFile::read(dir.path()).unwrap(), Some(file));
        fs::write(dir.path().join(CLUSTER_FILE), "{").unwrap();
        assert_eq!(ClusterFile::read(dir.path()).unwrap_err().exit, Exit::Tool);
    }
}
