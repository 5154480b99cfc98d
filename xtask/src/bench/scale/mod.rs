//! `cargo xtask bench scale`: the same measurements on clusters of growing size, all of them
//! real processes on this machine, and how each figure grows.

mod plot;
mod report;

pub(super) use plot::plot;
pub(super) use report::{Series, growth};

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::ours::{Cluster, Ours, cpu_ns, kilobytes};
use super::process::{any_phase, now};
use super::stats::{Case, Summary, load_average};
use crate::failure::{Failure, Outcome};
use crate::install;

/// Nodes that vote; the others are members.
const VOTERS: usize = 5;
/// A cluster is left alone for this long before it is called idle.
const CALM: Duration = Duration::from_secs(5);

/// Options of the bench.
#[derive(Args)]
pub(crate) struct ScaleArgs {
    /// Sizes of the clusters
    #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 100, 300, 1000])]
    sizes: Vec<usize>,
    /// How often each kill is played on each size
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds to watch each idle cluster
    #[arg(long, default_value_t = 20)]
    idle: u64,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Where data, logs, the report and the plots go
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
}

/// What one size showed. Times are in milliseconds, memory in kB, processor time in percent of
/// one core.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Size {
    pub(super) nodes: usize,
    /// From the start of `tenure dev` until every node runs and shows one leader.
    pub(super) form_ms: f64,
    /// How many nodes `tenure leader demo --all` heard, and how long that took.
    pub(super) asked: usize,
    pub(super) asked_ms: f64,
    pub(super) voter: Cost,
    pub(super) member: Option<Cost>,
    pub(super) kills: Vec<Kill>,
}

/// What an idle node costs, the dearest of its kind and the mean.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Cost {
    pub(super) cpu_mean: f64,
    pub(super) cpu_most: f64,
    pub(super) rss_most_kb: u64,
    pub(super) pss_most_kb: u64,
    pub(super) private_most_kb: u64,
}

/// One kind of kill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Kill {
    pub(super) what: &'static str,
    /// Until the successor holds a committed grant, or the quorum has its next leader.
    pub(super) grant: Option<Summary>,
    /// Until the last live node shows it.
    pub(super) last: Option<Summary>,
    pub(super) failed: Vec<String>,
}

/// Runs the bench and prints its report.
pub(crate) fn run(args: &ScaleArgs) -> Outcome {
    allow_many_files();
    let out = args.out.clone().unwrap_or_else(|| install::workspace().join("target/bench/scale"));
    let cannot_write = |why: std::io::Error| {
        Failure::new(format!("cannot write to {}", out.display()), why, "choose another --out")
    };
    std::fs::create_dir_all(&out).map_err(cannot_write)?;
    let out = out.canonicalize().map_err(cannot_write)?;
    let program = match &args.tenure {
        Some(given) => given.canonicalize().map_err(|why| {
            Failure::new(format!("cannot find {}", given.display()), why, "check --tenure")
        })?,
        None => Ours::build()?,
    };
    let before = load_average();
    let mut sizes = Vec::new();
    for &nodes in &args.sizes {
        eprintln!("{nodes} nodes:");
        sizes.push(measure(&program, &out, nodes, args)?);
    }
    let report = report::Report { rounds: args.rounds, load: [before, load_average()], sizes };
    let json = report.json();
    std::fs::write(out.join("scale.json"), &json).map_err(cannot_write)?;
    for (name, svg) in plot::all(&report.sizes) {
        std::fs::write(out.join(name), svg).map_err(cannot_write)?;
    }
    println!("{}", if args.json { json } else { report.text() });
    eprintln!("report and plots: {}", out.display());
    Ok(())
}

/// Each node of a cluster is held by a descriptor, here and in what it starts.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn measure(program: &Path, out: &Path, nodes: usize, args: &ScaleArgs) -> Outcome<Size> {
    let ours = Ours::new(program, out, nodes)?.with_ttl("2s");
    let begun = now();
    let mut cluster = Cluster::start(&ours)?;
    let form_ms = ms_since(begun);
    eprintln!("  formed in {:.1} s", form_ms / 1000.0);
    let (asked, asked_ms) = ask_all(&cluster)?;
    eprintln!("  {asked} nodes agree, asked in {asked_ms:.0} ms");
    let (voter, member) = idle(&mut cluster, Duration::from_secs(args.idle));
    eprintln!(
        "  idle: a voter {voter}{}",
        member.map_or_else(String::new, |m| format!(", a member {m}"))
    );
    let mut kills = Vec::new();
    for what in [What::Leader, What::QuorumLeader, What::Tenth] {
        if what == What::Tenth && nodes < 10 {
            continue;
        }
        let kill = play(&mut cluster, what, args.rounds);
        eprintln!("  {kill}");
        kills.push(kill);
    }
    cluster.stop();
    Ok(Size { nodes, form_ms, asked, asked_ms, voter, member, kills })
}

#[derive(Deserialize)]
struct Word {
    view: String,
    leader: Option<serde_json::Value>,
}

