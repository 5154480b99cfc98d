//! What the command line means, checked before anything starts.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use tenure_core::{ElectionName, Value};
use tenure_quorum::clock;

use super::{
    budget::Budget,
    launch::{self, not_started},
    machine::{OnExit, Rules},
    parse::{Hook, find_program, hook},
    store::{self, Store},
};
use crate::{
    cli::Global,
    command::run::{self as args, OnLost, Options},
    error::{Exit, Failure, Outcome},
    realtime::{self, First},
};

/// A program, its arguments, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) file: PathBuf,
    pub(crate) name: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// The hooks there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) promote: Option<Hook>,
    pub(crate) demote: Option<Hook>,
    pub(crate) standby: Option<Hook>,
    pub(crate) change: Option<Hook>,
    pub(crate) loss: Option<Hook>,
    pub(crate) check: Option<Hook>,
    pub(crate) ready_check: Option<Hook>,
}

/// Everything that was decided.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) election: ElectionName,
    pub(crate) options: Options,
    pub(crate) budget: Budget,
    /// What threads do first that lead, and none that work.
    pub(crate) realtime: Option<First>,
    pub(crate) program: Option<Program>,
    pub(crate) hooks: Hooks,
    pub(crate) store: Store,
    /// Longest wait for one answer of the store.
    pub(crate) patience: Duration,
    /// What the command runs at most once for.
    pub(crate) slot: Option<Value>,
    /// The partition that this process holds, of how many.
    pub(crate) partition: Option<(u32, u32)>,
    /// Also what happens all the time is told.
    pub(crate) verbose: bool,
}

/// Why nothing was started, and the exit code for it.
pub(crate) type Refused = (u8, Failure);

impl Settings {
    /// Checks everything that can be checked without starting anything.
    pub(crate) fn new(
        election: ElectionName,
        options: Options,
        global: &Global,
    ) -> Result<Self, Refused> {
        let failed = |failure: Failure| (super::machine::FAILED, failure);
        let time = &options.time;
        let budget = Budget {
            // What cannot be stopped inside the shortest lease cannot be promised.
            ttl: time.ttl.shortest(),
            drift: time.drift,
            stop_timeout: time.stop_timeout,
            kill_margin: time.kill_margin,
        };
        let budget = budget.checked().map_err(failed)?;
        let program = program(&options)?;
        let realtime = realtime::wanted(time.realtime).map_err(failed)?;
        if options.slots_name(&election, options.who.slots - 1).is_none() {
            return Err(failed(Failure::usage(
                format!("{election} is too long a name for --slots"),
                format!("each slot is an election of its own, called {election}/N"),
                "a shorter name",
            )));
        }
        let restarts = options.after.forever || options.after.on_exit == args::OnExit::Restart;
        if options.who.once_per.is_some() && (restarts || options.who.slots > 1) {
            return Err(failed(Failure::usage(
                "--once-per cannot go with --forever, --on-exit restart or --slots",
                "they start the command more than once for each slot",
                "leave one of them out",
            )));
        }
        if options.who.preempt && options.who.slots > 1 {
            return Err(failed(Failure::usage(
                "--preempt cannot go with --slots",
                "each slot has a leader of its own, and it is not clear whose place to take",
                "leave one of them out",
            )));
        }
        // When this was started counts, not when it is elected: it is that tick's work.
        let slot = options.who.once_per.as_ref().map(|once| once.slot(clock::wall()));
        let hooks = hooks(&options).map_err(failed)?;
        let store = store::find(&options.member, global).map_err(failed)?;
        let patience = global.timeout.unwrap_or(crate::ask::PATIENCE);
        let verbose = global.verbose > 0;
        if options.who.partitions.is_some() && matches!(store, Store::Quorum(_)) {
            return Err(failed(Failure::usage(
                "--partitions cannot go with --peers",
                "each partition is held by a process of its own, and only one can be the node",
                "run tenure node on these machines, and give its --url",
            )));
        }
        Ok(Self {
            election,
            options,
            budget,
            realtime,
            program,
            hooks,
            store,
            patience,
            slot,
            partition: None,
            verbose,
        })
    }

    /// The same for one partition of the family that the command line names.
    pub(crate) fn of_partition(mut self, partition: u32) -> Outcome<Self> {
        self.election = super::share::election(&self.election, partition)?;
        self.partition = self.options.who.partitions.map(|count| (partition, count));
        Ok(self)
    }

