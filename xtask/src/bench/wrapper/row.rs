//! What happens to the first wrapper, and what is seen then.

use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::Signal;

use super::column::{Column, Stage, Wrapper};
use super::lives::{Life, Lives, signal};
use super::worker::Kind;
use crate::bench::process::now;
use crate::failure::{Failure, Outcome};

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(2);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Row {
    Term,
    Kill,
    KillAll,
    StopWrapper,
    StopChild,
    Deaf,
    Daemon,
    Revoked,
    StoreKilled,
    StoreCut,
    Overload,
    Frozen,
}

impl Row {
    pub(super) const ALL: [Self; 12] = [
        Self::Term,
        Self::Kill,
        Self::KillAll,
        Self::StopWrapper,
        Self::StopChild,
        Self::Deaf,
        Self::Daemon,
        Self::Revoked,
        Self::StoreKilled,
        Self::StoreCut,
        Self::Overload,
        Self::Frozen,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM to the wrapper",
            Self::Kill => "kill -9 of the wrapper",
            Self::KillAll => "kill -9 of all its processes at once",
            Self::StopWrapper => "SIGSTOP of all its processes, past the lease",
            Self::StopChild => "SIGSTOP of the command",
            Self::Deaf => "SIGTERM, and the command ignores it",
            Self::Daemon => "the command ends and leaves a daemon behind",
            Self::Revoked => "the lease is revoked by an operator",
            Self::StoreKilled => "the store is killed, and comes back",
            Self::StoreCut => "the way to the store is cut",
            Self::Overload => "4 busy loops a core, then SIGTERM",
            Self::Frozen => "wrapper and command frozen past the lease (a suspend, from outside)",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Deaf | Self::StopWrapper => Kind::Stubborn,
            Self::Daemon => Kind::Daemon,
            _ => Kind::Meek,
        }
    }

    /// Whether there is such a thing there.
    pub(super) fn applies(self, column: Column) -> bool {
        let has_store = !matches!(column, Column::Flock | Column::File);
        has_store || !matches!(self, Self::StoreKilled | Self::StoreCut)
    }
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    /// Longest time for which commands of two wrappers were alive at once.
    pub(super) overlap: Duration,
    /// From what happened to the next start; none when the first one kept what it held.
    pub(super) gap: Option<Duration>,
    /// Processes of the first command that lived when its wrapper was gone and the next began.
    pub(super) orphans: usize,
    pub(super) end: String,
}

/// One cell while it plays.
struct Play {
    stage: Stage,
    lives: Lives,
    first: Wrapper,
    others: Vec<Wrapper>,
    ttl: Duration,
}

/// Plays one cell.
pub(super) fn play(stage: Stage, row: Row, ttl: Duration) -> Outcome<Cell> {
    let cannot = |why| Failure::new("cannot follow the commands", why, "give another --out");
    let lives = Lives::follow(&stage.log()).map_err(cannot)?;
    let mut play = Play::begin(stage, lives, row, ttl)?;
    let happened = now();
    let cell = play.go_on(row, happened);
    // Whatever came of it, nothing stays.
    play.others.clear();
    play.lives.end_all();
    cell
}

fn wait_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > until {
            return found;
        }
        thread::sleep(STEP);
    }
}

impl Play {
    fn begin(stage: Stage, lives: Lives, row: Row, ttl: Duration) -> Outcome<Self> {
        let mut wrappers = Vec::new();
        for name in stage.names() {
            wrappers.push(stage.start(name, row.kind())?);
            // In a quorum all are needed before anybody leads.
            if stage.column != Column::Embedded {
                let led = || (!lives.all().is_empty()).then_some(());
                wait_until(PATIENCE, led).ok_or_else(|| nobody(&stage))?;
            }
        }
        let first = wait_until(PATIENCE, || lives.all().first().cloned());
        let first = first.ok_or_else(|| nobody(&stage))?;
        // The others are to be in the queue.
        thread::sleep(Duration::from_millis(if row == Row::Daemon { 0 } else { 400 }));
        let place = wrappers.iter().position(|wrapper| wrapper.name == first.owner);
        let first = wrappers.swap_remove(place.ok_or_else(|| nobody(&stage))?);
        for other in &mut wrappers {
            if other.has_ended() {
                let said = std::fs::read_to_string(stage.dir.join(format!("{}.log", other.name)));
                let end = other.end();
                let what = format!("{} did not stay in the queue ({end})", other.name);
                return Err(Failure::new(what, said.unwrap_or_default(), "see its words"));
            }
        }
        Ok(Self { stage, lives, first, others: wrappers, ttl })
    }

