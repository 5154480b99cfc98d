//! `tenure node`: a member of the quorum.

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use rustix::process::Signal;
use tenure_core::{
    ElectionName, NodeName, Zone,
    timing::{Drift, Ttl, adaptive::TtlRange},
};
use tenure_quorum::node::{NodeConfig, Start};

use crate::{
    args,
    cli::{Global, asking, epilogue},
    discover::default_data_dir,
    error::{Exit, Failure, Outcome},
    limits, log,
    output::Output,
    parent, realtime,
    serve::{self, Contest, Setup},
};

/// Run a node: a member of the quorum that keeps elections
///
/// Give every node the same --peers, in any order, and its own --id: they found a cluster by
/// themselves, without another step. A further node joins a running cluster with --join, first
/// without a vote. A data directory that was used before knows its cluster by itself.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure node --id n1", "a cluster of one, on this machine"),
        ("tenure node --id n1 --peers n1=127.0.0.1:7401,n2=127.0.0.1:7402,n3=127.0.0.1:7403", ""),
        ("tenure node --id n4 --listen 127.0.0.1:7404 --join 127.0.0.1:7401", ""),
        ("tenure node --id n1 --campaign billing --json", "it also contends, as candidate n1"),
    ],
    &asking(&[
        (Exit::Yes, "stopped by SIGTERM"),
        (Exit::Conflict, "the port or the data directory is in use, or belongs to others"),
        (Exit::Denied, "no permission for the data directory or the address"),
        (Exit::Interrupted, "interrupted"),
    ]),
))]
pub(crate) struct NodeArgs {
    /// Name of this node, unique in the cluster
    #[arg(long, env = "TENURE_ID", value_name = "NAME")]
    id: NodeName,
    /// Where it keeps its log [default: ~/.local/state/tenure/nodes/NAME]
    #[arg(long, env = "TENURE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where it listens [default: its own entry in --peers, or 127.0.0.1:7400]
    #[arg(long, env = "TENURE_LISTEN", value_name = "HOST:PORT", value_parser = args::address_of)]
    listen: Option<String>,
    /// How others reach it, when that is not where it listens
    #[arg(
        long,
        env = "TENURE_ADVERTISE",
        value_name = "HOST:PORT",
        value_parser = args::address_of
    )]
    advertise: Option<String>,
    /// Listen on an address that other machines reach, without encryption or authentication
    #[arg(long)]
    insecure_listen: bool,
    /// The founding nodes, itself among them: n1=HOST:PORT,n2=HOST:PORT,...
    #[arg(
        long,
        env = "TENURE_PEERS",
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = args::node_at,
        conflicts_with = "join"
    )]
    peers: Vec<(NodeName, String)>,
    /// Join the running cluster of these nodes: HOST:PORT,HOST:PORT,...
    #[arg(
        long,
        env = "TENURE_JOIN",
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = args::address_of
    )]
    join: Vec<String>,
    /// What may fail together with this node: a rack, a room, a data centre. Voters are spread over
    /// zones, so that none takes the quorum with it
    #[arg(long, env = "TENURE_ZONE", value_name = "NAME")]
    zone: Option<Zone>,
    /// Tells clusters with the same --peers apart
    #[arg(long, env = "TENURE_CLUSTER", value_name = "NAME", conflicts_with = "join")]
    cluster: Option<String>,
    /// Contend for this election under the node's name; can be repeated
    #[arg(long, value_name = "ELECTION")]
    campaign: Vec<ElectionName>,
    /// What observers are told about its candidate [default: its name]
    #[arg(long, value_name = "TEXT", requires = "campaign")]
    value: Option<tenure_core::Value>,
    /// Length of the lease of its own candidate; two, like 1s..5s, let it adapt
    #[arg(
        long,
        env = "TENURE_TTL",
        value_name = "DUR[..DUR]",
        default_value = "5s",
        value_parser = args::lease
    )]
    ttl: TtlRange,
    /// Time between two signs of life of the quorum's leader [default: 50ms, less with a short
    /// election timeout]
    #[arg(long, value_name = "DUR", value_parser = args::some_time)]
    heartbeat: Option<Duration>,
    /// Silence after which a node asks for votes; two, like 50ms..500ms, let it and the heartbeat
    /// follow what is measured [default: 500ms, less with a short ttl]
    #[arg(long, value_name = "DUR[..DUR]", value_parser = args::span)]
    election_timeout: Option<(Duration, Duration)>,
    /// Bound on how wrong clock rates may be; the same on all nodes
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = args::drift)]
    drift: Drift,
    /// Nodes that joined get a vote while there are fewer voters than this
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u8).range(1..=7))]
    voters: u8,
    /// Replace a voter that was silent for this long, when a node without a vote is there to take
    /// its place [default: 30s]
    #[arg(long, value_name = "DUR", value_parser = args::some_time, conflicts_with = "no_replace")]
    replace_after: Option<Duration>,
    /// Never replace a silent voter
    #[arg(long)]
    no_replace: bool,
    /// Let the node's threads run before all ordinary work of this machine, in real time
    #[arg(long)]
    realtime: bool,
    /// Watch processes on this machine by pidfd, so that their death is known at once
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Switch::On)]
    local_proof: Switch,
    /// Reach a node under another address than it advertises: n2=HOST:PORT; can be repeated
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = args::node_at)]
    dial: Vec<(NodeName, String)>,
    /// End when this process, which must be the parent, ends
    #[arg(long, value_name = "PID")]
    die_with_parent: Option<u32>,
    /// Print each renewal of its own lease, too
    #[arg(long, hide = true)]
    lease_events: bool,
}