/// Every node must say the same.
fn ask_all(cluster: &Cluster<'_>) -> Outcome<(usize, f64)> {
    let begun = now();
    let said = cluster.command(&["leader", "demo", "--all", "--json", "--timeout", "20s"])?;
    let took = ms_since(begun);
    let odd = |why: String| Failure::new("the nodes do not agree", why, "see dev.log");
    let words: Vec<Word> = serde_json::from_slice(&said).map_err(|why| odd(why.to_string()))?;
    let first = words.first().ok_or_else(|| odd(String::from("nobody answered")))?;
    if words.iter().any(|word| word.view != "led" || word.leader != first.leader) {
        return Err(odd(format!("{} answers differ", words.len())));
    }
    Ok((words.len(), took))
}

fn idle(cluster: &mut Cluster<'_>, time: Duration) -> (Cost, Option<Cost>) {
    thread::sleep(CALM);
    let pids: Vec<(String, u32)> =
        cluster.told.nodes.iter().map(|(name, node)| (name.clone(), node.pid)).collect();
    let before: Vec<u64> = pids.iter().map(|(_, pid)| cpu_ns(*pid)).collect();
    let begun = now();
    thread::sleep(time);
    let mut costs: [Vec<[f64; 4]>; 2] = Default::default();
    for ((name, pid), before) in pids.iter().zip(before) {
        let span = Duration::from_nanos(now() - begun).as_secs_f64();
        let used = Duration::from_nanos(cpu_ns(*pid).saturating_sub(before)).as_secs_f64();
        let rollup = format!("/proc/{pid}/smaps_rollup");
        let private = kilobytes(&rollup, "Private_Dirty:") + kilobytes(&rollup, "Private_Clean:");
        let [rss, pss] = ["Rss:", "Pss:"].map(|field| kilobytes(&rollup, field));
        let votes = name.trim_start_matches('n').parse().is_ok_and(|it: usize| it <= VOTERS);
        costs[usize::from(!votes)].push([
            used / span * 100.0,
            lossy(rss),
            lossy(pss),
            lossy(private),
        ]);
    }
    let [voters, members] = costs.map(|of| cost(&of));
    cluster.catch_up();
    (voters.unwrap_or(NOTHING), members)
}

const NOTHING: Cost =
    Cost { cpu_mean: 0.0, cpu_most: 0.0, rss_most_kb: 0, pss_most_kb: 0, private_most_kb: 0 };

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn cost(of: &[[f64; 4]]) -> Option<Cost> {
    let most = |field: usize| of.iter().map(|cost| cost[field]).reduce(f64::max);
    Some(Cost {
        cpu_mean: of.iter().map(|cost| cost[0]).sum::<f64>() / of.len() as f64,
        cpu_most: most(0)?,
        rss_most_kb: most(1)? as u64,
        pss_most_kb: most(2)? as u64,
        private_most_kb: most(3)? as u64,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Leader,
    QuorumLeader,
    Tenth,
}

impl What {
    fn title(self) -> &'static str {
        match self {
            Self::Leader => "kill the leader",
            Self::QuorumLeader => "kill the quorum's leader",
            Self::Tenth => "kill the leader and a tenth of all",
        }
    }
}

fn play(cluster: &mut Cluster<'_>, what: What, rounds: usize) -> Kill {
    let (mut grants, mut lasts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        match one_round(cluster, what) {
            Ok(timing) => {
                grants.extend(timing.grant_ns);
                lasts.extend(timing.view_ns);
            }
            Err(failure) => {
                failed.push(failure.brief());
                break;
            }
        }
    }
    Kill { what: what.title(), grant: Summary::of(grants), last: Summary::of(lasts), failed }
}

fn one_round(cluster: &mut Cluster<'_>, what: What) -> Outcome<super::stats::Timing> {
    let apart = if what == What::QuorumLeader { Case::Quorum } else { Case::Leader };
    cluster.arrange(apart)?;
    thread::sleep(Duration::from_millis(500) + any_phase(Duration::from_millis(500)));
    cluster.catch_up();
    if what == What::QuorumLeader {
        return cluster.kill_quorum_leader();
    }
    let (leader, _, token) = cluster.told.leading()?;
    let quorum = cluster.told.quorum_leader()?.0;
    let mut doomed = Vec::new();
    if what == What::Tenth {
        let all = cluster.told.nodes.len();
        let is_spared = |name: &&String| **name == leader || **name == quorum;
        // One voter at most falls among the tenth.
        let votes = |name: &String| name.len() == 2 && name.as_str() <= "n5";
        let (voters, others): (Vec<_>, Vec<_>) =
            cluster.told.nodes.keys().filter(|name| !is_spared(name)).partition(|it| votes(it));
        let step = (others.len() / (all / 10)).max(1);
        doomed = others.into_iter().step_by(step).take(all / 10 - 1).cloned().collect();
        doomed.extend(voters.first().map(|voter| (*voter).clone()));
    }
    let start = cluster.kill(&leader)?;
    for name in &doomed {
        cluster.kill(name)?;
    }
    let timing = cluster.succession(start, token)?;
    for name in std::iter::once(&leader).chain(&doomed) {
        cluster.begin_again(name)?;
    }
    cluster.settle()?;
    Ok(timing)
}

fn ms_since(begun: u64) -> f64 {
    Duration::from_nanos(now() - begun).as_secs_f64() * 1000.0
}

#[allow(clippy::cast_precision_loss)]
fn lossy(kb: u64) -> f64 {
    kb as f64
}
