//! Other processes: this test binary started once more, in a role of its own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use tenure_core::Incarnation;

use super::{PATIENCE, Rig, client_hello, framed, identity, node_id};
use crate::{
    client::{Client, ClientOptions, Endpoint},
    transport::{Settings, TransportEvent},
    wire::MAGIC,
};

const ROLE: &str = "TENURE_TEST_ROLE";
const ADDRESS: &str = "TENURE_TEST_ADDRESS";
const SOCKET: &str = "TENURE_TEST_SOCKET";
/// Incarnation of the processes here.
pub(super) const PROCESS: Incarnation = Incarnation::from_random(0xdead);

/// A process in a role; killed when dropped.
pub(super) struct Other {
    child: Child,
    /// What it said when it was ready.
    pub(super) ready: String,
}

impl Other {
    /// Starts a process and waits until it is ready. Blocks.
    pub(super) fn start(role: &str, address: &str, socket: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["transport::tests::child::role", "--exact", "--nocapture", "--test-threads=1"])
            .envs([(ROLE, role), (ADDRESS, address), (SOCKET, socket)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("READY ").map(|(_, rest)| rest.trim().to_owned()));
        Self { child, ready: ready.expect("the other process is ready") }
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(what: impl std::fmt::Display) {
    println!("READY {what}");
    std::io::stdout().flush().unwrap();
}

/// Until the parent closes our stdin or kills us.
fn wait_for_the_end() {
    let _ = std::io::stdin().lines().next();
}

/// Not a test: what the other processes do.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (address, socket) = (std::env::var(ADDRESS).unwrap(), std::env::var(SOCKET).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match role.as_str() {
        "client" => runtime.block_on(client(address)),
        "node" => runtime.block_on(node(&address)),
        "parent" => parent_of_an_heir(&socket),
        "impostor" => impostor(&socket),
        "few files" => runtime.block_on(few_files()),
        other => panic!("no such role: {other}"),
    }
}

async fn client(address: String) {
    let options = ClientOptions { process: Some(PROCESS), ..ClientOptions::default() };
    let client = Client::connect(vec![Endpoint::Tcp(address)], options).await.unwrap();
    ready(client.connected().unwrap().local);
    std::future::pending::<()>().await;
}

async fn node(address: &str) {
    let mut rig = Rig::with(identity(2, PROCESS.get()), Settings::default(), "127.0.0.1:0");
    let peers = BTreeMap::from([(node_id(1), address.to_owned())]);
    rig.transport.set_peers(peers);
    rig.up(1).await;
    rig.linked(1).await;
    ready(rig.address);
    loop {
        rig.transport.send(node_id(1), &super::numbered(2, 1, 1));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection over the socket file, by hand.
fn by_hand(socket: &str, process: Incarnation, pid: u32) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = client_hello();
    (hello.incarnation, hello.host.pid) = (process, pid);
    stream.write_all(&MAGIC).unwrap();
    stream.write_all(&framed(&hello)).unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 16]).unwrap();
    stream
}

/// Leaves its connection to a child that outlives it.
fn parent_of_an_heir(socket: &str) {
    let stream = by_hand(socket, PROCESS, std::process::id());
    let inherited = OwnedFd::from(stream);
    let heir = Command::new("sleep").arg("60").stdin(inherited).stdout(Stdio::null()).spawn();
    ready(heir.unwrap().id());
    wait_for_the_end();
}

/// Speaks for a process that it is not: the one whose pid its parent has.
fn impostor(socket: &str) {
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
    let _stream = by_hand(socket, PROCESS, u32::try_from(parent).unwrap());
    ready("");
    wait_for_the_end();
}

/// A node that may open few files only. Echoes what clients ask.
async fn few_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = Some(40);
    setrlimit(Resource::Nofile, Rlimit { ..limit }).unwrap();
    // The library would protect itself by its limits; here the kernel's is to be met.
    let settings = Settings { max_clients: 1000, max_strangers: 1000, ..Settings::default() };
    let mut rig = Rig::with(identity(2, 2), settings, "127.0.0.1:0");
    ready(rig.address);
    let mut clients = BTreeMap::new();
    loop {
        match rig.events.recv().await.unwrap() {
            TransportEvent::ClientUp { client, to, .. } => {
                clients.insert(client, to);
            }
            TransportEvent::ClientDown { client } => {
                clients.remove(&client);
            }
            TransportEvent::ClientFrame { client, frame, .. } => {
                let number = frame.number;
                let reply = crate::wire::Reply::Pong;
                clients[&client].send(crate::wire::NodeFrame::Answer { number, reply });
            }
            _ => {}
        }
    }
}