    /// The first start of a command by another wrapper.
    fn next(&self) -> Option<Life> {
        let others = self.lives.all().into_iter().filter(|life| life.owner != self.first.name);
        others.min_by_key(|life| life.begun)
    }

    fn wait_for_next(&self, limit: Duration) -> Option<Life> {
        wait_until(limit, || self.next())
    }

    fn command(&self) -> u32 {
        self.lives.all().first().map_or(0, |life| life.pid)
    }

    fn go_on(&mut self, row: Row, happened: u64) -> Outcome<Cell> {
        let (ttl, long) = (self.ttl, self.ttl * 5 + Duration::from_secs(5));
        let mut happened = happened;
        match row {
            Row::Term | Row::Deaf => self.first.signal(Signal::TERM),
            Row::Kill => self.first.signal(Signal::KILL),
            Row::KillAll => self.first.signal_all(Signal::KILL),
            Row::StopWrapper => {
                self.first.signal_all(Signal::STOP);
                self.wait_for_next(ttl * 5 / 2);
                self.first.signal_all(Signal::CONT);
                thread::sleep(ttl / 2);
            }
            Row::StopChild => signal(self.command(), Signal::STOP),
            Row::Daemon => {}
            Row::Revoked => self.stage.revoke()?,
            Row::StoreKilled => self.lose_store()?,
            Row::StoreCut => self.cut_store(),
            Row::Overload => {
                let loops = BusyLoops::start();
                thread::sleep(ttl * 3);
                happened = now();
                self.first.signal(Signal::TERM);
                self.wait_for_next(long);
                drop(loops);
            }
            Row::Frozen => {
                let all = [self.first.processes(), vec![self.command()]].concat();
                all.iter().for_each(|pid| signal(*pid, Signal::STOP));
                self.wait_for_next(ttl * 5 / 2);
                all.iter().for_each(|pid| signal(*pid, Signal::CONT));
                thread::sleep(ttl / 2);
            }
        }
        let stays = matches!(row, Row::StopChild);
        let next = self.wait_for_next(if stays { ttl * 2 } else { long });
        if next.is_some() {
            let _ = wait_until(ttl * 2, || self.first.has_ended().then_some(()));
        }
        thread::sleep(Duration::from_millis(200));
        let gone = self.first.has_ended();
        let gap = next.map(|life| Duration::from_nanos(life.begun.saturating_sub(happened)));
        Ok(Cell {
            overlap: Duration::from_nanos(self.lives.longest_overlap()),
            gap,
            orphans: if gone { self.lives.living(&self.first.name) } else { 0 },
            end: self.first.end(),
        })
    }

    /// In a quorum the other members are the store.
    fn lose_store(&mut self) -> Outcome {
        let away = self.ttl * 2;
        if let Some(mut server) = self.stage.server.take() {
            server.kill();
            thread::sleep(away);
            server.restart()?;
            self.stage.server = Some(server);
        } else {
            let names: Vec<_> = self.others.iter().map(|other| other.name.clone()).collect();
            self.others.iter().for_each(|other| other.signal_all(Signal::KILL));
            self.others.clear();
            thread::sleep(away);
            for name in names {
                self.others.push(self.stage.start(&name, Kind::Meek)?);
            }
        }
        Ok(())
    }

    /// In a quorum the other members are silent, with their connections as they were.
    fn cut_store(&mut self) {
        if let Some(way) = &self.stage.way {
            way.cut();
        } else {
            self.others.iter().for_each(|other| other.signal_all(Signal::STOP));
            thread::sleep(self.ttl * 2);
            self.others.iter().for_each(|other| other.signal_all(Signal::CONT));
        }
    }
}

fn nobody(stage: &Stage) -> Failure {
    let where_to = format!("see the logs in {}", stage.dir.display());
    Failure::new(format!("{}: no command was started", stage.column.title()), "", where_to)
}

/// Four busy loops for each core, until it is dropped.
struct BusyLoops(Vec<std::process::Child>);

impl BusyLoops {
    fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let mut command = crate::bench::process::leashed("sh".as_ref());
            command.args(["-c", "while :; do :; done"]).spawn().ok()
        };
        Self((0..4 * cores).filter_map(start).collect())
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
