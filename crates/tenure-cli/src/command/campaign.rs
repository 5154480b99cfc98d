//! `tenure campaign`: contend for an election, and lead until a signal.

use std::{cell::Cell, time::Duration};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tenure::{Campaign, Elector, Error, Leadership};
use tenure_core::{
    CandidateId, ElectionName, Token, Value,
    ledger::Refusal,
    timing::{Drift, adaptive::TtlRange},
};
use tenure_quorum::clock;

use super::StopSignals;
use crate::{
    args,
    ask::PATIENCE,
    cli::{Global, asking, epilogue},
    discover,
    error::{Exit, Failure, Outcome},
    output::{Output, json, time},
    realtime,
    store::{self, failed},
};

/// How long to wait for the store to learn of a resignation.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause before contending again after a refusal that may pass.
const AGAIN: Duration = Duration::from_millis(500);
/// After this long without a decision, a campaign says that it waits.
const WAITING: Duration = Duration::from_millis(200);

/// Contend for an election, and hold leadership until ctrl-C or SIGTERM
///
/// Prints one line per event. It has no work of its own: when it is asked to hand over, it does
/// so at once and waits in the queue again.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure campaign billing", "under a name made of host, pid and chance"),
        ("tenure campaign billing --id worker-7 --value 10.0.0.7:8080", ""),
        ("tenure campaign billing --json", "one JSON object per event"),
        ("tenure campaign billing --ttl 300ms..5s", "a lease that adapts"),
        ("tenure campaign billing -u file:///var/lock/jobs", "among processes of this machine"),
    ],
    &asking(&[
        (Exit::Yes, "stopped by SIGTERM, after resigning"),
        (Exit::No, "leadership was lost, with --on-lost exit"),
        (Exit::Conflict, "another live process contends under that id"),
        (Exit::Denied, "banned by an operator, with --on-lost exit"),
        (Exit::Interrupted, "stopped by ctrl-C, after resigning"),
    ]),
))]
pub(crate) struct CampaignArgs {
    /// The election
    election: ElectionName,
    /// Name of this candidate, unique in the election [default: HOST-PID-CHANCE]
    #[arg(long, env = "TENURE_ID", value_name = "ID")]
    id: Option<CandidateId>,
    /// What observers are told [default: the id]
    #[arg(long, env = "TENURE_VALUE", value_name = "TEXT")]
    value: Option<Value>,
    /// Preferred as successor when higher
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Length of the lease; two, like 300ms..5s, let it adapt to round trips and stalls
    #[arg(
        long,
        env = "TENURE_TTL",
        value_name = "DUR[..DUR]",
        default_value = "5s",
        value_parser = args::lease
    )]
    ttl: TtlRange,
    /// Bound on how wrong clock rates may be
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = args::drift)]
    drift: Drift,
    /// Let the thread that renews the lease run before all ordinary work of this machine, in real
    /// time
    #[arg(long)]
    realtime: bool,
    /// What to do when leadership is lost against its will
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnLost::Standby)]
    on_lost: OnLost,
}

/// What to do when leadership is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// Contend again.
    Standby,
    /// End with code 1.
    Exit,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    /// It contends.
    Campaigning,
    /// Somebody else leads.
    Waiting { position: u32 },
    /// It leads.
    Elected { token: Token },
    /// The lease in force has another length.
    Retimed { token: Token, ttl_ms: u64 },
    /// It was asked to hand over, and did.
    Handover { token: Token },
    /// It does not lead any more, against its will.
    Lost { token: Token, reason: &'static str },
    /// It gave up.
    Resigned { token: Token },
    /// It may not contend for now.
    Refused { reason: String },
}

/// What every line has.
#[derive(Debug, Serialize)]
struct Stamp<'a> {
    at: String,
    mono_ns: u64,
    election: &'a ElectionName,
    id: &'a CandidateId,
}

/// How one leadership, or the wait for it, ended.
enum Next {
    Again,
    Leave(Exit),
}

/// Runs the command.
pub(crate) async fn run(args: CampaignArgs, global: &Global, output: Output) -> Outcome {
    let mut stop = StopSignals::listen()?;
    let id = match args.id.clone() {
        Some(id) => id,
        None => random_id(std::process::id())?,
    };
    let elector = Elector::builder()
        .adaptive_ttl(args::bounds(args.ttl))
        .drift(args.drift)
        .timeout(global.timeout.unwrap_or(PATIENCE));
    let elector = realtime::elector(elector, realtime::wanted(args.realtime)?);
    let elector = async {
        let elector = match store::url(global) {
            Some(url) => elector.connect(url).await,
            None => elector.reach(discover::cluster(global)?.endpoints).await,
        };
        elector.map_err(|error| failed(&error))
    };
    let elector = tokio::select! {
        elector = elector => elector?,
        _ = stop.name() => return Ok(Exit::Interrupted),
    };
    let exit =
        Runner { args, id, output, refused: Cell::new(false) }.contend(&elector, &mut stop).await;
    elector.close();
    exit
}

struct Runner {
    args: CampaignArgs,
    id: CandidateId,
    output: Output,
    /// A refusal that lasts is told once.
    refused: Cell<bool>,
}

impl Runner {
    fn tell(&self, event: &Event) -> Outcome<()> {
        self.refused.set(matches!(event, Event::Refused { .. }));
        let line = if self.output.json {
            let stamp = Stamp {
                at: time::rfc3339(clock::wall()),
                mono_ns: clock::monotonic_nanos(),
                election: &self.args.election,
                id: &self.id,
            };
            json::line(event, &stamp)
        } else {
            self.human(event)
        };
        self.output.data(&line)
    }

