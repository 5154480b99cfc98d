//! The end of a node in peace. Whoever leads the quorum and goes away without a word costs the
//! others a vote; one that says first to whom it gives the lead costs them nothing.

use tenure_core::{Moment, NodeId};

use super::{Now, Output, Replica};

/// A node is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandOver {
    /// Who was asked to take over.
    pub(super) to: Option<NodeId>,
    /// By then the others look for a leader themselves.
    until: Moment,
}

impl HandOver {
    pub(super) fn deadline(&self) -> Moment {
        self.until
    }
}

impl Replica {
    pub(super) fn on_hand_over(&mut self, now: Now) {
        let until = now.moment + self.config.election_timeout;
        self.hand_over.get_or_insert(HandOver { to: None, until });
    }

    /// Hands over, and says when there is nothing to wait for.
    pub(super) fn pursue_hand_over(&mut self, now: Moment) {
        let Some(HandOver { to, until }) = self.hand_over else { return };
        let waits = match to {
            _ if now >= until => false,
            _ if self.leading.is_some() => self.ask_heir(to, now),
            // Its vote may be needed.
            Some(_) => self.leader().is_none(),
            None => false,
        };
        if !waits {
            self.hand_over = None;
            self.outputs.push_back(Output::HandedOver);
        }
    }

    /// Asks the best voter to take over, and another one when that one is gone. Returns whether
    /// anybody can.
    fn ask_heir(&mut self, asked: Option<NodeId>, now: Moment) -> bool {
        let is_here = |id| self.mesh.is_here(id, now);
        let here = self.voters.iter().filter(|id| is_here(**id)).count();
        let Some(heir) = self.consensus.heir(is_here) else { return false };
        if here + 1 < self.voters.len() / 2 + 1 {
            // Whoever is asked would wait for votes that cannot come.
            return false;
        }
        if asked.is_none_or(|asked| !is_here(asked)) && self.consensus.transfer_to(heir) {
            self.hand_over = self.hand_over.map(|it| HandOver { to: Some(heir), ..it });
        }
        true
    }
}
