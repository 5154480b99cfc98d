//! What a node does when the connection to the Raft leader breaks: skip the waiting, never the
//! vote.
//!
//! Every survivor forgets the leader at once, so that nobody refuses a vote for its sake. The
//! first in rank campaigns immediately, the others follow a few milliseconds apart, so that
//! votes do not split; whoever has too short a log is refused and the next one steps in. With
//! *proof* that the leader's process is dead the first attempt skips the pre-vote. A broken
//! connection alone is only a hint: pre-vote refuses the attempt while others still hear the
//! leader.

use core::time::Duration;
use tenure_core::{Moment, NodeId};

/// Distance between two ranks: long enough for a vote on a local network with its flush.
const STAGGER: Duration = Duration::from_millis(8);
/// Attempts after which the ordinary election timeout takes over.
const ATTEMPTS: u32 = 6;
/// Shortest time between two takeovers that rest on a hint: a flapping link must not keep the
/// quorum busy.
const HINT_INTERVAL: Duration = Duration::from_millis(250);

/// How to campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// With pre-vote; votes that were split meanwhile are asked for anew.
    Ask,
    /// With pre-vote, unless votes are being counted already.
    AskAgain,
    /// The leader is proved dead: without pre-vote.
    Forced,
}

/// The first in rank asks again this soon: it may have seen the connection break a moment
/// before the others did, and they do not answer while they still believe in the leader.
const ASK_AGAIN: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Running {
    /// The leader that was lost.
    lost: NodeId,
    rank: usize,
    next: Moment,
    round: Duration,
    attempts: u32,
    /// The next attempt skips the pre-vote.
    force: bool,
}

/// The present takeover, if any.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    running: Option<Running>,
    last_hint: Option<Moment>,
}

impl Takeover {
    /// The leader is lost. False when it was a hint too soon after the last one.
    pub(crate) fn begin(
        &mut self,
        lost: NodeId,
        me: NodeId,
        voters: &[NodeId],
        proven: bool,
        now: Moment,
    ) -> bool {
        if !proven {
            if self.last_hint.is_some_and(|last| now.since(last) < HINT_INTERVAL) {
                return false;
            }
            self.last_hint = Some(now);
        }
        let rank = rank(voters, me, lost);
        let ranks = |count: usize| STAGGER * u32::try_from(count).unwrap_or(8).min(8);
        match &mut self.running {
            // The kernel closes sockets before it reports the death: the proof follows the hint
            // within a moment and turns the next attempt into a forced one.
            Some(running) if proven => {
                running.force = true;
                if running.rank == 0 {
                    running.next = now;
                }
            }
            Some(_) => {}
            None => {
                let (next, round) = (now + ranks(rank), ranks(voters.len()));
                self.running =
                    Some(Running { lost, rank, next, round, attempts: 0, force: proven });
            }
        }
        true
    }

    /// There is a leader again.
    pub(crate) fn end(&mut self) {
        self.running = None;
    }

    /// Somebody else's campaign has begun a new term: it is given the time to win before this
    /// node steps in. Without that, on a busy machine, every rank would undo the campaign of the
    /// one before.
    pub(crate) fn give_way(&mut self, now: Moment) {
        if let Some(running) = &mut self.running {
            let turns = u32::try_from(running.rank).unwrap_or(8).clamp(1, 8);
            running.next = running.next.max(now + STAGGER * (turns + 1));
        }
    }

    /// How to campaign now, if at all.
    pub(crate) fn attempt(&mut self, now: Moment) -> Option<Attempt> {
        let running = self.running.as_mut()?;
        if now < running.next {
            return None;
        }
        running.attempts += 1;
        let forced = std::mem::take(&mut running.force);
        let first = !forced && running.rank == 0 && running.attempts == 1;
        let again = !forced && running.rank == 0 && running.attempts == 2;
        running.next = now + if first { ASK_AGAIN } else { running.round };
        if running.attempts >= ATTEMPTS {
            self.running = None;
        }
        Some(match (forced, again) {
            (true, _) => Attempt::Forced,
            (false, true) => Attempt::AskAgain,
            (false, false) => Attempt::Ask,
        })
    }

    /// Whether it is this leader's loss that is being dealt with.
    pub(crate) fn is_about(&self, leader: NodeId) -> bool {
        self.running.as_ref().is_some_and(|running| running.lost == leader)
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.running.as_ref().map(|running| running.next)
    }
}

/// This node's place among the voters that may take over, in the order of their ids.
fn rank(voters: &[NodeId], me: NodeId, lost: NodeId) -> usize {
    voters.iter().filter(|&&voter| voter != lost && voter < me).count()
}
