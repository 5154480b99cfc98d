//! Plays a plan on a running cluster, and takes down what was done to whom.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;

use super::fleet::{Fleet, VOTERS};
use super::journal::{Entry, What};
use super::plan::{Action, Kind, Victim};
use crate::bench::process::now;
use crate::failure::Outcome;

/// Voters that may be away at the same time: a minority.
const AWAY: usize = (VOTERS - 1) / 2;
/// Longest wait for a node that was told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that was done, for the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Done {
    /// Nanoseconds of the clock.
    pub(super) at: u64,
    pub(super) kind: Kind,
    /// How it is told: `kill`, `start again`, `wake`, ...
    pub(super) did: &'static str,
    pub(super) node: String,
    /// What the node was at that moment.
    pub(super) was: &'static str,
    pub(super) lasts_ms: u64,
}

/// What is still to be done about a node.
struct Owed {
    at: Instant,
    kind: Kind,
    node: String,
}

struct Play<'a> {
    fleet: &'a mut Fleet,
    owed: Vec<Owed>,
    /// Nodes something is done to, and those on their way back.
    away: Vec<String>,
    /// Commands that run.
    commands: Vec<Child>,
    done: Vec<Done>,
    skipped: usize,
}

/// What was done, and how many actions found nobody they could be done to.
pub(super) struct Played {
    pub(super) done: Vec<Done>,
    pub(super) skipped: usize,
}

/// Plays all actions, waits until what they owe is paid and every node is up to date again.
///
/// # Errors
/// When a process cannot be started, or the cluster is not whole again in the end.
pub(super) fn play(
    fleet: &mut Fleet,
    plan: &[Action],
    mut progress: impl FnMut(usize, &Done),
) -> Outcome<Played> {
    let begun = Instant::now();
    let mut play = Play {
        fleet,
        owed: Vec::new(),
        away: Vec::new(),
        commands: Vec::new(),
        done: Vec::new(),
        skipped: 0,
    };
    let mut told = 0;
    // What had to be waited for moves all that comes after it, so that nothing is done in a heap.
    let mut late = Duration::ZERO;
    for (number, action) in plan.iter().enumerate() {
        let planned = begun + action.at + late;
        play.wait_until(planned)?;
        play.act(action)?;
        late += Instant::now().saturating_duration_since(planned);
        for done in &play.done[told..] {
            progress(number + 1, done);
        }
        told = play.done.len();
    }
    while let Some(last) = play.owed.iter().map(|owed| owed.at).max() {
        play.wait_until(last.max(Instant::now() + Duration::from_millis(10)))?;
    }
    play.fleet.listen_for("every node to be up to date again", PATIENCE * 6, |it| it.agrees())?;
    for command in &mut play.commands {
        // Its answer has long been given; what it left is reaped here.
        let _ = command.kill();
        let _ = command.wait();
    }
    Ok(Played { done: play.done, skipped: play.skipped })
}

