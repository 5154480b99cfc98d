//! What goes wrong and when, drawn from a seed. Pure: the same seed gives the same plan; whom a
//! victim's description fits is only known when its turn comes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Action {
    /// From the beginning of the trouble.
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) victim: Victim,
    /// Picks one of several nodes that fit.
    pub(super) draw: u64,
    /// Until the node is started, woken or replaced.
    pub(super) lasts: Duration,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// kill -9, and started again.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// SIGTERM, and started again.
    Leave,
    /// Removed from the cluster for good; a new node joins.
    Replace,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Victim {
    /// Who leads the election.
    Leader,
    /// Who leads the quorum.
    QuorumLeader,
    /// A node that votes.
    Voter,
    /// Any node at all.
    Anyone,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Leave => "leave",
            Self::Replace => "replace",
        })
    }
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Kill, Self::Pause, Self::Leave, Self::Replace];
}

/// A small generator of numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly between two lengths.
    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let share = self.roll() % 1_000_001;
        low + (high - low).mul_f64(share as f64 / 1e6)
    }

    fn percent(&mut self) -> u64 {
        self.roll() % 100
    }
}

/// Shortest time that a node is away.
const SHORT: Duration = Duration::from_millis(100);

/// So many actions. Their distances are even between half and one and a half times `every`; a
/// quarter of the victims leads the election or the quorum, because of hundreds of nodes chance
/// alone would hit those hardly ever; half of the pauses outlast a lease.
pub(super) fn plan(seed: u64, actions: usize, every: Duration, ttl: Duration) -> Vec<Action> {
    let mut dice = Dice(seed);
    let mut at = Duration::ZERO;
    let mut all = Vec::new();
    for _ in 0..actions {
        at += dice.between(every / 2, every * 3 / 2);
        let kind = match dice.percent() {
            0..40 => Kind::Kill,
            40..70 => Kind::Pause,
            70..85 => Kind::Leave,
            _ => Kind::Replace,
        };
        let victim = match dice.percent() {
            0..13 => Victim::Leader,
            13..25 => Victim::QuorumLeader,
            25..40 => Victim::Voter,
            _ => Victim::Anyone,
        };
        // Somebody who leads hands over before it is removed; that is not what is tried here.
        let leads = matches!(victim, Victim::Leader | Victim::QuorumLeader);
        let victim = if kind == Kind::Replace && leads { Victim::Voter } else { victim };
        let outlasts = dice.percent() < 50;
        let lasts = match kind {
            Kind::Pause if outlasts => dice.between(ttl * 11 / 10, ttl * 5 / 2),
            Kind::Pause => dice.between(SHORT, ttl * 3 / 4),
            _ => dice.between(SHORT, ttl * 2),
        };
        all.push(Action { at, kind, victim, draw: dice.roll(), lasts });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(2);
    const EVERY: Duration = Duration::from_secs(3);

    #[test]
    fn a_seed_is_a_plan() {
        let of = |seed| plan(seed, 100, EVERY, TTL);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn a_hundred_actions_hold_every_kind_and_every_victim() {
        for seed in 0..20 {
            let all = plan(seed, 100, EVERY, TTL);
            assert_eq!(all.len(), 100);
            for kind in Kind::ALL {
                assert!(all.iter().any(|action| action.kind == kind), "seed {seed}: no {kind}");
            }
            for victim in [Victim::Leader, Victim::QuorumLeader, Victim::Voter, Victim::Anyone] {
                assert!(all.iter().any(|action| action.victim == victim), "seed {seed}");
            }
            let pauses = || all.iter().filter(|action| action.kind == Kind::Pause);
            assert!(pauses().any(|pause| pause.lasts > TTL), "seed {seed}");
            assert!(pauses().any(|pause| pause.lasts < TTL), "seed {seed}");
            assert!(all.is_sorted_by_key(|action| action.at));
        }
    }
}
