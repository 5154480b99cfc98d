//! The directory of a local cluster: one supervisor at a time, addresses that stay.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, Write},
    net::TcpListener,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use tenure_core::{ElectionName, NodeName};

use super::{ELECTION, MANY, NODES, Plan};
use crate::{
    discover::{ClusterFile, Founder, LocalNode},
    error::{Exit, Failure, Outcome},
    output::time,
};

const LOCK: &str = "dev.lock";
const SOCKET: &str = "dev.sock";
/// Ports that the kernel does not give out by itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Longest path that a unix socket takes, with room to spare.
const LONGEST_SOCKET: usize = 100;

/// The directory, held by this process.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) file: ClusterFile,
    /// Held as long as this process lives.
    _lock: File,
    /// Makes short paths for sockets in deep directories.
    handle: File,
}

impl Home {
    /// Takes the directory, and reads or plans the cluster in it.
    pub(super) fn open(plan: &Plan) -> Outcome<Self> {
        let dir = &plan.dir;
        let unusable = |error: &io::Error| {
            let what = format!("cannot use the directory {}", dir.display());
            let failure = Failure::io(what, error, "give another one: tenure dev --dir DIR");
            match error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Failure {
                    exit: Exit::Usage,
                    why: String::from("it is something else than a directory"),
                    ..failure
                },
                _ => failure,
            }
        };
        create(dir).map_err(|error| unusable(&error))?;
        let dir = fs::canonicalize(dir).map_err(|error| unusable(&error))?;
        let handle = File::open(&dir).map_err(|error| unusable(&error))?;
        owned_by_us(&dir, &handle)?;
        let lock = lock(&dir)?;
        let file = match ClusterFile::read(&dir)? {
            Some(file) => revise(file, plan)?,
            None => found(plan).map_err(|error| unusable(&error))?,
        };
        Ok(Self { dir, file, _lock: lock, handle })
    }

    /// Where requests are taken.
    pub(super) fn control_socket(&self) -> PathBuf {
        short(&self.dir, &self.handle)
    }

    /// Where a node keeps its data.
    pub(super) fn data_dir(&self, name: &NodeName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// Where a node's log lines go.
    pub(super) fn log_file(&self, name: &NodeName) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// Writes down how things stand.
    pub(super) fn save(&self) -> Outcome<()> {
        self.file.write(&self.dir).map_err(|error| {
            let what = format!("cannot write to {}", self.dir.display());
            Failure::io(what, &error, "free space, or give another directory with --dir")
        })
    }

    /// A new node with a name never used and a free port.
    pub(super) fn add(&mut self) -> Outcome<LocalNode> {
        let listener = free_port().map_err(|error| no_port(&error))?;
        let addr = listener.local_addr().map_err(|error| no_port(&error))?.to_string();
        let node = LocalNode { node: numbered(self.file.next), pid: None, addr, socket: None };
        self.file.next += 1;
        self.file.nodes.push(node.clone());
        Ok(node)
    }
}

/// Where another process finds the supervisor of a directory. The file must be kept as long as
/// the path is used.
pub(super) fn control_socket_of(dir: &Path) -> io::Result<(PathBuf, File)> {
    let handle = File::open(dir)?;
    Ok((short(dir, &handle), handle))
}

/// The socket's path, through a descriptor when the plain one is too long for a socket.
fn short(dir: &Path, handle: &File) -> PathBuf {
    let plain = dir.join(SOCKET);
    if plain.as_os_str().len() <= LONGEST_SOCKET {
        return plain;
    }
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), handle.as_raw_fd())).join(SOCKET)
}

fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir.join("logs"))
}

/// In a shared directory like /tmp, somebody else may have put ours there.
fn owned_by_us(dir: &Path, handle: &File) -> Outcome<()> {
    let owner = handle.metadata().map(|about| about.uid()).unwrap_or(u32::MAX);
    let us = rustix::process::geteuid().as_raw();
    if owner == us || us == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Denied,
        format!("{} belongs to somebody else", dir.display()),
        format!("its owner is user {owner}, this is user {us}"),
        "give a directory of your own: tenure dev --dir DIR",
    ))
}

fn lock(dir: &Path) -> Outcome<File> {
    let path = dir.join(LOCK);
    let failed = |error: &io::Error| {
        let what = format!("cannot lock {}", path.display());
        Failure::io(what, error, "give another directory: tenure dev --dir DIR")
    };
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed(&error))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = lock.read_to_string(&mut pid);
        return Err(Failure::new(
            Exit::Conflict,
            format!("a local cluster runs already in {}", dir.display()),
            format!("tenure dev with pid {} looks after it", pid.trim()),
            "look at it: tenure dev status; stop it: tenure dev down; or use another --dir",
        ));
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(|error| failed(&error))?;
    Ok(lock)
}

