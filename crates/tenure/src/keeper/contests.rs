//! The application's side of each contest.

use std::{collections::BTreeMap, sync::Arc};

use tenure_core::{ElectionName, Token, candidate::Notice};
use tokio::sync::{
    mpsc::{UnboundedSender, WeakUnboundedSender},
    watch,
};

use super::{Order, Told};
use crate::leadership::{Hold, Leadership, Validity};

#[derive(Debug)]
struct Contest {
    number: u64,
    tell: UnboundedSender<Told>,
    tenure: Option<(Token, watch::Sender<Hold>)>,
}

impl Contest {
    fn set(&self, token: Token, hold: Hold) {
        if let Some((_, sender)) = self.tenure.as_ref().filter(|(known, _)| *known == token) {
            sender.send_replace(hold);
        }
    }
}

/// Who is told what.
#[derive(Debug)]
pub(super) struct Contests {
    of: BTreeMap<ElectionName, Contest>,
    validity: Arc<Validity>,
    /// Weak: when the application has let go of everything, the keeper ends.
    orders: WeakUnboundedSender<Order>,
}

impl Contests {
    pub(super) fn new(validity: Arc<Validity>, orders: WeakUnboundedSender<Order>) -> Self {
        Self { of: BTreeMap::new(), validity, orders }
    }

    pub(super) fn add(&mut self, election: ElectionName, number: u64, tell: UnboundedSender<Told>) {
        self.of.insert(election, Contest { number, tell, tenure: None });
    }

    /// Whether it is this campaign that contends.
    pub(super) fn is(&self, election: &ElectionName, number: u64) -> bool {
        self.of.get(election).is_some_and(|contest| contest.number == number)
    }

    pub(super) fn has(&self, election: &ElectionName) -> bool {
        self.of.contains_key(election)
    }

    /// The work of this tenure has stopped: how it stood with it.
    pub(super) fn stopped(&mut self, election: &ElectionName, token: Token) -> Option<Hold> {
        let contest = self.of.get_mut(election)?;
        let (_, hold) = contest.tenure.take_if(|(known, _)| *known == token)?;
        let hold = *hold.borrow();
        Some(hold)
    }

    /// Passes a notice on.
    ///
    /// A grant travels as the `Leadership` itself. One that nobody takes, because the campaign
    /// was dropped or withdrawn in that moment, resigns like any other that is dropped.
    pub(super) fn tell(&mut self, notice: Notice) {
        let election = match &notice {
            Notice::Waiting { election, .. }
            | Notice::Elected { election, .. }
            | Notice::HandoverAsked { election, .. }
            | Notice::Lost { election, .. }
            | Notice::Left { election }
            | Notice::Refused { election, .. } => election.clone(),
        };
        let Some(contest) = self.of.get_mut(&election) else { return };
        match &notice {
            Notice::Elected { token, .. } => {
                let Some(orders) = self.orders.upgrade() else { return };
                let (sender, hold) = watch::channel(Hold::Leading);
                contest.tenure = Some((*token, sender));
                let validity = Arc::clone(&self.validity);
                let leadership = Leadership::new(election, *token, validity, hold, orders);
                let _ = contest.tell.send(Told::Elected(leadership));
                return;
            }
            Notice::HandoverAsked { token, .. } => contest.set(*token, Hold::Asked),
            Notice::Lost { token, loss, .. } => contest.set(*token, Hold::Lost(*loss)),
            Notice::Left { .. } | Notice::Refused { .. } | Notice::Waiting { .. } => {}
        }
        let over = matches!(notice, Notice::Left { .. } | Notice::Refused { .. });
        // A campaign that was dropped needs no word.
        let _ = contest.tell.send(Told::Notice(notice));
        if over {
            self.of.remove(&election);
        }
    }
}