    /// What decides.
    pub(crate) fn rules(&self, terminal: bool) -> Rules {
        let Options { time, after, child, .. } = &self.options;
        let restart = OnExit::Restart {
            first: after.backoff.0,
            longest: after.backoff.1,
            at_most: after.max_restarts,
        };
        Rules {
            budget: self.budget,
            // A store that knows who leads says so sooner.
            wait: if time.no_wait { Some(self.patience) } else { time.wait },
            delay: time.delay,
            standby_after_loss: after.forever || after.on_lost == OnLost::Standby,
            on_exit: match after.on_exit {
                _ if after.forever => restart,
                args::OnExit::Resign => OnExit::Resign,
                args::OnExit::Restart => restart,
                args::OnExit::Hold => OnExit::Hold,
            },
            timeout_code: time.conflict_exit_code,
            lost_code: after.lost_code,
            forward: child.forward.0.clone(),
            hang_up_ends_waiting: terminal,
            promote: self.hooks.promote.is_some(),
            demote: self.hooks.demote.is_some(),
            hook_timeout: self.options.hooks.hook_timeout,
            checked: self.hooks.check.is_some() || self.hooks.ready_check.is_some(),
        }
    }

    /// The elections to contend for: one, or one for each slot.
    pub(crate) fn elections(&self) -> Vec<ElectionName> {
        let slots = self.options.who.slots;
        if slots == 1 {
            return vec![self.election.clone()];
        }
        (0..slots).filter_map(|slot| self.options.slots_name(&self.election, slot)).collect()
    }
}

impl Options {
    fn slots_name(&self, election: &ElectionName, slot: u16) -> Option<ElectionName> {
        if self.who.slots == 1 {
            return Some(election.clone());
        }
        ElectionName::new(format!("{election}/{slot}")).ok()
    }
}

fn program(options: &Options) -> Result<Option<Program>, Refused> {
    let words = &options.command;
    if let Some(script) = &options.child.shell {
        let mut arguments = vec![OsString::from("-c"), script.clone(), OsString::from("sh")];
        arguments.extend(words.iter().cloned());
        let name = OsString::from("sh");
        return Ok(Some(Program { file: PathBuf::from("/bin/sh"), name, arguments }));
    }
    let Some((name, arguments)) = words.split_first() else {
        if options.dry_run {
            return Ok(None);
        }
        let failure = Failure::new(
            Exit::Usage,
            "there is no command to run",
            "nothing follows --, and there is no -c",
            "tenure run ELECTION -- COMMAND",
        );
        return Err((super::machine::FAILED, failure));
    };
    // A path of the command's own, as a shell would use it.
    let own = options.child.env.iter().rev().find(|(name, _)| name == "PATH");
    let inherited = if options.child.clear_env { None } else { std::env::var_os("PATH") };
    let path = own.map(|(_, value)| OsString::from(value)).or(inherited);
    let program = Path::new(name);
    let file = locate(program, path.as_deref(), options.child.cwd.as_deref())
        .map_err(|error| (launch::code_of(&error), not_started(program, &error)))?;
    Ok(Some(Program { file, name: name.clone(), arguments: arguments.to_vec() }))
}

/// A relative path is meant from where the command begins.
fn locate(program: &Path, path: Option<&OsStr>, dir: Option<&Path>) -> std::io::Result<PathBuf> {
    let is_path = program.as_os_str().as_encoded_bytes().contains(&b'/');
    match dir {
        Some(dir) if is_path => {
            find_program(&dir.join(program), path).and_then(std::path::absolute)
        }
        Some(_) => find_program(program, path).and_then(std::path::absolute),
        None => find_program(program, path),
    }
}

fn hooks(options: &Options) -> Outcome<Hooks> {
    let (hooks, health) = (options.hooks.clone(), options.health.clone());
    Ok(Hooks {
        promote: hook("--on-promote", hooks.on_promote)?,
        demote: hook("--on-demote", hooks.on_demote)?,
        standby: hook("--on-standby", hooks.on_standby)?,
        change: hook("--on-change", hooks.on_change)?,
        loss: hook("--on-loss", hooks.on_loss)?,
        check: hook("--check", health.check)?,
        ready_check: hook("--ready-check", health.ready_check)?,
    })
}
