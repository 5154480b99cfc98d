//! What the columns need beside the wrappers: a server each, and a way to it that can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::process::leashed;
use crate::failure::{Failure, Outcome};
use crate::install;

const PATIENCE: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Redis,
    Etcd,
}

/// One server, killed when it is dropped.
pub(super) struct Server {
    make: Make,
    dir: PathBuf,
    pub(super) port: u16,
    peer_port: u16,
    child: Option<Child>,
}

fn cannot(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot {what}"), why, "see its log in the directory of the bench")
}

/// A port that is free now.
pub(super) fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|why| cannot("find a free port", why))
}

/// Runs a program to its end; gives what it said.
pub(super) fn ask(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|why| cannot(&format!("run {name}"), why))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(cannot(&format!("run {name}"), String::from_utf8_lossy(&output.stderr)))
}

impl Server {
    pub(super) fn start(make: Make, dir: &Path) -> Outcome<Self> {
        let dir = dir.join("server");
        std::fs::create_dir_all(&dir).map_err(|why| cannot("make a directory", why))?;
        let (port, peer_port) = (free_port()?, free_port()?);
        let mut server = Self { make, dir, port, peer_port, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Starts it, with whatever data it has, and waits until it answers.
    pub(super) fn restart(&mut self) -> Outcome {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(self.port), url(self.peer_port));
        let (program, words) = match self.make {
            Make::Redis => (
                "redis-server",
                format!("--port {} --bind 127.0.0.1 --appendonly yes --save ''", self.port),
            ),
            Make::Etcd => (
                "etcd",
                format!(
                    "--data-dir data --listen-client-urls {client} --advertise-client-urls \
                     {client} --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} \
                     --initial-cluster default={peer}"
                ),
            ),
        };
        let file = install::find(program);
        let file = file.ok_or_else(|| cannot(&format!("find {program}"), "it is not on PATH"))?;
        let words = words.split_whitespace().map(|word| word.trim_matches('\''));
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log"));
        let log = log.map_err(|why| cannot("write a log", why))?;
        let child = leashed(file.as_os_str())
            .args(words)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|why| cannot("write a log", why))?)
            .stderr(log)
            .spawn();
        self.child = Some(child.map_err(|why| cannot(&format!("start {program}"), why))?);
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            if Instant::now() > until {
                return Err(cannot(&format!("reach {program}"), "it does not answer"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        match self.make {
            Make::Redis => self.redis(&["PING"]).is_ok_and(|said| said.contains("PONG")),
            Make::Etcd => self.etcdctl(&["endpoint", "health"]).is_ok(),
        }
    }

    pub(super) fn redis(&self, words: &[&str]) -> Outcome<String> {
        ask(Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words))
    }

    pub(super) fn etcdctl(&self, words: &[&str]) -> Outcome<String> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]);
        ask(command.args(words))
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the lease of whoever holds the election, as an operator would.
    pub(super) fn revoke(&self) -> Outcome {
        match self.make {
            Make::Redis => {
                let keys = self.redis(&["--scan", "--pattern", "*lease:demo"])?;
                let key = keys.lines().next().unwrap_or_default();
                self.redis(&["DEL", key]).map(drop)
            }
            Make::Etcd => {
                let first =
                    ["get", "", "--from-key", "--sort-by=CREATE", "--limit=1", "-w", "json"];
                let said: serde_json::Value = serde_json::from_str(&self.etcdctl(&first)?)
                    .map_err(|why| cannot("read what etcdctl says", why))?;
                let lease = said["kvs"][0]["lease"].as_i64().unwrap_or(0);
                self.etcdctl(&["lease", "revoke", &format!("{lease:x}")]).map(drop)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way to a server that can be cut: then nothing gets through, and nothing is said about it.
pub(super) struct Way {
    pub(super) port: u16,
    cut: Arc<AtomicBool>,
}

impl Way {
    pub(super) fn to(target: u16) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(|why| cannot("listen", why))?;
        let port = listener.local_addr().map_err(|why| cannot("listen", why))?.port();
        let cut = Arc::<AtomicBool>::default();
        let is_cut = Arc::clone(&cut);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
                let _ = (stream.set_nodelay(true), there.set_nodelay(true));
                for (from, to) in [(&stream, &there), (&there, &stream)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let is_cut = Arc::clone(&is_cut);
                    thread::spawn(move || pass(from, to, &is_cut));
                }
            }
        });
        Ok(Self { port, cut })
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        // What is cut is lost, and the connection stays as if nothing had happened.
        if !cut.load(Ordering::SeqCst) && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    if !cut.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}
