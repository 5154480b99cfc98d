//! Fetches what a bare Debian machine lacks, and says so.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, Outcome};

/// Whether the package lists were refreshed by this run already.
static LISTS_ARE_FRESH: AtomicBool = AtomicBool::new(false);

/// The full path of a program on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Makes sure `git` can be called.
pub(crate) fn git() -> Outcome {
    if find("git").is_some() {
        return Ok(());
    }
    package("git", "the tidy checks read the list of tracked files from it")
}

/// Makes sure `cargo fmt` and `cargo clippy` can be called.
pub(crate) fn components() -> Outcome {
    for (component, program, subcommand) in
        [("rustfmt", "cargo-fmt", "fmt"), ("clippy", "cargo-clippy", "clippy")]
    {
        let works = find(program).is_some()
            && quiet(cargo().args([subcommand, "--version"]).stdin(Stdio::null()));
        if works {
            continue;
        }
        println!(
            "    {component} is missing: adding it with rustup (rust-toolchain.toml names it)"
        );
        let added = find("rustup").is_some()
            && Command::new("rustup")
                .args(["component", "add", component])
                .status()
                .is_ok_and(|status| status.success());
        if !added {
            return Err(Failure::new(
                format!("cannot run `cargo {subcommand}`"),
                format!(
                    "the Rust component {component} is not installed and rustup could not add it"
                ),
                format!("run `rustup component add {component}`, then try again"),
            ));
        }
    }
    Ok(())
}

/// Makes sure `cargo nextest` can be called: it gives each test a process and a time limit, and
/// repeats what fails. Where it is missing it is built, once, below the target directory.
pub(crate) fn nextest() -> Outcome {
    let works = || quiet(cargo().args(["nextest", "--version"]).stdin(Stdio::null()));
    if works() {
        return Ok(());
    }
    println!("    cargo-nextest is missing: building it (about five minutes, once)");
    let mut install = cargo();
    install.args(["install", "--locked", "--quiet", "cargo-nextest", "--root"]).arg(tools());
    let status = install.stdin(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) && works() {
        return Ok(());
    }
    Err(Failure::new(
        "cannot run `cargo nextest`",
        "it is not installed, and cargo could not build it; see above",
        "run `cargo install --locked cargo-nextest`, then try again",
    ))
}

/// Where programs go that only the tests need.
fn tools() -> PathBuf {
    workspace().join("target/tools")
}

/// What the tests of the stores start and call: program, Debian package, and what for.
const SERVERS: [(&str, &str, &str); 11] = [
    ("redis-server", "redis-server", "the tests hold elections on a real Redis"),
    ("redis-sentinel", "redis-sentinel", "the tests fail over between real Redis servers"),
    ("openssl", "openssl", "the tests make certificates with it"),
    ("etcd", "etcd-server", "the tests hold elections on a real etcd"),
    ("etcdctl", "etcd-client", "the tests break in on etcd with it"),
    ("java", "default-jre-headless", "ZooKeeper runs on it"),
    // No program but an archive; a full path is found as it is.
    ("/usr/share/java/zookeeper.jar", "zookeeper", "the tests hold elections on a real ZooKeeper"),
    // Its programs lie in a directory with the version in its name.
    ("/usr/share/doc/postgresql/copyright", "postgresql", "the tests hold elections on it"),
    ("pgbouncer", "pgbouncer", "the tests put a pooler before PostgreSQL"),
    ("faketime", "faketime", "the tests set the clock of PostgreSQL with it"),
    ("redis-cli", "redis-tools", "the tests of the fence for Redis call it"),
];

/// Makes sure that the servers can be started.
pub(crate) fn servers() -> Outcome {
    for (program, name, purpose) in SERVERS {
        if find(program).is_none() {
            let _quiet = NoServices::begin();
            package(name, purpose)?;
        }
    }
    moto()
}

/// Moto speaks as S3 does. It is a program in Python that no Debian package has in a version that
/// honours conditional writes; the tests look for it in the same directory.
fn moto() -> Outcome {
    const MOTO: [&str; 3] = ["moto[s3]==5.2.1", "flask", "flask-cors"];
    let dir = workspace().join("target/moto");
    let works = || {
        let mut python = Command::new("python3");
        python.args(["-c", "import boto3, moto.server"]).stdin(Stdio::null());
        if dir.is_dir() {
            python.env("PYTHONPATH", &dir);
        }
        quiet(&mut python)
    };
    if works() {
        return Ok(());
    }
    let purpose = "the tests of the fence for objects run a store that speaks as S3 does";
    if !quiet(Command::new("python3").args(["-m", "pip", "--version"]).stdin(Stdio::null())) {
        package("python3-pip", purpose)?;
    }
    println!("    installing {} in {}: {purpose}", MOTO[0], dir.display());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&dir).args(MOTO);
    // A first attempt that went wrong is no reason for a second one to fail.
    let status = pip.arg("--upgrade").stdin(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) && works() {
        return Ok(());
    }
    Err(Failure::new(
        format!("{} cannot be installed ({purpose})", MOTO[0]),
        "pip failed; see above",
        format!("run `python3 -m pip install --target {} '{}'`", dir.display(), MOTO.join("' '")),
    ))
}

