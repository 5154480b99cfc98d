//! PostgreSQL from Debian's packages, with a data directory and a port of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{Server, free_port};
use crate::PATIENCE;

const PACKAGE: &str = "postgresql";

/// A database server; gone with its directory when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Server>,
    root: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The newest version that is installed.
fn programs() -> io::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .filter_map(|version| Some((number(&version.path())?, version.path().join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .max();
    newest.map(|(_, programs)| programs).ok_or_else(|| {
        let hint = format!("PostgreSQL is not installed; apt-get install {PACKAGE}");
        io::Error::new(io::ErrorKind::NotFound, hint)
    })
}

/// A command that runs as the user `postgres` if we are root: the server refuses to run as that.
fn command(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn done(command: &mut Command) -> io::Result<Output> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        io::Error::new(error.kind(), format!("{program}: {error}; apt-get install {PACKAGE}"))
    })?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(format!("{:?}: {said}", command.get_program())))
        }
    }
}

impl Postgres {
    /// Makes a cluster and starts its server. `settings` are `name=value` of its configuration.
    ///
    /// # Errors
    /// When it cannot be made or started; what is not installed is named with its package.
    pub fn start(settings: &[&str]) -> io::Result<Self> {
        let postgres = Self::make(settings)?;
        done(command(&postgres.programs.join("initdb")).arg("-D").arg(postgres.data()).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-locale",
            "-E",
            "UTF8",
            "-N",
        ]))?;
        postgres.up()
    }

    /// The same, with a wall clock that [`Postgres::set_clock`] can set: by Debian's libfaketime.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with_clock() -> io::Result<Self> {
        let library = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = library.map(|dir| dir.path().join("faketime/libfaketime.so.1"));
        let library = library.into_iter().find(|library| library.is_file()).ok_or_else(|| {
            let hint = "libfaketime is not installed; apt-get install libfaketime";
            io::Error::new(io::ErrorKind::NotFound, hint)
        })?;
        let mut postgres = Self::start(&[])?;
        postgres.stop();
        let file = postgres.root.path().join("clock");
        fs::write(&file, "+0s")?;
        let set = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", String::from("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", String::from("1")),
        ];
        postgres.environment = set.map(|(name, value)| (name.to_owned(), value)).to_vec();
        postgres.up()
    }

    /// Sets the wall clock of a server that was started with one: `+10s`, `-1h`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_clock(&self, offset: &str) -> io::Result<()> {
        let (file, draft) = (self.root.path().join("clock"), self.root.path().join("clock.new"));
        fs::write(&draft, offset)?;
        fs::rename(draft, file)
    }

    /// A standby that follows this server.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn standby(&self) -> io::Result<Self> {
        let standby = Self::make(&[])?;
        let source = format!("host=127.0.0.1 port={} user=postgres", self.port);
        let mut backup = command(&self.programs.join("pg_basebackup"));
        done(
            backup
                .arg("-D")
                .arg(standby.data())
                .args(["-R", "-X", "stream", "-c", "fast"])
                .args(["-d", source.as_str()]),
        )?;
        standby.up()
    }

    fn make(settings: &[&str]) -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix("tenure-postgres-").tempdir()?;
        if geteuid().is_root() {
            done(Command::new("chown").arg("postgres:postgres").arg(root.path()))?;
        }
        Ok(Self {
            server: None,
            programs: programs()?,
            port: free_port()?,
            settings: settings.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            root,
        })
    }

    fn up(mut self) -> io::Result<Self> {
        self.restart()?;
        Ok(self)
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Starts it again, on the same port and with the same data.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        let program = self.programs.join("postgres");
        // Set for the server alone: what starts it may run as somebody else.
        let mut server = command(Path::new("env"));
        server.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        server.arg(program).arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        let fixed = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=8MB",
            "max_connections=60",
            // In the data directory: the others outlive a server that is killed.
            "dynamic_shared_memory_type=mmap",
        ];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            server.args(["-c", setting]);
        }
        let mut server = Server::start(&mut server, PACKAGE, &self.root.path().join("log"))?;
        server.wait_until(|| self.sql("SELECT 1").is_ok())?;
        self.server = Some(server);
        Ok(())
    }

    /// The port of the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, for the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Runs SQL as the superuser and gives what comes of it, without headings.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, statement: &str) -> io::Result<String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
        psql.args(["-p", &self.port.to_string(), "-U", "postgres", "-c", statement, "postgres"]);
        let said = done(psql.env("PGCONNECT_TIMEOUT", "10").env_remove("PGPASSWORD"))?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// All its processes: each connection has one, in a process group of its own.
    fn processes(&self) -> Vec<Pid> {
        let Some(main) = self.server.as_ref().and_then(Server::pid) else { return Vec::new() };
        let pid = main.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        core::iter::once(main).chain(children.filter_map(Pid::from_raw)).collect()
    }

    fn signal_all(&self, signal: Signal) {
        for process in self.processes() {
            // One that has ended needs no signal.
            let _ = kill_process(process, signal);
        }
    }

    /// Freezes all of it.
    pub fn freeze(&self) {
        // First the one that could start others.
        self.signal_all(Signal::STOP);
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Kills all of it, as a crash of the machine would.
    pub fn crash(&mut self) {
        self.freeze();
        let processes = self.processes();
        for process in &processes {
            let _ = kill_process(*process, Signal::KILL);
        }
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
        // Whoever survives its parent for a moment would be in the way of the next one.
        let begun = Instant::now();
        while processes.iter().any(|pid| is_alive(*pid)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it in good order, without waiting for its clients.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.end_with(Signal::INT);
        }
    }
}

/// A zombie that nobody has buried yet is dead.
fn is_alive(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    state.is_ok_and(|state| !state.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        if let Some(mut server) = self.server.take() {
            // At once, but not so fast that it leaves its shared memory behind.
            server.end_with(Signal::QUIT);
        }
    }
}
