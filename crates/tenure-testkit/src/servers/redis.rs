//! Redis, alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal};

use super::process::{Server, free_port};

/// One Redis on this machine; killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    port: u16,
    options: Vec<String>,
    server: Option<Server>,
}

impl Redis {
    /// Starts one with its data in `dir`, with options of `redis-server` without their dashes,
    /// for example `["appendonly", "yes"]`, and waits until it answers.
    ///
    /// # Errors
    /// When Redis is not installed or does not get ready.
    pub fn start(dir: &Path, options: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let options = options.iter().map(ToString::to_string).collect();
        let mut redis = Self { dir: dir.to_owned(), port: free_port()?, options, server: None };
        redis.restart()?;
        Ok(redis)
    }

    /// Starts it again, with whatever data it has, after it was killed or stopped.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self) -> io::Result<()> {
        self.restart_as(None)
    }

    /// The same, as a replica of the Redis on that port.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart_as(&mut self, replica_of: Option<u16>) -> io::Result<()> {
        self.spawn(replica_of)?;
        let port = self.port;
        let server = self.server.as_mut().ok_or_else(|| io::Error::other("not started"))?;
        // A password makes it answer otherwise, but it answers.
        server.wait_until(|| {
            let answer = ask(port, &[], &["PING"]).unwrap_or_default();
            answer.contains("PONG") || answer.contains("NOAUTH")
        })
    }

    /// Starts it without waiting until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self, replica_of: Option<u16>) -> io::Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.arg("--dir").arg(&self.dir).args(["--daemonize", "no"]);
        for pair in self.options.chunks(2) {
            command.arg(format!("--{}", pair[0])).args(&pair[1..]);
        }
        if let Some(port) = replica_of {
            command.args(["--replicaof", "127.0.0.1", &port.to_string()]);
        }
        let log = self.dir.join("log");
        self.server = Some(Server::start(&mut command, "redis-server", &log)?);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks it with its own command line.
    ///
    /// # Errors
    /// When the command cannot be started or fails.
    pub fn ask(&self, words: &[&str]) -> io::Result<String> {
        ask(self.port, &[], words)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.server.as_ref().and_then(Server::pid)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Ends it in good order: it saves its data if it is set up so.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
    }

    /// Deletes what it has saved; to be done while it does not run.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn lose_data(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.is_dir() {
                true => fs::remove_dir_all(path)?,
                false if path.extension().is_some_and(|ext| ext == "rdb") => fs::remove_file(path)?,
                false => {}
            }
        }
        Ok(())
    }
}

/// Asks whoever listens on a port in the language of Redis.
///
/// # Errors
/// When `redis-cli` cannot be started or fails.
pub fn ask(port: u16, settings: &[&str], words: &[&str]) -> io::Result<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    let asked = command.args(settings).args(words).output().map_err(|error| {
        let hint = format!("cannot start redis-cli: {error}; apt-get install redis-tools");
        io::Error::new(error.kind(), hint)
    })?;
    match asked.status.success() {
        true => Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&asked.stderr).into_owned())),
    }
}
