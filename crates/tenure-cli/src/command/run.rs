//! `tenure run` and `tenure lock`: a command that runs only while this instance leads.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tenure_core::{
    CandidateId, ElectionName, NodeName, Value, Zone,
    timing::{Drift, adaptive::TtlRange},
};

use crate::{
    args,
    cli::{Global, epilogue_of},
    error::Outcome,
    output::Output,
    run,
};

/// Exit codes of `tenure run`: of the family of timeout(1), so that they differ from those of
/// most commands.
const EXITS: [(&str, &str); 10] = [
    ("any", "the command's own"),
    ("0", "also: with --once-per, the slot was taken before, and nothing ran"),
    ("120", "leadership was lost, and the command had stopped in time"),
    ("121", "leadership was lost, and the command had to be killed"),
    ("122", "alarm: the command could not be confirmed dead before the lease was over"),
    ("124", "not elected within --wait (another number with -E)"),
    ("125", "tenure itself failed; the message says why"),
    ("126", "the command cannot be executed"),
    ("127", "there is no such command"),
    ("128+N", "the command died of signal N"),
];

/// Run a command only while this instance leads
///
/// Contends for the election, starts the command when elected, and stops it before the lease
/// ends if that is not renewed. Leadership is given up only when the command and all its
/// descendants are dead, also when tenure itself is killed. Signals, standard input, terminal
/// and exit code are those of the command.
#[derive(Debug, Clone, Args)]
#[command(after_help = epilogue_of(
    &[
        ("tenure run nightly -- ./job --all", "one of all that this user runs on this machine"),
        ("tenure run billing --url tenure://10.0.0.1:7400,10.0.0.2:7400 -- ./worker", ""),
        ("tenure run billing --peers a=10.0.0.1:7400,b=10.0.0.2:7400,c=10.0.0.3:7400 --insecure-listen -- ./worker",
         ""),
        ("tenure run cron --no-wait -E 0 -- ./rotate", "somebody else does it: fine"),
        ("tenure run rotate --once-per 1h -- ./rotate", "from cron, on every host: one runs it"),
        ("tenure run api --forever --listen 127.0.0.1:4040 -- ./serve", "for a service manager"),
        ("tenure run pool --slots 3 -- ./worker", "three at once, each with a number of its own"),
        ("tenure run orders --partitions 16 -- ./worker", "on every host: each leads its share"),
        ("tenure run billing --dry-run", "the time that there is for each step"),
    ],
    &EXITS,
))]
pub(crate) struct RunArgs {
    /// The election
    pub(crate) election: ElectionName,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Run a command while holding a lock
///
/// The same as `tenure run`, for those who look for a lock: the command runs while this
/// process, and no other, has the name. With --slots N, N processes have it at once.
#[derive(Debug, Clone, Args)]
#[command(after_help = epilogue_of(
    &[
        ("tenure lock backup -- rsync -a src dst", "one at a time, of this user, on this machine"),
        ("tenure lock backup -n -E 0 -- ./backup", "or not at all"),
        ("tenure lock gpu --slots 2 -- ./train", "two at a time"),
    ],
    &EXITS,
))]
pub(crate) struct LockArgs {
    /// The lock
    pub(crate) name: ElectionName,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What both have.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) member: Member,
    #[command(flatten)]
    pub(crate) time: Time,
    #[command(flatten)]
    pub(crate) after: After,
    #[command(flatten)]
    pub(crate) child: ChildArgs,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
    #[command(flatten)]
    pub(crate) hooks: HookArgs,
    #[command(flatten)]
    pub(crate) outside: Outside,
    /// Print the time that there is for each step, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Without a URL or peers anywhere, become the command at once
    #[arg(long)]
    pub(crate) if_configured: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Who contends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who")]
