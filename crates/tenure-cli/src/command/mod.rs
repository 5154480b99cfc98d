//! The commands, one file each.

pub(crate) mod campaign;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod evict;
pub(crate) mod fence;
pub(crate) mod history;
pub(crate) mod leader;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod pause;
pub(crate) mod resign;
pub(crate) mod run;
pub(crate) mod status;
mod succession;
pub(crate) mod transfer;
pub(crate) mod version;
pub(crate) mod watch;

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Command, Global},
    error::{Exit, Failure, Outcome},
    log,
    output::Output,
};

/// Runs one command.
pub(crate) fn run(command: Command, global: &Global, output: Output) -> Outcome<u8> {
    match command {
        // Its exit codes are those of the command that it runs.
        Command::Run(args) => run::run(*args, global, output),
        Command::Lock(args) => run::lock(*args, global, output),
        other => run_other(other, global, output).map(Exit::code),
    }
}

fn run_other(command: Command, global: &Global, output: Output) -> Outcome {
    match command {
        // These two set up their own logging: one talks more, the other draws on the terminal.
        Command::Node(args) => node::run(*args, global, output),
        Command::Dev(args) => dev::run(args, global, output),
        other => {
            log::start(global, "warn");
            run_client(other, global, output)
        }
    }
}

fn run_client(command: Command, global: &Global, output: Output) -> Outcome {
    match command {
        Command::Campaign(args) => block_on(campaign::run(args, global, output)),
        Command::Leader(args) => client(leader::run(&args, global, output)),
        Command::Watch(args) => client(watch::run(args, global, output)),
        Command::Ls(args) => client(ls::run(&args, global, output)),
        Command::Status(args) => client(status::run(&args, global, output)),
        Command::History(args) => client(history::run(&args, global, output)),
        Command::Resign(args) => client(resign::run(&args, global, output)),
        Command::Transfer(args) => client(transfer::run(&args, global, output)),
        Command::Evict(args) => client(evict::run(&args, global, output)),
        Command::Pause(args) => client(pause::pause(&args, global, output)),
        Command::Resume(args) => client(pause::resume(&args, global, output)),
        Command::Cluster(args) => client(cluster::run(args, global, output)),
        Command::Fence(args) => fence::run(args, global, output),
        Command::Doctor(args) => block_on(doctor::run(&args, global, output)),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args, output),
        Command::Version(args) => version::run(&args, output),
        Command::Run(_) | Command::Lock(_) | Command::Node(_) | Command::Dev(_) => Ok(Exit::Yes),
    }
}

/// Runs a command that asks a cluster; ctrl-C ends it.
fn client(command: impl Future<Output = Outcome>) -> Outcome {
    block_on(async {
        let mut stop = StopSignals::listen()?;
        tokio::select! {
            outcome = command => outcome,
            _ = stop.name() => Ok(Exit::Interrupted),
        }
    })
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::io("cannot start", &error, "free some memory or file descriptors, then try again")
    })?;
    let outcome = runtime.block_on(future);
    // Whatever still runs in the background must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl StopSignals {
    /// From now on these signals do not kill.
    pub(crate) fn listen() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::io("cannot listen for signals", &error, "look at the limits of the user")
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them and says which.
    pub(crate) async fn name(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
