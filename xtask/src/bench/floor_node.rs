//! One process of the floor: the hops and the disk flushes of a failover, and
//! nothing else. No Raft library, no serialisation, no runtime; one thread,
//! one `poll`, messages of a fixed size, a log file preallocated with zeros.
//!
//! Roles are fixed by number, as in a cluster where each voter is a candidate
//! too: 0 leads the quorum, the last one leads the election, 1 is next in both.
//! When 0 dies, 1 leads the quorum and 2 is the successor that is told.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use rustix::event::{PollFd, PollFlags, poll};

use super::process::now;
use crate::failure::{Failure, Outcome};

/// A message of ours with its header is about this long.
const MESSAGE: usize = 128;
/// A log entry of ours with its checksum is about this long.
const ENTRY: usize = 256;
/// Bytes preallocated for the log.
const LOG: u64 = 1 << 20;

/// Which death, or request, the process plays its part in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Play {
    /// The election's leader dies: its pidfd tells, one entry releases and grants.
    Leader,
    /// The quorum's leader dies: EOF tells; pre-vote, vote, entry.
    Quorum,
    /// The election's leader asks for a successor: one entry.
    HandOver,
}

/// Arguments of the hidden child.
#[derive(Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    id: usize,
    #[arg(long)]
    nodes: usize,
    #[arg(long)]
    play: Play,
    /// Holds the log and the unix socket
    #[arg(long)]
    dir: PathBuf,
    /// Where in the log this round writes
    #[arg(long)]
    slot: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Append = 1,
    Appended,
    Committed,
    PreVote,
    PreVoted,
    Vote,
    Voted,
    HandOver,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Append,
        Self::Appended,
        Self::Committed,
        Self::PreVote,
        Self::PreVoted,
        Self::Vote,
        Self::Voted,
        Self::HandOver,
    ];

    fn read(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The durable log: appended to and flushed, entry by entry.
struct Log {
    file: File,
    at: u64,
}

impl Log {
    fn open(path: &Path, slot: u64) -> io::Result<Self> {
        let file =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        if file.metadata()?.len() < LOG {
            file.write_all_at(&vec![0; usize::try_from(LOG).unwrap_or_default()], 0)?;
            file.sync_all()?;
        }
        Ok(Self { file, at: slot * 4096 % LOG })
    }

    fn append(&mut self) -> io::Result<()> {
        self.file.write_all_at(&[1; ENTRY], self.at)?;
        self.file.sync_data()?;
        self.at = (self.at + ENTRY as u64) % LOG;
        Ok(())
    }
}

struct Node {
    id: usize,
    nodes: usize,
    play: Play,
    peers: Vec<Option<TcpStream>>,
    pidfds: Vec<Option<OwnedFd>>,
    log: Log,
    /// The answer being counted, and how many have come, this node's included.
    awaited: Option<Kind>,
    answers: usize,
}

/// Runs the node until its standard input ends.
pub(crate) fn run(args: &NodeArgs) -> Outcome {
    set_up(args).and_then(Node::serve).map_err(|why| {
        Failure::new("a process of the floor failed", why, "try again; report it if it stays")
    })
}

/// Joins every node to every other: TCP for messages, a unix socket for the pidfd.
fn set_up(args: &NodeArgs) -> io::Result<Node> {
    let socket = |id: usize| args.dir.join(format!("{id}.sock"));
    let log = Log::open(&args.dir.join(format!("{}.log", args.id)), args.slot)?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let _ = std::fs::remove_file(socket(args.id));
    let unix = UnixListener::bind(socket(args.id))?;
    say(&format!("port {}", tcp.local_addr()?.port()));
    let mut ports = String::new();
    io::stdin().lock().read_line(&mut ports)?;
    let ports: Vec<u16> = ports.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    if ports.len() != args.nodes {
        return Err(io::Error::other("the bench did not tell the ports"));
    }

    let mut peers: Vec<Option<TcpStream>> = (0..args.nodes).map(|_| None).collect();
    let mut pidfds: Vec<Option<OwnedFd>> = (0..args.nodes).map(|_| None).collect();
    // The unix streams may close: a pidfd stays good.
    for (id, port) in ports.iter().enumerate().take(args.id) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
        stream.write_all(&[u8::try_from(args.id).unwrap_or_default()])?;
        peers[id] = Some(stream);
        let mut local = UnixStream::connect(socket(id))?;
        local.write_all(&[u8::try_from(args.id).unwrap_or_default()])?;
        pidfds[id] = Some(getsockopt(&local, PeerPidfd)?);
        // The other side takes ours before it answers.
        local.read_exact(&mut [0])?;
    }
    for _ in args.id + 1..args.nodes {
        let mut id = [0];
        let (mut stream, _) = tcp.accept()?;
        stream.read_exact(&mut id)?;
        peers[usize::from(id[0])] = Some(stream);
        let (mut local, _) = unix.accept()?;
        local.read_exact(&mut id)?;
        pidfds[usize::from(id[0])] = Some(getsockopt(&local, PeerPidfd)?);
        local.write_all(&[1])?;
    }
    for peer in peers.iter().flatten() {
        peer.set_nodelay(true)?;
    }
    say("ready");
    Ok(Node {
        id: args.id,
        nodes: args.nodes,
        play: args.play,
        peers,
        pidfds,
        log,
        awaited: None,
        answers: 0,
    })
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What a readable descriptor belongs to.
#[derive(Clone, Copy)]
enum Source {
    Stdin,
    Peer(usize),
    Death(usize),
}

impl Node {
    fn serve(mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Stdin => {
                        let mut line = String::new();
                        if io::stdin().lock().read_line(&mut line)? == 0 {
                            return Ok(());
                        }
                        say(&format!("start {}", now()));
                        self.begin()?;
                    }
                    Source::Peer(id) => self.receive(id)?,
                    Source::Death(id) => {
                        self.pidfds[id] = None;
                        if self.play == Play::Leader && self.id == 0 {
                            self.begin()?;
                        }
                    }
                }
            }
        }
    }

    /// The first step of the play, on a death or because the bench says so.
    fn begin(&mut self) -> io::Result<()> {
        match self.play {
            Play::Leader => self.replicate(),
            Play::Quorum => self.ask(Kind::PreVote, Kind::PreVoted),
            Play::HandOver => self.send(0, Kind::HandOver),
        }
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let stdin = io::stdin();
        let mut sources = vec![Source::Stdin];
        let mut fds = vec![PollFd::new(&stdin, PollFlags::IN)];
        for (id, peer) in self.peers.iter().enumerate() {
            if let Some(peer) = peer {
                sources.push(Source::Peer(id));
                fds.push(PollFd::new(peer, PollFlags::IN));
            }
        }
        for (id, pidfd) in self.pidfds.iter().enumerate() {
            if let Some(pidfd) = pidfd {
                sources.push(Source::Death(id));
                fds.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
            }
        }
        poll(&mut fds, None)?;
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(source, _)| *source).collect())
    }

    fn receive(&mut self, from: usize) -> io::Result<()> {
        let mut message = [0; MESSAGE];
        let Some(peer) = &mut self.peers[from] else { return Ok(()) };
        if peer.read_exact(&mut message).is_err() {
            self.peers[from] = None;
            if self.play == Play::Quorum && from == 0 && self.id == 1 {
                self.begin()?;
            }
            return Ok(());
        }
        let Some(kind) = Kind::read(message[0]) else { return Ok(()) };
        match kind {
            Kind::Append | Kind::Vote => {
                self.log.append()?;
                let answer = if kind == Kind::Vote { Kind::Voted } else { Kind::Appended };
                self.send(from, answer)
            }
            Kind::PreVote => self.send(from, Kind::PreVoted),
            Kind::HandOver => self.replicate(),
            Kind::Committed => {
                self.show();
                Ok(())
            }
            Kind::Appended | Kind::PreVoted | Kind::Voted => self.count(kind),
        }
    }

    /// One more answer; with a majority the next step begins.
    fn count(&mut self, kind: Kind) -> io::Result<()> {
        if self.awaited != Some(kind) {
            return Ok(());
        }
        self.answers += 1;
        if self.answers <= self.nodes / 2 {
            return Ok(());
        }
        self.awaited = None;
        match kind {
            Kind::PreVoted => {
                self.ask(Kind::Vote, Kind::Voted)?;
                // Its own vote, while the others flush theirs.
                self.log.append()
            }
            Kind::Voted => self.replicate(),
            _ => {
                let successor = self.successor();
                self.send(successor, Kind::Committed)?;
                for id in (0..self.nodes).filter(|id| *id != successor) {
                    self.send(id, Kind::Committed)?;
                }
                self.show();
                Ok(())
            }
        }
    }

    fn successor(&self) -> usize {
        if self.play == Play::Quorum { 2 } else { 1 }
    }

    /// The entry goes out first and is flushed here while the others flush it.
    fn replicate(&mut self) -> io::Result<()> {
        self.ask(Kind::Append, Kind::Appended)?;
        self.log.append()
    }

    fn ask(&mut self, question: Kind, answer: Kind) -> io::Result<()> {
        self.awaited = Some(answer);
        self.answers = 1;
        (0..self.nodes).try_for_each(|id| self.send(id, question))
    }

    fn send(&mut self, to: usize, kind: Kind) -> io::Result<()> {
        let mut message = [0; MESSAGE];
        message[0] = kind as u8;
        match &mut self.peers[to] {
            Some(peer) => peer.write_all(&message).or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(error),
            }),
            None => Ok(()),
        }
    }

    /// The committed grant has arrived here.
    fn show(&self) {
        let what = if self.id == self.successor() { "granted" } else { "seen" };
        say(&format!("{what} {}", now()));
    }
}
