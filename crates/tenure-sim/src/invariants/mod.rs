//! What must hold, one file each; all of it by true time, which only the simulator knows.

mod acknowledged;
mod current_answers;
mod election_safety;
mod fence;
mod leader_completeness;
mod lease_respected;
mod liveness;
mod log_matching;
mod machine_runs;
mod one_holder;
mod state_machine;
mod tokens_rise;
mod views_forward;
mod work_stopped;

use std::fmt;

use tenure_core::{ElectionName, NodeId, SessionId, Token, ledger::Event};
use tenure_replica::{Persist, Restored};

use crate::world::Node;
use acknowledged::Acknowledged;
use current_answers::CurrentAnswers;
use election_safety::ElectionSafety;
use fence::Fence;
use lease_respected::LeaseRespected;
use liveness::Liveness;
use log_matching::LogMatching;
use machine_runs::MachineRuns;
use one_holder::OneHolder;
use state_machine::StateMachine;
use tokens_rise::TokensRise;
use views_forward::ViewsForward;
use work_stopped::WorkStopped;

/// A promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant says so.
    pub invariant: &'static str,
    /// True time in nanoseconds.
    pub at: u64,
    /// What was seen.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.invariant, self.at / 1_000_000, self.why)
    }
}

/// The first time that one invariant did not hold.
#[derive(Debug, Default)]
struct Verdict(Option<Violation>);

impl Verdict {
    fn broken(&mut self, invariant: &'static str, at: u64, why: String) {
        self.0.get_or_insert(Violation { invariant, at, why });
    }
}

/// All invariants.
pub(crate) struct Law {
    pub(crate) holder: OneHolder,
    pub(crate) respected: LeaseRespected,
    pub(crate) stopped: WorkStopped,
    pub(crate) tokens: TokensRise,
    pub(crate) fence: Fence,
    election: ElectionSafety,
    logs: LogMatching,
    state: StateMachine,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) current: CurrentAnswers,
    pub(crate) views: ViewsForward,
    pub(crate) stops: MachineRuns,
    pub(crate) liveness: Liveness,
}

impl Law {
    /// `lying` clocks run outside of the bound: what rests on clocks is not promised then.
    pub(crate) fn new(lying: bool) -> Self {
        Self {
            holder: OneHolder::new(lying),
            respected: LeaseRespected::new(lying),
            stopped: WorkStopped::default(),
            tokens: TokensRise::new(lying),
            fence: Fence::default(),
            election: ElectionSafety::default(),
            logs: LogMatching::default(),
            state: StateMachine::default(),
            acknowledged: Acknowledged::default(),
            current: CurrentAnswers::default(),
            views: ViewsForward::default(),
            stops: MachineRuns::default(),
            liveness: Liveness::default(),
        }
    }

    /// What was broken first, if anything.
    pub(crate) fn broken(&self) -> Option<Violation> {
        let verdicts = [
            &self.holder.verdict,
            &self.respected.verdict,
            &self.stopped.verdict,
            &self.tokens.verdict,
            &self.fence.verdict,
            &self.election.verdict,
            &self.logs.verdict,
            &self.state.verdict,
            &self.acknowledged.verdict,
            &self.current.verdict,
            &self.views.verdict,
            &self.stops.verdict,
            &self.liveness.verdict,
        ];
        verdicts.into_iter().find_map(|verdict| verdict.0.clone())
    }

    pub(crate) fn node_restored(&mut self, id: NodeId, disk: &Restored) {
        self.logs.restored(id, disk);
    }

    pub(crate) fn node_started(&mut self, now: u64, node: &Node) {
        self.state.look(now, node);
    }

    pub(crate) fn node_installed(&mut self, now: u64, node: &Node) {
        self.state.look(now, node);
    }

    pub(crate) fn node_gone(&mut self, node: &Node) {
        self.logs.gone(node.id);
        let durable = node.disk.durable.hard_state.term;
        let unknown = self.election.died(node.id, node.life, durable);
        if !unknown.is_empty() {
            self.logs.forget_terms(&unknown);
        }
    }

    pub(crate) fn node_appends(&mut self, now: u64, node: &Node, unit: &Persist) {
        self.logs.appends(now, node.id, unit);
    }

    pub(crate) fn node_leads(&mut self, now: u64, node: &Node, term: u64) {
        self.election.leads(now, node.id, node.life, term);
        let missing = leader_completeness::missing(&self.logs, node.id, term);
        if let Some(why) = missing {
            self.logs.verdict.broken(leader_completeness::NAME, now, why);
        }
    }

    pub(crate) fn node_stands(&mut self, now: u64, node: &Node) {
        let Some(replica) = &node.replica else { return };
        let position = replica.position();
        self.logs.committed(now, node.id, position.committed, position.term);
        self.state.applied(now, node, position.applied);
    }

    /// A node applied a change. True when it is the first to do so.
    pub(crate) fn node_applies(&mut self, now: u64, id: NodeId, change: &Event) -> bool {
        let first = self.state.change(now, id, change);
        if first {
            self.acknowledged.happened(now, change);
        }
        first
    }

    pub(crate) fn was_removed(&self, id: NodeId) -> bool {
        self.state.was_removed(id)
    }

    /// Number of the latest change that any node has applied.
    pub(crate) fn latest(&self) -> u64 {
        self.state.latest()
    }

    /// Index of the last entry that is known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.logs.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    pub(crate) fn granted(
        &mut self,
        now: u64,
        election: &ElectionName,
        token: Token,
        session: SessionId,
    ) {
        self.tokens.granted(now, election, token, session);
    }
}
