//! `tenure run`: a command that runs only while this instance leads.
//!
//! Three processes: the [`front`] that the user started, the [`warden`] that holds the lease,
//! and the command, its child. `front` says why there are two of ours. What is decided is
//! decided in [`machine`], which is pure; the rest is the shell around it.
//!
//! | this happens | and then |
//! |---|---|
//! | the front is killed | the warden kills everything at once, sees it dead, resigns |
//! | the front is stopped | nothing: the warden holds on, renews and supervises |
//! | the warden is killed | the command dies with it, the front kills the rest |
//! | the warden is stopped or stuck | deadman thread, then the front, kill before the deadline |
//! | both are killed at once | the command dies by the kernel's hand; a descendant that left its process group lives on, unless a service manager or `systemd-run --scope` ends the group |
//!
//! What does not hold: a process that was made by another daemon on the command's behalf
//! (`at`, `systemd-run`, a container engine) is no descendant and is not stopped; one that runs
//! as another user cannot be killed without the right to; one in an uninterruptible sleep dies
//! when the kernel lets it, and until then leadership is kept, or the alarm is raised.

mod budget;
mod cgroup;
mod contest;
mod deadman;
mod environment;
mod events;
mod front;
mod health;
mod http;
mod jobs;
pub(crate) mod launch;
mod link;
mod machine;
mod notify;
mod parse;
mod preempt;
mod report;
mod settings;
mod share;
mod sheet;
mod signals;
mod store;
mod tree;
mod vigil;
mod warden;

use std::os::unix::process::CommandExt;

use tenure_core::ElectionName;

pub(crate) use parse::{
    Compat, Listen, OncePer, Signals, Words, assignment, listen, once_per, signal, signals, words,
};

use crate::{
    cli::Global,
    command::run::Options,
    error::{Exit, Failure, Outcome},
    log,
    output::Output,
};
use machine::FAILED;
use settings::Settings;

/// Runs the command; gives its exit code, or one of ours.
pub(crate) fn main(
    election: ElectionName,
    options: Options,
    global: &Global,
    output: Output,
) -> Outcome<u8> {
    log::start(global, "warn");
    let told = |(code, failure): (u8, Failure)| {
        output.failure(&failure);
        Ok(code)
    };
    let held = match share::held() {
        Ok(held) => held.filter(|_| options.who.partitions.is_some()),
        Err(failure) => return told((FAILED, failure)),
    };
    let is_warden = std::env::var_os(front::WARDEN).is_some();
    if options.if_configured && !is_warden && !store::is_configured(&options.member, global) {
        return match Settings::new(election, options, global) {
            Ok(settings) => told(become_command(settings)),
            Err(refused) => told(refused),
        };
    }
    let settings = match Settings::new(election, options, global) {
        Ok(settings) => settings,
        Err(refused) => return told(refused),
    };
    let settings = match held {
        Some(partition) => match settings.of_partition(partition) {
            Ok(settings) => settings,
            Err(failure) => return told((FAILED, failure)),
        },
        None => settings,
    };
    if settings.options.dry_run {
        output.data(&sheet::of(&settings, output.json))?;
        return Ok(Exit::Yes.code());
    }
    let shared = settings.options.who.partitions.filter(|_| held.is_none());
    let ended = if let Some(partitions) = shared {
        share::run(settings, partitions)
    } else if is_warden {
        warden::run(settings, output)
    } else {
        let manager = notify::Manager::find(settings.options.outside.notify);
        manager.and_then(|manager| front::run(manager, output))
    };
    match ended {
        Ok(code) => Ok(code),
        Err(failure) => told((FAILED, failure)),
    }
}

/// The same image with and without an election.
fn become_command(settings: Settings) -> (u8, Failure) {
    let Some(program) = settings.program else {
        return (FAILED, Failure::usage("there is no command to run", "", "give one after --"));
    };
    let mut command = std::process::Command::new(&program.file);
    command.arg0(&program.name).args(&program.arguments);
    let child = &settings.options.child;
    if child.clear_env {
        command.env_clear();
    }
    command.envs(child.env.iter().map(|(name, value)| (name, value)));
    if let Some(dir) = &child.cwd {
        command.current_dir(dir);
    }
    let error = command.exec();
    (launch::code_of(&error), launch::not_started(&program.file, &error))
}