pub(crate) struct Who {
    /// Name of this candidate, unique in the election [default: POD_NAME, or HOST-PID-CHANCE]
    #[arg(long, env = "TENURE_ID", value_name = "ID")]
    pub(crate) id: Option<CandidateId>,
    /// What observers are told, for example an address [default: the id]
    #[arg(long, env = "TENURE_VALUE", value_name = "TEXT")]
    pub(crate) value: Option<Value>,
    /// Preferred as successor when higher
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) priority: u8,
    /// Ask a leader of lower priority to hand over (only in a quorum of Tenure nodes)
    #[arg(long)]
    pub(crate) preempt: bool,
    /// So many leaders at once: contends for ELECTION/0 to ELECTION/N-1, and keeps the first won
    #[arg(short = 'k', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) slots: u16,
    /// Share ELECTION/0 to ELECTION/N-1 with all who run the same: a command for each partition
    /// that falls to this instance ($TENURE_PARTITION), moved as instances come and go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096),
          conflicts_with_all = ["slots", "preempt", "once_per", "wait", "no_wait", "listen",
                                "foreground"])]
    pub(crate) partitions: Option<u32>,
    /// The share of this instance is in proportion to this; with 0 it takes nothing
    #[arg(long, value_name = "N", default_value_t = 1, requires = "partitions")]
    pub(crate) weight: u16,
    /// This instance leads at most so many of them
    #[arg(long, value_name = "N", requires = "partitions")]
    pub(crate) max_partitions: Option<u32>,
    /// A partition that is led moves when its plan has been the same for this long
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = args::duration,
          requires = "partitions")]
    pub(crate) settle: Duration,
    /// Run at most once for each SLOT: a length of time (1h, 1d: the UTC hour or day in which this
    /// started), or a name, later ones being higher as text (2026-11-21)
    #[arg(long, value_name = "SLOT", value_parser = run::once_per)]
    pub(crate) once_per: Option<run::OncePer>,
}

/// A quorum of the very processes that contend.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Member of a quorum in this process")]
pub(crate) struct Member {
    /// These processes form the quorum: a=HOST:PORT,b=HOST:PORT,...
    #[arg(long, env = "TENURE_PEERS", value_name = "LIST", value_delimiter = ',',
          value_parser = args::node_at, conflicts_with = "url")]
    pub(crate) peers: Vec<(NodeName, String)>,
    /// Which of them this is [default: the one named like this host, or with its address]
    #[arg(long, env = "TENURE_NODE_ID", value_name = "NAME", requires = "peers")]
    pub(crate) node_id: Option<NodeName>,
    /// Where it keeps its log [default: ~/.local/state/tenure/nodes/NAME]
    #[arg(long, env = "TENURE_DATA_DIR", value_name = "DIR", requires = "peers")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where it listens for its peers [default: its own entry in --peers]
    #[arg(long, value_name = "HOST:PORT", value_parser = args::address_of, requires = "peers")]
    pub(crate) node_listen: Option<String>,
    /// What may fail together with this process: a rack, a room, a data centre
    #[arg(long, env = "TENURE_ZONE", value_name = "NAME", requires = "peers")]
    pub(crate) zone: Option<Zone>,
    /// Listen on an address that other machines reach, without encryption or authentication
    #[arg(long, requires = "peers")]
    pub(crate) insecure_listen: bool,
}

/// How long things take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Time")]
pub(crate) struct Time {
    /// Length of the lease; two, like 3s..10s, let it adapt to round trips and stalls
    #[arg(long, env = "TENURE_TTL", value_name = "DUR[..DUR]", default_value = "5s",
          value_parser = args::lease)]
    pub(crate) ttl: TtlRange,
    /// From asking the command to stop until it is killed
    #[arg(long, value_name = "DUR", default_value = "1500ms", value_parser = args::duration)]
    pub(crate) stop_timeout: Duration,
    /// From killing the command until the lease is over
    #[arg(long, value_name = "DUR", default_value = "250ms", value_parser = args::some_time)]
    pub(crate) kill_margin: Duration,
    /// Bound on how wrong clock rates may be
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = args::drift)]
    pub(crate) drift: Drift,
    /// Let the threads that renew the lease and keep its deadline run before all ordinary work of
    /// this machine, in real time; never the command
    #[arg(long)]
    pub(crate) realtime: bool,
    /// Give up when not elected after this long
    #[arg(long, value_name = "DUR", value_parser = args::duration)]
    pub(crate) wait: Option<Duration>,
    /// Give up at once when somebody else leads
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,
    /// Exit code when not elected in time
    #[arg(short = 'E', long, value_name = "N", default_value_t = 124)]
    pub(crate) conflict_exit_code: u8,
    /// Pause between winning and starting the command
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = args::duration)]
    pub(crate) delay: Duration,
}

/// What comes after.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "After a loss, after the command")]
pub(crate) struct After {
    /// What to do when leadership is lost or handed over
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnLost::Exit)]
    pub(crate) on_lost: OnLost,
    /// What to do when the command ends by itself
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnExit::Resign)]
    pub(crate) on_exit: OnExit,
    /// Shortest and longest pause before a restart; it doubles in between
    #[arg(long, value_name = "DUR..DUR", default_value = "1s..30s", value_parser = args::span)]
    pub(crate) backoff: (Duration, Duration),
    /// Resign after so many restarts in one tenure
    #[arg(long, value_name = "N")]
    pub(crate) max_restarts: Option<u32>,
    /// Same as --on-lost standby --on-exit restart
    #[arg(long)]
    pub(crate) forever: bool,
    /// Exit code after a loss, in place of 120 and 121
    #[arg(long, value_name = "N")]
    pub(crate) lost_code: Option<u8>,
}

