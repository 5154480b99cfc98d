//! `cargo xtask bench peers`: ours beside etcd, ZooKeeper and Redis for the same work in the same
//! run. The work is the test kit's (`peers-bench`), which speaks to the servers; here are the
//! ratios, the goals, the picture.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ours::Ours;
use super::scale::{Series, growth, plot};
use super::stats::load_average;
use super::stores::testkit;
use super::table::{ms, numbers, plain};
use crate::failure::{Failure, Outcome};
use crate::install;

/// What to run.
#[derive(Args)]
pub(crate) struct PeersArgs {
    /// How many watch, each on a connection of its own
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 300, 1000])]
    watchers: Vec<usize>,
    /// Changes of the leader with each number of watchers, the stores in turn
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Elections held on four sessions, for what a grant and a renewal cost; none with 0
    #[arg(long, default_value_t = 2000)]
    elections: u32,
    /// Length of their leases, in milliseconds; whole seconds, for etcd
    #[arg(long, default_value_t = 4000)]
    ttl: u32,
    /// Only these: tenure, etcd, zookeeper, redis
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Build the bench without optimisation: quicker to begin, but the watchers cost more
    #[arg(long)]
    unoptimised: bool,
    /// Print the report as JSON instead of text
    #[arg(long)]
    json: bool,
    /// Where the report and the picture go
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure the nodes of this `tenure` binary instead of building one
    #[arg(long)]
    tenure: Option<PathBuf>,
}

/// What the test kit found out.
#[derive(Debug, Deserialize)]
struct Found {
    told: Vec<Told>,
    held: Vec<Held>,
}

/// How fast the last watcher was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    store: String,
    watchers: usize,
    last_ms: Vec<f64>,
    server_cpu_us: f64,
    watcher_cpu_us: f64,
}

