//! The service manager: systemd's protocol of datagrams to `NOTIFY_SOCKET`.
//!
//! It listens to the main process of a unit only, so the front speaks, also for the command.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    command::run::Notify,
    error::{Failure, Outcome},
};

/// Environment that belongs to this process and not to the command.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    proxy: Option<(UnixDatagram, String)>,
    watchdog: Option<Duration>,
    /// The warden was asked whether it lives, and has not answered.
    asked: bool,
    told: Option<Instant>,
}

impl Manager {
    /// Reads the environment.
    pub(crate) fn find(how: Notify) -> Outcome<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name.filter(|_| how != Notify::Off) else { return Ok(Self::default()) };
        Self::connect(&name, how).map_err(|error| {
            Failure::io(
                format!("cannot talk to the service manager at {}", name.to_string_lossy()),
                &error,
                "unset NOTIFY_SOCKET, or add --notify off",
            )
        })
    }

    fn connect(name: &OsStr, how: Notify) -> io::Result<Self> {
        let socket = Some((UnixDatagram::unbound()?, address(name)?));
        if how == Notify::Pass {
            let name = format!("tenure-notify-{}", std::process::id());
            let proxy = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
            proxy.set_nonblocking(true)?;
            return Ok(Self {
                socket,
                proxy: Some((proxy, format!("@{name}"))),
                ..Self::default()
            });
        }
        let micros: Option<u64> =
            std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = micros.filter(|_| ours).map(|micros| Duration::from_micros(micros) / 2);
        Ok(Self { socket, watchdog, ..Self::default() })
    }

    /// Sets up the environment of the warden, which gives it to the command.
    pub(crate) fn prepare(&self, command: &mut Command) {
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        if let Some((_, name)) = &self.proxy {
            command.env("NOTIFY_SOCKET", name);
        }
    }

    /// Tells the service manager, unless the command does.
    pub(crate) fn tell(&self, text: &str) {
        if self.proxy.is_none() {
            self.send(text.as_bytes());
        }
    }

    fn send(&self, bytes: &[u8]) {
        if let Some((socket, to)) = &self.socket {
            // A manager that does not listen is no reason to stop.
            let _ = socket.send_to_addr(bytes, to);
        }
    }

    /// Where the command talks to.
    pub(crate) fn proxy(&self) -> Option<&UnixDatagram> {
        self.proxy.as_ref().map(|(socket, _)| socket)
    }

    /// Passes on what the command said. Which process is the main one stays as it is.
    pub(crate) fn pass_on(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(length) = self.proxy().and_then(|proxy| proxy.recv(&mut bytes).ok()) {
            let lines = bytes[..length].split(|byte| *byte == b'\n');
            let kept: Vec<_> = lines.filter(|line| !line.starts_with(b"MAINPID=")).collect();
            self.send(&kept.join(&b'\n'));
        }
    }

    /// Whether it is time to ask the warden for a sign of life.
    pub(crate) fn asks(&mut self) -> bool {
        let asks = self.due() == Some(Duration::ZERO);
        self.asked |= asks;
        asks
    }

    /// The warden is alive.
    pub(crate) fn heard(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.send(b"WATCHDOG=1");
            self.told = Some(Instant::now());
        }
    }

    /// Until the next sign of life is due; none while one is waited for.
    pub(crate) fn due(&self) -> Option<Duration> {
        let every = self.watchdog.filter(|_| !self.asked)?;
        Some(self.told.map_or(Duration::ZERO, |told| every.saturating_sub(told.elapsed())))
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}
