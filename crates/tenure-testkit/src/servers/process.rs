//! A server as a child process.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// A port of the loopback interface that nobody uses at the moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running server; killed when it is dropped. What it says is in a file, for a test that
/// fails.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a command whose output goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started; a program that is not installed is named with its package.
    pub fn start(command: &mut Command, package: &str, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            let hint = format!("cannot start {program}: {error}; apt-get install {package}");
            io::Error::new(error.kind(), hint)
        })?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits until something answers on a port.
    ///
    /// # Errors
    /// With the end of its log, when it has ended or does not answer in time.
    pub fn wait_for_port(&mut self, port: u16) -> io::Result<()> {
        self.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Waits until it is ready in the way that `ready` tells.
    ///
    /// # Errors
    /// As [`Server::wait_for_port`].
    pub fn wait_until(&mut self, ready: impl Fn() -> bool) -> io::Result<()> {
        let begun = Instant::now();
        while !ready() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let tail = self.last_words();
                let why = format!("the server is not ready ({ended:?}); last lines first:\n{tail}");
                return Err(io::Error::other(why));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of its log, the last line first.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // A process that has ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// Sends it the signal that it takes for an order to end, and waits until it has.
    pub fn end_with(&mut self, signal: Signal) {
        self.signal(signal);
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
