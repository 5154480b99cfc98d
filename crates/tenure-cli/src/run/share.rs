//! `tenure run --partitions`: this instance's share of many elections, each with a command of its
//! own.
//!
//! This process only decides what to contend for ([`tenure::Shares`]). Each partition is held by
//! a whole `tenure run` of its own: the same program with the same arguments, which finds in
//! [`PARTITION`] which one it is. So whatever `tenure run` promises about one command goes for
//! each of them, also when this process is killed: then they are asked to stop (by the kernel).

use std::{collections::BTreeMap, io, os::unix::process::CommandExt, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tenure::{Elector, Error, ShareAction, Shares};
use tenure_core::{CandidateId, ElectionName, View, partitions::partition_name};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tracing::{info, warn};

use super::{settings::Settings, warden::candidate_id};
use crate::{
    args,
    command::node::Timing,
    error::{Exit, Failure, Outcome},
    parent, realtime,
};

/// Which partition a process holds for which parent: `7:4711`. Nothing of the kind reaches the
/// command.
const PARTITION: &str = "TENURE_RUN_PARTITION";

/// Which partition this process holds, if it is one of those that hold one.
///
/// # Errors
/// When the parent has gone.
pub(super) fn held() -> Outcome<Option<u32>> {
    let Some(word) = std::env::var(PARTITION).ok() else { return Ok(None) };
    let numbers = word.split_once(':');
    let numbers = numbers.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    let Some((partition, parent)) = numbers else {
        let why = format!("{PARTITION} is {word:?}");
        return Err(Failure::usage(
            "this is not for people",
            why,
            "take it out of the environment",
        ));
    };
    if std::env::var_os(super::front::WARDEN).is_none() {
        parent::end_with(parent, Signal::TERM).map_err(|error| {
            Failure::io("a partition cannot be tied to its parent", &error, "start it again")
        })?;
    }
    Ok(Some(partition))
}

/// The election of a partition that this process holds.
pub(super) fn election(family: &ElectionName, partition: u32) -> Outcome<ElectionName> {
    partition_name(family.as_str(), partition)
        .map_err(|error| Failure::usage("too long a name for --partitions", error, "a shorter one"))
}

/// What happens to a process that holds a partition.
enum Word {
    /// Others see that it leads.
    Leads,
    Ended(io::Result<std::process::ExitStatus>),
}

/// A process that holds, or contends for, a partition.
struct Holder {
    process: u32,
    /// It was asked to end.
    leaves: bool,
}

struct Sharer {
    elector: Elector,
    id: CandidateId,
    family: ElectionName,
    shares: Shares,
    holders: BTreeMap<u32, Holder>,
    words: JoinSet<(u32, u32, Word)>,
}

/// Takes this instance's share until it is asked to stop; gives the exit code.
pub(super) fn run(settings: Settings, partitions: u32) -> Outcome<u8> {
    crate::command::block_on(share(settings, partitions))
}

async fn share(settings: Settings, partitions: u32) -> Outcome<u8> {
    let io = |what: &str, error: &io::Error| Failure::io(what, error, "see tenure run --help");
    let mut ends = Ends::take().map_err(|error| io("cannot take signals", &error))?;
    let id = candidate_id(&settings, std::process::id())?;
    let (who, budget) = (&settings.options.who, settings.budget);
    let how = Elector::builder().adaptive_ttl(args::bounds(settings.options.time.ttl));
    let how = realtime::elector(how, settings.realtime).drift(budget.drift);
    let timing = Timing::choose(budget.ttl, None, None)?;
    let store = &settings.store;
    let how = how.timeout(settings.patience);
    // This process is no quorum's member: that goes with one command, see `Settings`.
    let (elector, _) = store.connect(how, timing, budget.drift, settings.realtime).await?;
    let failed = |error: Error| store.failed(&error);
    let family = elector.partitions(settings.election.as_str(), partitions).map_err(failed)?;
    let mut participant = family.participant(id.as_str()).map_err(failed)?.weight(who.weight);
    if let Some(max) = who.max_partitions {
        participant = participant.max(max);
    }
    let mut sharer = Sharer {
        shares: participant.settle(who.settle).shares(),
        elector,
        id,
        family: settings.election.clone(),
        holders: BTreeMap::new(),
        words: JoinSet::new(),
    };
    let mut asked = false;
    // Once it was asked, it ends when nothing is left.
    while !(asked && sharer.holders.is_empty()) {
        tokio::select! {
            () = ends.next() => {
                if asked {
                    sharer.hurry();
                } else {
                    info!("asked to stop: others line up, then every partition is handed over");
                    sharer.shares.leave();
                }
                asked = true;
            }
            actions = sharer.shares.next() => {
                for action in actions.map_err(failed)? {
                    sharer.act(&action);
                }
            }
            Some(Ok((partition, process, word))) = sharer.words.join_next() => {
                sharer.on_word(partition, process, word);
            }
        }
    }
    Ok(Exit::Yes.code())
}

impl Sharer {
    fn act(&mut self, action: &ShareAction) {
        match action {
            ShareAction::Contend(partition) => self.contend(*partition),
            ShareAction::Leave(partition) => self.ask_to_end(*partition),
            ShareAction::HandOver(partition, to) => {
                match to {
                    Some(to) => info!("partition {partition} goes to {to}"),
                    None => info!("partition {partition} is given up"),
                }
                self.ask_to_end(*partition);
            }
        }
    }

    fn contend(&mut self, partition: u32) {
        if self.holders.contains_key(&partition) {
            // The one before it is still ending: two under one id would be in each other's way.
            return self.shares.ended(partition, true);
        }
        match self.start(partition) {
            Ok(child) => {
                let process = child.id().unwrap_or_default();
                self.holders.insert(partition, Holder { process, leaves: false });
                self.words.spawn(wait(child, partition, process));
                self.words.spawn(seen(
                    self.elector.clone(),
                    self.family.clone(),
                    self.id.clone(),
                    partition,
                    process,
                ));
            }
            Err(error) => {
                warn!("partition {partition} cannot be contended for: {error}");
                self.shares.ended(partition, true);
            }
        }
    }

    fn start(&self, partition: u32) -> io::Result<Child> {
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(std::env::args_os().skip(1));
        command.env("TENURE_ID", self.id.as_str());
        command.env(PARTITION, format!("{partition}:{}", std::process::id()));
        // What is typed is meant for this process, and it has the standard input.
        command.process_group(0).stdin(Stdio::null());
        Command::from(command).spawn()
    }

    fn ask_to_end(&mut self, partition: u32) {
        if let Some(holder) = self.holders.get_mut(&partition) {
            holder.leaves = true;
            tell(holder.process, Signal::TERM);
        }
    }

    /// Asked twice: whoever asks does not want to wait for commands that do not stop.
    fn hurry(&mut self) {
        for holder in self.holders.values() {
            tell(holder.process, Signal::KILL);
        }
    }

    fn on_word(&mut self, partition: u32, process: u32, word: Word) {
        let known = self.holders.get(&partition).filter(|holder| holder.process == process);
        let Some(holder) = known else { return };
        match word {
            Word::Leads => {
                // Leaving already, it ends by itself.
                if !self.shares.granted(partition) {
                    self.ask_to_end(partition);
                }
            }
            Word::Ended(status) => {
                let leaves = holder.leaves;
                self.holders.remove(&partition);
                match status {
                    Ok(status) if !leaves => info!("partition {partition}: ended with {status}"),
                    Err(error) => warn!("partition {partition}: {error}"),
                    Ok(_) => {}
                }
                self.shares.ended(partition, !leaves);
            }
        }
    }
}

fn tell(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It is not waited for yet, so the number is still its own; dead, it needs no word.
        let _ = kill_process(pid, signal);
    }
}

async fn wait(mut child: Child, partition: u32, process: u32) -> (u32, u32, Word) {
    (partition, process, Word::Ended(child.wait().await))
}

/// Waits until others see that this instance leads a partition.
async fn seen(
    elector: Elector,
    family: ElectionName,
    id: CandidateId,
    partition: u32,
    process: u32,
) -> (u32, u32, Word) {
    if let Ok(election) = partition_name(family.as_str(), partition)
        && let Ok(mut observer) = elector.observe(election.as_str()).await
    {
        while let Some(sighting) = observer.changed().await {
            if matches!(&sighting.view, View::Led(leader) if leader.id == id) {
                return (partition, process, Word::Leads);
            }
        }
    }
    core::future::pending().await
}

/// The signals that ask this process to end.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn take() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