/// What to do when leadership is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// End with code 120 or 121.
    Exit,
    /// Contend again, and start the command again when elected.
    Standby,
}

/// What to do when the command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    /// Give leadership up and end with its exit code.
    Resign,
    /// Start it again.
    Restart,
    /// Stay the leader without it.
    Hold,
}

/// The command itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The command")]
pub(crate) struct ChildArgs {
    /// Run this with sh -c; what follows -- are its arguments
    #[arg(short = 'c', value_name = "STRING")]
    pub(crate) shell: Option<OsString>,
    /// Its standard input
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = StdinFrom::Inherit)]
    pub(crate) stdin: StdinFrom,
    /// Leave it in the process group of this one
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Start it in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable of its environment; can be repeated
    #[arg(long, value_name = "K=V", value_parser = run::assignment)]
    pub(crate) env: Vec<(String, String)>,
    /// Give it nothing of this environment but what --env and tenure set
    #[arg(long)]
    pub(crate) clear_env: bool,
    /// What asks it to stop
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = run::signal)]
    pub(crate) stop_signal: i32,
    /// Signals to pass on, or none
    #[arg(long, value_name = "LIST", default_value = "HUP,INT,QUIT,TERM,USR1,USR2,WINCH,TSTP,CONT",
          value_parser = run::signals)]
    pub(crate) forward: run::Signals,
    /// Run it in a control group of its own, which is killed with one write (version 2, delegated)
    #[arg(long)]
    pub(crate) cgroup: bool,
    /// Also set the variables of these: consul, etcd
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    pub(crate) compat_env: Vec<run::Compat>,
}

/// Where standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StdinFrom {
    /// From wherever this process has it.
    Inherit,
    /// It is empty.
    Null,
}

/// Health.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthArgs {
    /// Resign when this fails while leading; then it must succeed before contending again
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) check: Option<run::Words>,
    /// Time between two checks, and the longest time for one
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = args::some_time)]
    pub(crate) check_interval: Duration,
    /// So many failures in a row are one too many
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) check_fail: u32,
    /// Do not contend until this succeeds
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) ready_check: Option<run::Words>,
}

/// Hooks: programs with arguments, separated by spaces; no shell.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hooks (called with EVENT ROLE ELECTION TOKEN; no shell)")]
pub(crate) struct HookArgs {
    /// After winning, before the command starts; a failure resigns
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) on_promote: Option<run::Words>,
    /// After the command is dead, before leadership is given up
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) on_demote: Option<run::Words>,
    /// When it begins to wait
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) on_standby: Option<run::Words>,
    /// When another leader is seen
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) on_change: Option<run::Words>,
    /// When leadership was lost against its will, after the command is dead
    #[arg(long, value_name = "CMD", value_parser = run::words)]
    pub(crate) on_loss: Option<run::Words>,
    /// Longest time for one hook
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = args::some_time)]
    pub(crate) hook_timeout: Duration,
}

/// Who may look on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "For others to see")]
pub(crate) struct Outside {
    /// Write events to this open file descriptor, one JSON object per line
    #[arg(long, value_name = "N", conflicts_with = "events_file")]
    pub(crate) events_fd: Option<u32>,
    /// Append events to this file or named pipe
    #[arg(long, value_name = "PATH")]
    pub(crate) events_file: Option<PathBuf>,
    /// Answer HTTP here: /leader /standby /livez /readyz /v1/self; loopback or unix:PATH
    #[arg(long, value_name = "WHERE", value_parser = run::listen)]
    pub(crate) listen: Option<run::Listen>,
    /// Talk to systemd: auto, or pass on what the command says, or off
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Notify::Auto)]
    pub(crate) notify: Notify,
}

/// Who talks to the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Notify {
    /// This process: ready when it contends, and what it does.
    Auto,
    /// The command, through this process.
    Pass,
    /// Nobody.
    Off,
}

/// Runs `tenure run`.
pub(crate) fn run(args: RunArgs, global: &Global, output: Output) -> Outcome<u8> {
    run::main(args.election, args.options, global, output)
}

/// Runs `tenure lock`.
pub(crate) fn lock(args: LockArgs, global: &Global, output: Output) -> Outcome<u8> {
    run::main(args.name, args.options, global, output)
}