impl Told {
    fn median(&self) -> f64 {
        self.last_ms.get(self.last_ms.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// What held elections cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    store: String,
    elections: u32,
    sessions: u32,
    grants_per_second: f64,
    cpu_us_per_grant: f64,
    cpu_us_per_renewal: f64,
    taken_over_in_ms: f64,
    first_after_ms: f64,
}

/// A claim of the project: a ratio, its bound, and what the project would like it to be.
#[derive(Debug, Serialize)]
struct Goal {
    claim: String,
    ratio: f64,
    at_most: f64,
    wished: Option<f64>,
}

/// Runs the bench and prints its report.
pub(crate) fn run(args: &PeersArgs) -> Outcome {
    install::servers()?;
    let out = args.out.clone().unwrap_or_else(|| install::target().join("bench/peers"));
    let cannot = |why: std::io::Error| {
        Failure::new(format!("cannot write to {}", out.display()), why, "choose another --out")
    };
    std::fs::create_dir_all(&out).map_err(cannot)?;
    let bench = testkit("peers-bench", &[], !args.unoptimised)?;
    let tenure = match &args.tenure {
        Some(tenure) => tenure.clone(),
        None => Ours::build()?,
    };
    let before = load_average();
    let found = found(Command::new(bench).arg(tenure).args(words(args)).args(&args.only))?;
    let load = [before, load_average()];
    let goals = goals(&found);
    let report = json!({
        "v": 1,
        "bench": "peers",
        "rounds": args.rounds,
        "told": found.told,
        "held": found.held,
        "goals": goals.iter().map(judged).collect::<Vec<_>>(),
        "load_average": load,
    });
    let report = serde_json::to_string_pretty(&report).unwrap_or_default();
    std::fs::write(out.join("peers.json"), &report).map_err(cannot)?;
    let series = series(&found.told);
    let picture = plot(
        "A new leader: until the last watcher is told",
        ("watchers", "milliseconds"),
        &series.iter().collect::<Vec<_>>(),
    );
    std::fs::write(out.join("peers.svg"), picture).map_err(cannot)?;
    println!("{}", if args.json { report } else { text(&found, &goals, args.rounds, &load) });
    eprintln!("report and picture: {}", out.display());
    Ok(())
}

fn words(args: &PeersArgs) -> [String; 4] {
    let watchers: Vec<_> = args.watchers.iter().map(ToString::to_string).collect();
    let numbers = [args.rounds.to_string(), args.elections.to_string(), args.ttl.to_string()];
    let [rounds, elections, ttl] = numbers;
    [watchers.join(","), rounds, elections, ttl]
}

fn found(command: &mut Command) -> Outcome<Found> {
    let failed = |why: String| Failure::new("the bench failed", why, "see its words above");
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|why| failed(why.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|why| failed(why.to_string()))
}

fn series(told: &[Told]) -> Vec<Series> {
    let names = [
        ("tenure", "tenure (a resign, a grant, all views)"),
        ("etcd", "etcd (one put, watched)"),
        ("zookeeper", "ZooKeeper (one set, watched)"),
        ("redis", "Redis (one PUBLISH)"),
    ];
    let of = |(store, name): (&str, &'static str)| {
        let points = told.iter().filter(|told| told.store == store);
        let points = points.map(|told| (told.watchers as f64, told.median()));
        Series { name, unit: "ms", points: points.collect() }
    };
    names.into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

fn goals(found: &Found) -> Vec<Goal> {
    let mut goals = Vec::new();
    let most = found.told.iter().map(|told| told.watchers).max().unwrap_or(0);
    let last = |store: &str| {
        let told = found.told.iter().find(|it| it.store == store && it.watchers == most);
        told.map(Told::median)
    };
    let held = |store: &str| found.held.iter().find(|held| held.store == store);
    let mut goal =
        |claim: String, ours: Option<f64>, theirs: Option<f64>, bounds: (f64, Option<f64>)| {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let (at_most, wished) = bounds;
                goals.push(Goal { claim, ratio: ours / theirs, at_most, wished });
            }
        };
    let to_last = |peer: &str| format!("until the last of {most} watchers is told, ours / {peer}");
    goal(to_last("etcd"), last("tenure"), last("etcd"), (0.45, None));
    goal(to_last("Redis pub/sub"), last("tenure"), last("redis"), (1.0, None));
    let renewal = |store| held(store).map(|it| it.cpu_us_per_renewal);
    let grant = |store| held(store).map(|it| it.cpu_us_per_grant);
    let (each, durable) =
        ("processor for a renewal of one election", "processor for a durable grant");
    for (peer, name) in [("etcd", "etcd"), ("zookeeper", "ZooKeeper")] {
        let bounds = (1.0 / 15.0, Some(0.001));
        goal(format!("{each}, ours / {name}"), renewal("tenure"), renewal(peer), bounds);
        let bounds = (1.0 / 5.0, Some(1.0 / 20.0));
        goal(format!("{durable}, ours / {name}"), grant("tenure"), grant(peer), bounds);
    }
    goals
}

fn judged(goal: &Goal) -> Value {
    json!({ "goal": goal, "holds": goal.ratio <= goal.at_most })
}

fn text(found: &Found, goals: &[Goal], rounds: usize, load: &[String; 2]) -> String {
    let mut text = format!(
        "until the last of N watchers is told of a new leader: medians of {rounds} rounds, the \
         stores in turn,\nall watchers in one process on connections of their own\n"
    );
    let mut table = plain(&[
        "store",
        "watchers",
        "last told",
        "slowest",
        "/ ours",
        "server cpu",
        "watcher cpu",
    ]);
    let ours = |watchers| {
        let told = found.told.iter().find(|it| it.store == "tenure" && it.watchers == watchers);
        told.map(Told::median)
    };
    for told in &found.told {
        let ratio = ours(told.watchers).map(|ours| format!("{:.2}", told.median() / ours));
        table.add_row(numbers(vec![
            told.store.clone(),
            told.watchers.to_string(),
            ms(told.median()),
            told.last_ms.last().map(|most| ms(*most)).unwrap_or_default(),
            ratio.unwrap_or_default(),
            format!("{:.1} us", told.server_cpu_us),
            format!("{:.1} us", told.watcher_cpu_us),
        ]));
    }
    text +=
        &format!("{table}\ncpu: of all servers, and of the watchers, for one watcher and change\n");
    if !found.held.is_empty() {
        text += &format!("\nelections held on a few sessions\n{}\n", held_table(&found.held));
        text += "cpu: of all servers; a renewal: for each election and quarter of the lease\n";
    }
    for series in series(&found.told) {
        if let Some(slope) = series.slope() {
            text += &format!("\nwatchers^{slope:.2} ({})  {}", growth(slope), series.name);
        }
    }
    text += "\n";
    for goal in goals {
        let verdict = if goal.ratio <= goal.at_most { "holds " } else { "MISSED" };
        let wished = goal.wished.map(|it| format!(", wished {it:.3}")).unwrap_or_default();
        text += &format!(
            "\n{verdict} {}: {:.4}, at most {:.3}{wished}",
            goal.claim, goal.ratio, goal.at_most
        );
    }
    text + &format!("\nload average {} → {}\n", load[0], load[1])
}

fn held_table(all: &[Held]) -> comfy_table::Table {
    let mut table = plain(&[
        "store",
        "elections",
        "grants/s",
        "cpu a grant",
        "cpu a renewal",
        "kill -9: first led again",
        "all",
    ]);
    for held in all {
        table.add_row(numbers(vec![
            held.store.clone(),
            held.elections.to_string(),
            format!("{:.0}", held.grants_per_second),
            format!("{:.1} us", held.cpu_us_per_grant),
            format!("{:.3} us", held.cpu_us_per_renewal),
            ms(held.first_after_ms),
            ms(held.taken_over_in_ms),
        ]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_most_watchers_and_ours_is_above_the_line() {
        let told = |store: &str, watchers, last| Told {
            store: store.into(),
            watchers,
            last_ms: vec![last],
            server_cpu_us: 1.0,
            watcher_cpu_us: 1.0,
        };
        let told = vec![
            told("tenure", 10, 9.0),
            told("tenure", 1000, 8.0),
            told("etcd", 1000, 32.0),
            told("redis", 1000, 4.0),
        ];
        let goals = goals(&Found { told, held: Vec::new() });
        let ratios: Vec<_> = goals.iter().map(|goal| goal.ratio).collect();
        assert_eq!(ratios, [0.25, 2.0]);
        let holds: Vec<_> = goals.iter().map(|goal| goal.ratio <= goal.at_most).collect();
        assert_eq!(holds, [true, false]);
    }
}
