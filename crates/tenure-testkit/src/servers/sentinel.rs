//! Redis with replicas, under three sentinels.

use std::{
    fs, io,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    process::{Server, free_port},
    redis::{Redis, ask},
};
use crate::PATIENCE;

/// By which name the sentinels know the primary.
const NAME: &str = "mymaster";
/// How long a primary must be silent to count as down, in milliseconds.
const DOWN_AFTER: u32 = 500;

/// A sentinel that a busy machine did not run for 2 s watches only, for so long.
const TILT: Duration = Duration::from_secs(30);

/// A primary, a replica and three sentinels; killed when it is dropped.
#[derive(Debug)]
pub struct Sentinels {
    /// All instances of Redis; who of them is the primary is for the sentinels to say.
    pub servers: Vec<Redis>,
    sentinels: Vec<(u16, Server)>,
}

impl Sentinels {
    /// Starts them with their data in `dir`, and waits until the sentinels know each other and
    /// the replica.
    ///
    /// # Errors
    /// When something is not installed or does not get ready.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let options = ["save", "", "appendonly", "no", "repl-diskless-sync-delay", "0"];
        let primary = Redis::start(&dir.join("r0"), &options)?;
        let mut replica = Redis::start(&dir.join("r1"), &options)?;
        replica.kill();
        replica.restart_as(Some(primary.port()))?;
        let mut sentinels = Vec::new();
        for at in 0..3 {
            let (port, own) = (free_port()?, dir.join(format!("s{at}")));
            fs::create_dir_all(&own)?;
            // Sentinel rewrites this file.
            let file = own.join("sentinel.conf");
            fs::write(
                &file,
                format!(
                    "port {port}\nbind 127.0.0.1\ndir {}\n\
                     sentinel monitor {NAME} 127.0.0.1 {} 2\n\
                     sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n\
                     sentinel failover-timeout {NAME} 2000\n",
                    own.display(),
                    primary.port()
                ),
            )?;
            let mut command = Command::new("redis-sentinel");
            let log = own.join("log");
            let mut server = Server::start(command.arg(&file), "redis-sentinel", &log)?;
            server.wait_for_port(port)?;
            sentinels.push((port, server));
        }
        let group = Self { servers: vec![primary, replica], sentinels };
        group.wait("three sentinels and a replica", || group.is_complete())?;
        Ok(group)
    }

    /// Names the sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        let at: Vec<_> = self.ports().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{NAME}", at.join(","))
    }

    /// Where the sentinels listen.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.sentinels.iter().map(|(port, _)| *port)
    }

    /// From now on no sentinel reaches this server; whoever is connected to it goes on. Nobody
    /// new gets in without [`Sentinels::PASSWORD`].
    ///
    /// # Errors
    /// When the server cannot be told.
    pub fn cut_off(&self, at: usize) -> io::Result<()> {
        let server = &self.servers[at];
        let clients = server.ask(&["CLIENT", "LIST"])?;
        server.ask(&["CONFIG", "SET", "requirepass", Self::PASSWORD])?;
        for client in clients.lines().filter(|client| client.contains(" name=sentinel-")) {
            let id = client.split(['=', ' ']).nth(1).unwrap_or_default();
            ask(server.port(), &["-a", Self::PASSWORD], &["CLIENT", "KILL", "ID", id])?;
        }
        Ok(())
    }

    /// What a server wants to hear after it was cut off.
    pub const PASSWORD: &str = "cut-off";

    fn is_complete(&self) -> bool {
        self.sentinels.iter().all(|(port, _)| {
            let quorum = ask(*port, &[], &["SENTINEL", "CKQUORUM", NAME]).unwrap_or_default();
            let replicas = ask(*port, &[], &["SENTINEL", "REPLICAS", NAME]).unwrap_or_default();
            // Exactly that: a replica that is down has further flags.
            let up = replicas.contains("\nflags\nslave\n");
            quorum.contains("3 usable") && up && replicas.contains("master-link-status\nok")
        })
    }

    /// Place of the server that all sentinels name as the primary.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        let mut named = self.sentinels.iter().map(|(port, _)| {
            let answer = ask(*port, &[], &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
            answer.lines().nth(1)?.parse::<u16>().ok()
        });
        let first = named.next()??;
        named.all(|port| port == Some(first)).then_some(())?;
        self.servers.iter().position(|server| server.port() == first)
    }

    /// Waits until all sentinels name another primary than this one.
    ///
    /// # Errors
    /// When that does not come in time.
    pub fn wait_for_switch(&self, old: usize) -> io::Result<usize> {
        self.wait("another primary", || self.primary().is_some_and(|now| now != old))?;
        self.primary().ok_or_else(|| io::Error::other("the sentinels disagree again"))
    }

    /// Starts a killed server again as a replica of the primary, and waits until every sentinel
    /// would promote it.
    ///
    /// # Errors
    /// When that does not come in time.
    pub fn revive(&mut self, at: usize) -> io::Result<()> {
        let primary = self.primary().map(|primary| self.servers[primary].port());
        self.servers[at].restart_as(primary)?;
        self.wait("the replica", || self.is_complete())
    }

    fn wait(&self, what: &str, ready: impl Fn() -> bool) -> io::Result<()> {
        let begun = Instant::now();
        while !ready() {
            if begun.elapsed() > PATIENCE + 2 * TILT {
                let words = self.sentinels.iter().map(|(_, server)| server.last_words());
                let words = words.collect::<Vec<_>>().join("\n\n");
                let why = format!("the sentinels do not see {what}; last lines first:\n{words}");
                return Err(io::Error::other(why));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