/// Silence after which a voter is replaced when nobody chooses: long enough for a restart.
const REPLACE_AFTER: Duration = Duration::from_secs(30);

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Runs the command.
pub(crate) fn run(args: NodeArgs, global: &Global, output: Output) -> Outcome {
    if let Some(parent) = args.die_with_parent {
        end_with(parent)?;
    }
    log::start(global, "warn,tenure=info,tenure_quorum=info,tenure_replica=info");
    limits::raise_open_files();
    let setup = setup(args)?;
    super::block_on(serve::run(setup, output))
}

fn end_with(parent: u32) -> Outcome<()> {
    let next = "start the node without --die-with-parent";
    parent::end_with(parent, Signal::KILL).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::Conflict,
            "the parent process is gone",
            format!("--die-with-parent names process {parent}, which is not the parent"),
            next,
        ),
        _ => Failure::io("--die-with-parent does not work here", &error, next),
    })
}

fn setup(args: NodeArgs) -> Outcome<Setup> {
    let realtime = realtime::wanted(args.realtime)?;
    let timing = Timing::choose(args.ttl.shortest(), args.election_timeout, args.heartbeat)?;
    let listed = args.peers.iter().find(|(name, _)| *name == args.id);
    let listed = listed.map(|(_, address)| address.clone());
    let listen =
        args.listen.or_else(|| listed.clone()).unwrap_or_else(|| String::from("127.0.0.1:7400"));
    // What the others were told to dial is what this node is known by.
    let advertise = args.advertise.or(listed);
    if !args.insecure_listen {
        for address in [Some(&listen), advertise.as_ref()].into_iter().flatten() {
            refuse_open(address)?;
        }
    }
    let data_dir = args.data_dir.unwrap_or_else(|| default_data_dir(&args.id));
    let knows_its_cluster = args.cluster.is_none() && data_dir.join("identity.json").exists();
    let start = if !args.join.is_empty() || (args.peers.is_empty() && knows_its_cluster) {
        Start::Join { contacts: args.join }
    } else {
        let own = (args.id.clone(), advertise.clone().unwrap_or_else(|| listen.clone()));
        let peers = if args.peers.is_empty() { vec![own] } else { args.peers };
        Start::Found { peers, cluster: args.cluster }
    };
    let config = NodeConfig {
        advertise,
        heartbeat: timing.heartbeat,
        election_timeout: timing.election_timeout,
        election_timeout_least: timing.election_timeout_least,
        drift: args.drift,
        voters: usize::from(args.voters),
        replace_after: (!args.no_replace).then(|| args.replace_after.unwrap_or(REPLACE_AFTER)),
        zone: args.zone,
        dial: args.dial.into_iter().collect(),
        local_proof: args.local_proof == Switch::On,
        on_thread_start: realtime,
        ..NodeConfig::new(args.id.clone(), data_dir, listen, start)
    };
    let value = args.value.map_or_else(|| args.id.to_string(), String::from);
    let contest = Contest {
        elections: args.campaign,
        candidate: args.id.to_string(),
        value,
        ttl: args.ttl,
        drift: args.drift,
        lease_events: args.lease_events,
    };
    Ok(Setup { config, contest })
}

/// Until nodes prove to each other who they are, nobody but this machine may reach them.
fn refuse_open(address: &str) -> Outcome<()> {
    if args::is_loopback(address) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("{address} can be reached from other machines"),
        "connections are neither encrypted nor authenticated yet: whoever reaches this node could \
         take over every election",
        "listen on 127.0.0.1, or, on a network where you trust everybody, add --insecure-listen",
    ))
}

/// How fast a node notices that the quorum's leader is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Time between two signs of life.
    pub(crate) heartbeat: Duration,
    /// Silence after which votes are asked for.
    pub(crate) election_timeout: Duration,
    /// Down to this it follows what is measured, and the heartbeat with it.
    pub(crate) election_timeout_least: Option<Duration>,
}

impl Timing {
    /// Silence after which votes are asked for when nobody chooses and leases are long.
    const USUAL: Duration = Duration::from_millis(500);
    /// The same when leases are short: with less, a busy machine would never be calm.
    const SHORTEST: Duration = Duration::from_millis(20);
    /// Heartbeats that fit into one election timeout when nobody chooses.
    const HEARTBEATS: u32 = 4;
    /// Election timeouts that a lease must outlive.
    const LEASE: u32 = 3;

