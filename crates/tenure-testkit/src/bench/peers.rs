//! The stores' usual clients, installed from their registries into a directory of their own.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const SCRIPTS: [(&str, &str); 5] = [
    ("say.py", include_str!("../../peers/say.py")),
    ("redis_lock.py", include_str!("../../peers/redis_lock.py")),
    ("kazoo_election.py", include_str!("../../peers/kazoo_election.py")),
    ("etcdctl_elect.py", include_str!("../../peers/etcdctl_elect.py")),
    ("held.py", include_str!("../../peers/held.py")),
];

/// An environment of Python with the clients, and programs that start them.
#[derive(Debug)]
pub struct Peers {
    dir: PathBuf,
}

impl Peers {
    /// Installs them.
    ///
    /// # Errors
    /// When Python or its registry is not there, with what to do about it.
    pub fn install(dir: &Path) -> io::Result<Self> {
        let venv = dir.join("venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3-venv")?;
        let pip = venv.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "redis", "kazoo"]), "python3-pip")?;
        for (name, text) in SCRIPTS {
            fs::write(dir.join(name), text)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// A program that runs one of the scripts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn python(&self, script: &str) -> io::Result<PathBuf> {
        let line = format!("exec '{}' '{}' \"$@\"", self.interpreter(), self.path(script));
        self.program(&format!("{script}.sh"), &line)
    }

    /// A program that holds `etcdctl lock`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn etcdctl_lock(&self) -> io::Result<PathBuf> {
        let line = format!(
            "ETCDCTL_API=3 exec etcdctl --endpoints \"$1\" lock --ttl $(($4 / 1000)) \"$2\" '{}' '{}'",
            self.interpreter(),
            self.path("held.py"),
        );
        self.program("etcdctl_lock.sh", &line)
    }

    /// A program that stands in `etcdctl elect`, whose lease is always 60 s long.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn etcdctl_elect(&self) -> io::Result<PathBuf> {
        self.python("etcdctl_elect.py")
    }

    fn interpreter(&self) -> String {
        self.path("venv/bin/python")
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn program(&self, name: &str, line: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

fn run(command: &mut Command, package: &str) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let hint = format!("apt-get install {package}");
    let status = command
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}; {hint}")))?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{program} ended with {status}; {hint}, or see its words above")))
}