    fn human(&self, event: &Event) -> String {
        let at = time::rfc3339(clock::wall());
        let clock = at.get(11..23).unwrap_or(&at);
        let paint = self.output.paint();
        let what = match event {
            Event::Campaigning => {
                format!("{} contends for {}", self.id, paint.strong(&self.args.election))
            }
            Event::Waiting { position } => format!("waits, number {position} in the queue"),
            Event::Elected { token } => paint.good(format!("leads with token {token}")),
            Event::Retimed { ttl_ms, .. } => {
                let ttl = Duration::from_millis(*ttl_ms);
                paint.dim(format!("the lease is {} now", time::span(ttl)))
            }
            Event::Handover { token } => format!("handed over (token {token}), waits again"),
            Event::Lost { token, reason } => paint.bad(format!("lost token {token} ({reason})")),
            Event::Resigned { token } => format!("resigned (token {token})"),
            Event::Refused { reason } => paint.unsure(format!("refused for now: {reason}")),
        };
        format!("{}  {what}", paint.dim(clock))
    }

    async fn contend(&self, elector: &Elector, stop: &mut StopSignals) -> Outcome {
        let value = self.args.value.as_ref().map_or(self.id.as_str(), Value::as_str);
        self.tell(&Event::Campaigning)?;
        loop {
            let campaign = elector
                .campaign(self.args.election.as_str(), self.id.as_str())
                .value(value)
                .priority(self.args.priority)
                .start()
                .map_err(|error| failed(&error))?;
            match self.lead(campaign, stop).await? {
                Next::Leave(exit) => return Ok(exit),
                Next::Again => {
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        name = stop.name() => return Ok(exit_of(name)),
                    }
                }
            }
        }
    }

    /// One campaign, tenure after tenure.
    async fn lead(&self, mut campaign: Campaign, stop: &mut StopSignals) -> Outcome<Next> {
        loop {
            let elected = tokio::select! {
                elected = self.wait(&mut campaign) => elected?,
                name = stop.name() => {
                    campaign.withdraw(FAREWELL).await;
                    return Ok(Next::Leave(exit_of(name)));
                }
            };
            let leadership = match elected {
                Ok(leadership) => leadership,
                Err(error) => return self.refused(&error),
            };
            let token = leadership.token();
            self.tell(&Event::Elected { token })?;
            match self.hold(leadership, stop).await? {
                None => {}
                Some(Exit::No) => return Ok(Next::Leave(Exit::No)),
                Some(exit) => {
                    // The release is under way; it is done when the campaign is over.
                    let _ = tokio::time::timeout(FAREWELL, campaign.elected()).await;
                    self.tell(&Event::Resigned { token })?;
                    return Ok(Next::Leave(exit));
                }
            }
        }
    }

    /// Waits for leadership, and says so when it takes a while.
    async fn wait(&self, campaign: &mut Campaign) -> Outcome<Result<Leadership, Error>> {
        if let Ok(elected) = tokio::time::timeout(WAITING, campaign.elected()).await {
            return Ok(elected);
        }
        if let Some(position) = campaign.position() {
            self.tell(&Event::Waiting { position })?;
        }
        Ok(campaign.elected().await)
    }

    /// One leadership; with an exit, the process ends after it.
    async fn hold(&self, leadership: Leadership, stop: &mut StopSignals) -> Outcome<Option<Exit>> {
        let token = leadership.token();
        // As it was asked for: what it has become by now is told.
        let mut ttl = self.args.ttl.longest().get();
        loop {
            tokio::select! {
                lost = leadership.lost() => {
                    self.tell(&Event::Lost { token, reason: lost.loss.as_str() })?;
                    return Ok((self.args.on_lost == OnLost::Exit).then_some(Exit::No));
                }
                () = leadership.handover_asked() => {
                    // Said before it is given up: the successor's word cannot come earlier.
                    let told = self.tell(&Event::Handover { token });
                    leadership.hand_over();
                    return told.map(|()| None);
                }
                name = stop.name() => {
                    leadership.resign();
                    return Ok(Some(exit_of(name)));
                }
                now = leadership.ttl_other_than(ttl) => {
                    ttl = now;
                    self.tell(&Event::Retimed { token, ttl_ms: time::millis(ttl) })?;
                }
            }
        }
    }

    fn refused(&self, error: &Error) -> Outcome<Next> {
        match error {
            Error::Left => Ok(Next::Again),
            Error::Refused(Refusal::Banned { .. } | Refusal::Limit { .. })
                if self.args.on_lost == OnLost::Standby =>
            {
                if !self.refused.replace(true) {
                    self.tell(&Event::Refused { reason: error.to_string() })?;
                }
                Ok(Next::Again)
            }
            other => Err(failed(other)),
        }
    }
}

fn exit_of(signal: &str) -> Exit {
    if signal == "SIGINT" { Exit::Interrupted } else { Exit::Yes }
}

/// A name that no other process has: host, process and chance.
pub(crate) fn random_id(process: u32) -> Outcome<CandidateId> {
    use std::hash::{BuildHasher, Hasher};
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    let chance = std::hash::RandomState::new().build_hasher().finish() & 0xffff;
    let name = format!("{host}-{process}-{chance:04x}");
    CandidateId::new(name).map_err(|error| {
        Failure::usage("this host's name makes no candidate id", error, "give one with --id")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_a_good_name() {
        let id = random_id(std::process::id()).unwrap();
        assert!(id.as_str().contains(&std::process::id().to_string()), "{id}");
        assert_ne!(random_id(std::process::id()).unwrap(), id);
    }
}
