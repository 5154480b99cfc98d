//! The floor: the smallest mock of a failover's hops and disk flushes, in real
//! processes. What it takes is what the machine takes; ours is measured
//! against it. Each case gets fresh processes, their log files stay.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::floor_node::Play;
use super::process::{Heard, Line, any_phase, await_lines, myself};
use super::stats::{Case, Timing};
use crate::failure::{Failure, Outcome};

const PATIENCE: Duration = Duration::from_secs(10);
const WARM_UPS: usize = 5;

/// The mock with a number of nodes.
pub(crate) struct Floor {
    nodes: usize,
    dir: PathBuf,
    slot: u64,
}

impl Floor {
    /// Prepares the directory of the nodes' logs.
    pub(crate) fn new(nodes: usize, dir: &Path) -> Outcome<Self> {
        let dir = dir.join(format!("floor-{nodes}"));
        std::fs::create_dir_all(&dir).map_err(|why| {
            Failure::new(format!("cannot create {}", dir.display()), why, "choose another --out")
        })?;
        Ok(Self { nodes, dir, slot: 0 })
    }

    /// Plays one case with fresh processes.
    pub(crate) fn measure(&mut self, case: Case) -> Outcome<Timing> {
        self.slot += 1;
        let play = match case {
            Case::Leader => Play::Leader,
            // With the leaders of both in one process the entry after the
            // vote carries the grant: the same hops.
            Case::Quorum | Case::Both => Play::Quorum,
            Case::Resign | Case::Transfer => Play::HandOver,
        };
        let (send, lines) = mpsc::channel();
        let mut children = Vec::new();
        for id in 0..self.nodes {
            let name = match play {
                Play::Leader => "leader",
                Play::Quorum => "quorum",
                Play::HandOver => "hand-over",
            };
            let mut command = myself("floor-node");
            command
                .args(["--play", name, "--id", &id.to_string()])
                .args(["--nodes", &self.nodes.to_string(), "--slot", &self.slot.to_string()])
                .arg("--dir")
                .arg(&self.dir);
            children.push(Heard::start(&mut command, id, &send, &self.dir.join("stderr"))?);
        }

        let mut ports = vec![None; self.nodes];
        let all = await_lines(&lines, PATIENCE, "the floor's ports", |id, line| {
            ports[id] = line.strip_prefix("port ").map(str::to_owned);
            ports.iter().cloned().collect::<Option<Vec<_>>>()
        })?
        .join(" ");
        for child in &mut children {
            child.tell(&all)?;
        }
        let mut ready = 0;
        await_lines(&lines, PATIENCE, "the floor's nodes to join", |_, line| {
            ready += usize::from(line == "ready");
            (ready == self.nodes).then_some(())
        })?;
        // Who begins when nobody has died, and who dies.
        let last = self.nodes - 1;
        let (first, victim) = match play {
            Play::Leader => (0, Some(last)),
            Play::Quorum => (1, Some(0)),
            Play::HandOver => (last, None),
        };
        // Pages and caches are warm in a cluster that has run for a while.
        for _ in 0..WARM_UPS {
            children[first].tell("go")?;
            grant(&lines, self.nodes)?;
        }
        thread::sleep(Duration::from_millis(30) + any_phase(Duration::from_millis(20)));

        let (killed_at, live) = match victim {
            Some(victim) => (Some(children[victim].kill()), last),
            None => (None, self.nodes),
        };
        if victim.is_none() {
            children[first].tell("go")?;
        }
        let told = grant(&lines, live)?;
        let start = killed_at.or(told.start).unwrap_or_default();
        for child in children {
            child.stop(Duration::from_secs(1));
        }
        Ok(Timing::between(start, told.granted, told.seen.into_iter().max()))
    }
}

/// The stamps of one play.
#[derive(Default)]
struct Told {
    start: Option<u64>,
    granted: Option<u64>,
    seen: Vec<u64>,
}

/// Waits until all live nodes have the committed grant.
fn grant(lines: &Receiver<Line>, live: usize) -> Outcome<Told> {
    let mut told = Told::default();
    await_lines(lines, PATIENCE, "the floor's grant", |_, line| {
        let (what, at) = line.split_once(' ')?;
        let at = at.parse::<u64>().ok()?;
        match what {
            "start" => told.start = Some(at),
            "granted" => told.granted = Some(at),
            _ => {}
        }
        if what != "start" {
            told.seen.push(at);
        }
        (told.seen.len() == live).then_some(())
    })?;
    Ok(told)
}