    /// Fills in what was not given, and refuses what cannot work, with what would.
    ///
    /// A lease must outlive a change of the quorum's leader: up to two election timeouts, and
    /// the quarter of a lease between two renewals. With less, the silence of one node would
    /// end everybody's tenure.
    pub(crate) fn choose(
        ttl: Ttl,
        election_timeout: Option<(Duration, Duration)>,
        heartbeat: Option<Duration>,
    ) -> Outcome<Self> {
        let lease = ttl.get();
        let usual = (lease / 4).clamp(Self::SHORTEST, Self::USUAL);
        let (least, timeout) = election_timeout.unwrap_or((usual, usual));
        let beat = heartbeat.unwrap_or_else(|| round_down(timeout / Self::HEARTBEATS));
        if timeout < beat * 3 {
            return Err(Failure::usage(
                format!("an election timeout of {timeout:?} is too short"),
                format!(
                    "with a heartbeat of {beat:?}, two lost heartbeats would start an election; at \
                     least three must fit"
                ),
                format!("--election-timeout {:?}, or a shorter --heartbeat", beat * 3),
            ));
        }
        if least < timeout && least < Self::SHORTEST {
            return Err(Failure::usage(
                format!("an election timeout down to {least:?} is too short"),
                "no machine is that calm: what wakes a little late would start an election",
                format!("--election-timeout {:?}..{timeout:?}", Self::SHORTEST.min(timeout)),
            ));
        }
        if lease < timeout * Self::LEASE {
            return Err(Failure::usage(
                format!("a ttl of {lease:?} is too short"),
                format!(
                    "with an election timeout of {timeout:?}, the quorum may need {:?} to replace a \
                     leader that went silent; leases would end meanwhile",
                    timeout * 2
                ),
                format!(
                    "--ttl {:?}, or --election-timeout {:?}",
                    timeout * Self::LEASE,
                    round_down(lease / Self::LEASE)
                ),
            ));
        }
        let election_timeout_least = (least < timeout).then_some(least);
        Ok(Self { heartbeat: beat, election_timeout: timeout, election_timeout_least })
    }
}

/// Whole milliseconds, at least one.
fn round_down(length: Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn choose(ttl: u64, timeout: Option<u64>, beat: Option<u64>) -> Outcome<Timing> {
        let timeout = timeout.map(|timeout| (ms(timeout), ms(timeout)));
        Timing::choose(Ttl::new(ms(ttl)).unwrap(), timeout, beat.map(ms))
    }

    #[test]
    fn two_timeouts_are_bounds_and_the_longer_one_is_what_a_lease_must_outlive() {
        let choose = |ttl, least, most| {
            Timing::choose(Ttl::new(ms(ttl)).unwrap(), Some((ms(least), ms(most))), None)
        };
        let timing = choose(5000, 50, 400).unwrap();
        assert_eq!((timing.election_timeout, timing.heartbeat), (ms(400), ms(100)));
        assert_eq!(timing.election_timeout_least, Some(ms(50)));
        assert_eq!(choose(5000, 400, 400).unwrap().election_timeout_least, None);
        assert!(choose(1000, 50, 400).is_err());
        insta::assert_snapshot!(choose(5000, 5, 400).unwrap_err().human(false), @r"
        error: an election timeout down to 5ms is too short
          why: no machine is that calm: what wakes a little late would start an election
          next: --election-timeout 20ms..400ms
        ");
    }

    #[test]
    fn what_is_not_given_fits_the_lease() {
        let of = |ttl| {
            let timing = choose(ttl, None, None).unwrap();
            (timing.election_timeout, timing.heartbeat)
        };
        assert_eq!(of(5000), (ms(500), ms(125)));
        assert_eq!(of(1000), (ms(250), ms(62)));
        assert_eq!(of(60), (ms(20), ms(5)));
        assert!(choose(59, None, None).unwrap_err().next.contains("--ttl 60ms"));
    }

    #[test]
    fn impossible_timings_name_what_works() {
        insta::assert_snapshot!(choose(1000, Some(500), None).unwrap_err().human(false), @r"
        error: a ttl of 1s is too short
          why: with an election timeout of 500ms, the quorum may need 1s to replace a leader that went silent; leases would end meanwhile
          next: --ttl 1.5s, or --election-timeout 333ms
        ");
        assert!(choose(1500, Some(500), None).is_ok());
        assert!(choose(1000, Some(333), None).is_ok());
        insta::assert_snapshot!(choose(5000, Some(100), Some(50)).unwrap_err().human(false), @r"
        error: an election timeout of 100ms is too short
          why: with a heartbeat of 50ms, two lost heartbeats would start an election; at least three must fit
          next: --election-timeout 150ms, or a shorter --heartbeat
        ");
        assert!(choose(5000, Some(150), Some(50)).is_ok());
    }

    #[test]
    fn an_open_address_is_refused() {
        assert!(refuse_open("127.0.0.1:1").is_ok());
        assert_eq!(refuse_open("0.0.0.0:1").unwrap_err().exit, Exit::Usage);
    }
}
