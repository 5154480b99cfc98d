//! The command that the wrappers run: says that it is alive, and does nothing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::signal::{SigSet, Signal};

use crate::bench::process::now;
use crate::failure::{Failure, Outcome};

/// Environment: whose command this is, and whose bench.
pub(super) const OWNER: &str = "BENCH_OWNER";
pub(super) const BENCH: &str = "BENCH_PID";

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Ends when it is asked to.
    Meek,
    /// Does not hear SIGTERM, SIGINT and SIGHUP.
    Stubborn,
    /// Leaves a process behind, in a session of its own and deaf as well, and ends.
    Daemon,
    /// What it leaves behind.
    Limb,
}

impl Kind {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// This very program as such a command.
    pub(super) fn command(self, log: &Path) -> Outcome<Vec<String>> {
        let program = std::env::current_exe().map_err(cannot)?;
        let words = [program.as_path(), "child".as_ref(), "wrapper-worker".as_ref(), log];
        let words = words.iter().map(|word| word.display().to_string());
        Ok(words.chain([self.name()]).collect())
    }
}

/// One process of a command.
#[derive(Args)]
pub(crate) struct WorkerArgs {
    /// Where it says that it is alive
    log: PathBuf,
    kind: Kind,
}

fn cannot(why: std::io::Error) -> Failure {
    Failure::new("a command of the bench does not work", why, "run it by hand")
}

/// Lives until it is ended, or its bench is gone.
pub(crate) fn run(args: &WorkerArgs) -> Outcome {
    if matches!(args.kind, Kind::Stubborn | Kind::Limb) {
        let deaf: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        deaf.thread_block().map_err(|why| cannot(why.into()))?;
    }
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let line = format!("{} {} {}\n", std::process::id(), now(), env(OWNER));
    let mut log = File::options().append(true).open(&args.log).map_err(cannot)?;
    log.write_all(line.as_bytes()).map_err(cannot)?;
    if args.kind == Kind::Daemon {
        let limb = Kind::Limb.command(&args.log)?;
        let left = Command::new("setsid").arg("--fork").args(limb).status().map_err(cannot)?;
        // Until what it left behind has spoken.
        thread::sleep(Duration::from_millis(100));
        std::process::exit(left.code().map_or(1, |code| code + 3));
    }
    let bench = PathBuf::from(format!("/proc/{}", env(BENCH)));
    while bench.exists() && args.log.exists() {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