impl Play<'_> {
    /// Listens until a moment, and does what falls due before.
    fn wait_until(&mut self, until: Instant) -> Outcome {
        loop {
            let next = self.owed.iter().map(|owed| owed.at).min().filter(|at| *at < until);
            self.fleet.listen_until(next.unwrap_or(until));
            if next.is_none() {
                return Ok(());
            }
            let due = self.owed.extract_if(.., |owed| owed.at <= Instant::now());
            for owed in due.collect::<Vec<_>>() {
                self.pay(owed)?;
            }
        }
    }

    fn act(&mut self, action: &Action) -> Outcome {
        let late = Instant::now() + PATIENCE;
        let node = loop {
            let fleet = &self.fleet;
            let owed = |node: &String| self.owed.iter().any(|owed| owed.node == *node);
            self.away.retain(|node| owed(node) || !fleet.journal.is_current(node));
            if let Some(node) = self.choose(action) {
                break node;
            }
            if Instant::now() > late {
                self.skipped += 1;
                return Ok(());
            }
            self.wait_until(Instant::now() + Duration::from_millis(100))?;
        };
        let was = self.part(&node);
        let lasts_ms = u64::try_from(action.lasts.as_millis()).unwrap_or(u64::MAX);
        let did = match action.kind {
            Kind::Kill => "kill",
            Kind::Pause => "pause",
            Kind::Leave => "stop",
            Kind::Replace => "remove",
        };
        let done = Done { at: now(), kind: action.kind, did, node: node.clone(), was, lasts_ms };
        self.done.push(done);
        match action.kind {
            Kind::Kill => self.fleet.signal(&node, Signal::KILL),
            Kind::Pause => self.fleet.signal(&node, Signal::STOP),
            Kind::Leave => self.fleet.signal(&node, Signal::TERM),
            Kind::Replace => {
                let entry = Entry { at: now(), node: node.clone(), what: What::Asked };
                self.fleet.journal.add(entry);
                let mut remove = self.fleet.command(&["cluster", "remove", &node, "--yes"]);
                self.commands.extend(spawned(&mut remove));
            }
        }
        self.away.push(node.clone());
        self.owed.push(Owed { at: Instant::now() + action.lasts, kind: action.kind, node });
        Ok(())
    }

    /// Somebody who fits, nothing else is done to, and without whom a quorum is left.
    fn choose(&self, action: &Action) -> Option<String> {
        let journal = &self.fleet.journal;
        let holder = journal.holder().map(|(node, _)| node);
        let fits = |node: &&String| match action.victim {
            Victim::Leader => Some(*node) == holder,
            Victim::QuorumLeader => Some(*node) == journal.quorum_leader(),
            Victim::Voter => journal.votes(node),
            Victim::Anyone => true,
        };
        let leads =
            |node: &&String| Some(*node) == holder || Some(*node) == journal.quorum_leader();
        let voters_away = self.away.iter().filter(|node| journal.votes(node)).count();
        let fitting: Vec<_> = self
            .fleet
            .running()
            .filter(|node| journal.is_current(node) && !self.away.contains(node))
            .filter(|node| voters_away < AWAY || !journal.votes(node))
            .filter(fits)
            .filter(|node| action.kind != Kind::Replace || !leads(node))
            .collect();
        let count = u64::try_from(fitting.len()).ok().filter(|count| *count > 0)?;
        let at = usize::try_from(action.draw % count).ok()?;
        fitting.get(at).map(|node| (*node).clone())
    }

    fn part(&self, node: &String) -> &'static str {
        let journal = &self.fleet.journal;
        let leads = journal.holder().is_some_and(|(holder, _)| holder == node);
        match (leads, journal.quorum_leader() == Some(node), journal.votes(node)) {
            (true, true, _) => "leader of both",
            (true, false, _) => "leader",
            (false, true, _) => "quorum's leader",
            (false, false, true) => "voter",
            (false, false, false) => "member",
        }
    }

    /// The second half of an action.
    fn pay(&mut self, owed: Owed) -> Outcome {
        let Owed { kind, node, .. } = owed;
        let was = self.part(&node);
        let done = |did, node: &str| {
            let node = node.to_owned();
            Done { at: now(), kind, did, node, was, lasts_ms: 0 }
        };
        match kind {
            Kind::Pause => {
                self.done.push(done("wake", &node));
                self.fleet.signal(&node, Signal::CONT);
            }
            Kind::Kill | Kind::Leave => {
                let gone = |fleet: &Fleet| fleet.pid(&node).is_none();
                if !gone(self.fleet) {
                    self.fleet.listen_for(&format!("{node} to end"), PATIENCE, gone)?;
                }
                self.done.push(done("start again", &node));
                self.fleet.start(&node)?;
            }
            Kind::Replace => {
                self.fleet.bury(&node);
                self.away.retain(|away| *away != node);
                let new = self.fleet.name_one()?;
                self.done.push(done("join", &new));
                self.fleet.start(&new)?;
                self.away.push(new);
            }
        }
        Ok(())
    }
}

/// A command that cannot even be started has failed like one that is refused: the node stays.
fn spawned(command: &mut Command) -> Option<Child> {
    command.spawn().ok()
}