/// Makes sure that the stores' usual clients can be installed beside ours.
pub(crate) fn python() -> Outcome {
    // The module that makes environments is a package of its own; it has no program.
    let works = quiet(Command::new("python3").args(["-c", "import ensurepip, venv"]));
    if works { Ok(()) } else { package("python3-venv", "the usual clients are Python's") }
}

/// While this lives, no package that is installed starts a service: Debian asks this program
/// before it starts one.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Self {
        use std::os::unix::fs::PermissionsExt;
        // One that is there already is the machine's own, and stays.
        let ours = !Path::new(POLICY).exists()
            && fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).is_ok();
        Self { ours }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // A second attempt would not do better.
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Installs one Debian package, as root only.
fn package(name: &str, purpose: &str) -> Outcome {
    let by_hand = format!("run `apt-get install {name}` as root, then try again");
    let missing = format!("the Debian package {name} is missing ({purpose})");
    if find("apt-get").is_none() {
        return Err(Failure::new(missing, "there is no apt-get on this machine", by_hand));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(missing, "only root can install it", by_hand));
    }
    refresh_lists();
    println!("    installing the Debian package {name}: {purpose}");
    let status = apt(["install", "-y", "--no-install-recommends", "-qq", name]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(missing, format!("apt-get ended with {status}"), by_hand)),
        Err(error) => Err(Failure::new(missing, error, by_hand)),
    }
}

/// The path of a program that lives in a Debian package.
///
/// When it is not on `PATH`, the package is downloaded with apt-get and
/// unpacked below `cache`. It is not installed: that needs no root, and a
/// server package starts no system service behind the user's back.
///
/// # Errors
/// When the program is nowhere and the package cannot be had.
pub(crate) fn unpacked(
    program: &str,
    package: &str,
    purpose: &str,
    cache: &Path,
) -> Outcome<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    let root = cache.join(package);
    let unpacked = root.join("usr/bin").join(program);
    if unpacked.is_file() {
        return Ok(unpacked);
    }
    let what = format!("cannot get {program} from the Debian package {package} ({purpose})");
    let next = format!("install it by hand (`apt-get install {package}`), then try again");
    let fail = |why: String| Failure::new(what.clone(), why, next.clone());
    if find("apt-get").is_none() || find("dpkg").is_none() {
        return Err(fail("apt-get and dpkg are not on this machine".into()));
    }
    eprintln!("fetching the Debian package {package}: {purpose}");
    eprintln!("  unpacked in {}, not installed: no service is started", root.display());
    fs::create_dir_all(&root).map_err(|error| fail(error.to_string()))?;
    let mut got = download(package, &root);
    if !got {
        refresh_lists();
        got = download(package, &root);
    }
    if !got {
        return Err(fail("`apt-get download` failed".into()));
    }
    let archive = fs::read_dir(&root)
        .map_err(|error| fail(error.to_string()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .ok_or_else(|| fail("apt-get downloaded nothing".into()))?;
    if !quiet(Command::new("dpkg").arg("-x").arg(&archive).arg(&root)) {
        return Err(fail(format!("`dpkg -x {}` failed", archive.display())));
    }
    if !quiet(Command::new(&unpacked).arg("--version")) {
        return Err(fail(format!("{} does not run", unpacked.display())));
    }
    Ok(unpacked)
}

fn download(package: &str, into: &Path) -> bool {
    // As root apt drops to a user of its own, who may not write here; running
    // it as root is what it would fall back to after a warning.
    quiet(apt(["-o", "APT::Sandbox::User=root", "-qq", "download", package]).current_dir(into))
}

fn refresh_lists() {
    if LISTS_ARE_FRESH.swap(true, Ordering::Relaxed) || !rustix::process::geteuid().is_root() {
        return;
    }
    eprintln!("    refreshing Debian's package lists (apt-get update, once)");
    let refreshed = apt(["update", "-qq"]).status().is_ok_and(|status| status.success());
    if !refreshed {
        eprintln!("    apt-get update failed; going on with the lists as they are");
    }
}

fn apt<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// A cargo of the same toolchain, without what the outer cargo set for xtask, that finds the
/// subcommands which were built for the tests.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let of_xtask = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST")
        });
        if of_xtask {
            command.env_remove(name);
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([tools().join("bin")]);
    if let Ok(places) = env::join_paths(places) {
        command.env("PATH", places);
    }
    command
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    let root = workspace();
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The root directory of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