/// A cluster that was here before goes on with its nodes and addresses.
fn revise(mut file: ClusterFile, plan: &Plan) -> Outcome<ClusterFile> {
    for node in &mut file.nodes {
        node.pid = None;
        node.socket = None;
    }
    if let Some(ttl) = plan.ttl {
        file.ttl_ms = time::millis(ttl.get());
    }
    if let Some(election) = &plan.election {
        file.election = election.to_string();
    }
    file.zones = plan.zones.unwrap_or(file.zones);
    let wanted = plan.nodes.map_or(file.nodes.len(), usize::from);
    if wanted < file.nodes.len() {
        return Err(Failure::usage(
            format!("{} holds a cluster of {} nodes", plan.dir.display(), file.nodes.len()),
            format!("--nodes {wanted} would leave some of them out without asking the others"),
            "start it without --nodes and use tenure dev remove, or give another --dir",
        ));
    }
    while file.nodes.len() < wanted {
        let addr = free_port().and_then(|listener| listener.local_addr());
        let addr = addr.map_err(|error| no_port(&error))?.to_string();
        let node = numbered(file.next);
        file.next += 1;
        file.nodes.push(LocalNode { node, pid: None, addr, socket: None });
    }
    Ok(file)
}

/// A new cluster on free ports.
fn found(plan: &Plan) -> io::Result<ClusterFile> {
    let count = plan.nodes.unwrap_or(NODES);
    // All ports are held until all are found, so that no two nodes get the same.
    let listeners: Vec<_> = (0..count).map(|_| free_port()).collect::<io::Result<_>>()?;
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
    let addresses: Vec<String> = addresses.collect::<io::Result<_>>()?;
    let nodes: Vec<_> = (1..)
        .zip(addresses)
        .map(|(number, addr)| LocalNode { node: numbered(number), pid: None, addr, socket: None })
        .collect();
    let founders = nodes.iter().take(usize::from(count.min(plan.voters.into())));
    let founders =
        founders.map(|node| Founder { node: node.node.clone(), addr: node.addr.clone() });
    Ok(ClusterFile {
        v: 1,
        cluster: format!("dev-{:08x}", chance() & 0xffff_ffff),
        pid: None,
        election: plan.election.as_ref().map_or(ELECTION, ElectionName::as_str).to_owned(),
        ttl_ms: plan.ttl.map_or(usual_ttl_ms(count), |ttl| time::millis(ttl.get())),
        zones: plan.zones.unwrap_or(0),
        founders: founders.collect(),
        next: u32::from(count) + 1,
        nodes,
    })
}

fn usual_ttl_ms(nodes: u16) -> u64 {
    if nodes < MANY { 1_000 } else { 3_000 }
}

#[allow(clippy::expect_used)]
fn numbered(number: u32) -> NodeName {
    NodeName::new(format!("n{number}")).expect("a letter and a number make a good name")
}

/// Listens on a port that is free now. It is chosen outside the range from which the kernel
/// takes ports for outgoing connections, so that it is likely to be free after a restart, too.
fn free_port() -> io::Result<TcpListener> {
    let count = u64::from(PORTS.end - PORTS.start);
    for _ in 0..256 {
        let offset = u16::try_from(chance() % count).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORTS.start + offset)) {
            return Ok(listener);
        }
    }
    TcpListener::bind(("127.0.0.1", 0))
}

fn no_port(error: &io::Error) -> Failure {
    Failure::io("no free port on 127.0.0.1", error, "stop some programs that listen on ports")
}

/// A random number: the standard library seeds its hash maps with the system's randomness.
fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &Path, nodes: Option<u16>) -> Plan {
        Plan { dir: dir.to_owned(), nodes, voters: 5, zones: None, ttl: None, election: None }
    }

    #[test]
    fn addresses_survive_a_restart_and_names_are_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = Home::open(&plan(dir.path(), None)).unwrap();
        assert_eq!((home.file.nodes.len(), home.file.founders.len()), (5, 5));
        assert_eq!(home.add().unwrap().node.as_str(), "n6");
        home.file.nodes.pop();
        assert_eq!(home.add().unwrap().node.as_str(), "n7");
        home.save().unwrap();
        let before = home.file.clone();
        drop(home);
        assert_eq!(Home::open(&plan(dir.path(), None)).unwrap().file, before);
    }

    #[test]
    fn more_nodes_than_voters_join_later() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&plan(dir.path(), Some(7))).unwrap();
        assert_eq!((home.file.nodes.len(), home.file.founders.len()), (7, 5));
    }

    #[test]
    fn a_second_supervisor_is_told_about_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Home::open(&plan(dir.path(), None)).unwrap();
        let second = Home::open(&plan(dir.path(), None)).unwrap_err();
        assert_eq!(second.exit, Exit::Conflict);
        assert!(second.why.contains(&std::process::id().to_string()), "{second:?}");
    }

    #[test]
    fn fewer_nodes_than_there_are_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Home::open(&plan(dir.path(), Some(3))).unwrap().save().unwrap();
        let refused = Home::open(&plan(dir.path(), Some(2))).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(Home::open(&plan(dir.path(), Some(4))).unwrap().file.nodes.len(), 4);
    }

    #[test]
    fn deep_directories_have_a_short_socket() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(90)).join("e".repeat(60));
        let home = Home::open(&plan(&deep, Some(1))).unwrap();
        let path = home.control_socket();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (found, _handle) = control_socket_of(&deep).unwrap();
        std::os::unix::net::UnixStream::connect(found).unwrap();
        drop(listener);
        assert!(deep.join(SOCKET).exists());
    }
}
