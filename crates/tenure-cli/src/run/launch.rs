//! The last step before the command: a fresh process of this very program that ties itself to
//! its parent and then becomes the command.
//!
//! `PR_SET_PDEATHSIG` must be set between fork and exec, by the child. The usual way is a hook
//! that runs in the forked process, which is `unsafe` because hardly anything may be done
//! there. A re-exec costs a millisecond or two and needs no such care: this is an ordinary
//! program with one thread. What it sets survives its `exec` into the command, unless the
//! command's file is setuid or has capabilities; then the kernel clears it, and the supervisor
//! and the guard remain.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use rustix::process::{Signal, getpgrp};
use tenure_core::Moment;
use tenure_quorum::clock;

use super::{machine::FAILED, signals};
use crate::{
    error::{Exit, Failure},
    output::{Color, Output},
    parent,
};

/// First argument of such a process.
pub(crate) const WORD: &str = "__launch";
/// The command is there, but cannot be executed.
pub(crate) const CANNOT: u8 = 126;
/// There is no such command.
pub(crate) const MISSING: u8 = 127;

/// What is to be set before the command begins.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The process that this one must not outlive.
    pub(crate) parent: u32,
    /// When it is too late to begin.
    pub(crate) before: Option<Moment>,
    /// The control group to begin in.
    pub(crate) cgroup: Option<PathBuf>,
    /// Standard input is a terminal that the command is to have.
    pub(crate) terminal: bool,
}

impl Launch {
    /// A command that launches `program`, found by its path.
    pub(crate) fn command(&self, program: &Path, arg0: &OsString) -> Command {
        // The program of this very process, also when its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("tenure").arg(WORD).arg(self.parent.to_string());
        command.arg(self.before.map_or(0, Moment::as_nanos).to_string());
        command.arg(self.cgroup.as_deref().unwrap_or(Path::new("-")));
        command.arg(if self.terminal { "terminal" } else { "-" });
        command.arg(program).arg(arg0);
        command
    }

    fn read(words: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut word = || words.next();
        let number = |word: OsString| word.to_str()?.parse::<u64>().ok();
        let parent = u32::try_from(number(word()?)?).ok()?;
        let before = Some(number(word()?)?).filter(|at| *at > 0).map(Moment::from_nanos);
        let cgroup = Some(word()?).filter(|path| path != "-").map(PathBuf::from);
        let terminal = word()? == "terminal";
        Some(Self { parent, before, cgroup, terminal })
    }

    fn prepare(&self) -> Result<(), Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::new(Exit::Tool, what, error, "see tenure run --help")
        };
        parent::end_with(self.parent, Signal::KILL)
            .map_err(|error| failed("the command cannot be tied to its supervisor", error))?;
        if let Some(group) = &self.cgroup {
            fs::write(group.join("cgroup.procs"), "0")
                .map_err(|error| failed("the command cannot enter its control group", error))?;
        }
        if self.terminal {
            // SIGTTOU is blocked here as in the warden, or the terminal's driver would stop this.
            // Without the terminal the command still runs, in the background.
            let _ = rustix::termios::tcsetpgrp(io::stdin(), getpgrp());
        }
        // Last of all: between the decision to start and this line the machine may have slept.
        if self.before.is_some_and(|before| clock::moment() >= before) {
            let late = io::Error::other("the lease is nearly over");
            return Err(failed("it is too late to start the command", late));
        }
        signals::release().map_err(|error| failed("signals cannot be given back", error))
    }
}

/// The whole life of such a process.
pub(crate) fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let output = Output { json: false, quiet: false, color: Color::Auto };
    let Some((launch, program, arg0)) =
        Launch::read(&mut words).and_then(|launch| Some((launch, words.next()?, words.next()?)))
    else {
        output.failure(&Failure::usage(
            "this is not for people",
            "it is a step of tenure run",
            "tenure run --help",
        ));
        return FAILED.into();
    };
    if let Err(failure) = launch.prepare() {
        output.failure(&failure);
        return FAILED.into();
    }
    let error = Command::new(&program).arg0(arg0).args(words).exec();
    output.failure(&not_started(Path::new(&program), &error));
    code_of(&error).into()
}

/// The exit code for a command that cannot be started.
pub(crate) fn code_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { MISSING } else { CANNOT }
}

/// Why a command cannot be started.
pub(crate) fn not_started(program: &Path, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "check the spelling and PATH; -c STRING runs a shell's command",
        io::ErrorKind::PermissionDenied => "chmod +x it, or name its interpreter: -- sh FILE",
        _ => "name its interpreter: -- sh FILE",
    };
    Failure::new(Exit::Tool, format!("{} cannot be started", program.display()), error, next)
}
