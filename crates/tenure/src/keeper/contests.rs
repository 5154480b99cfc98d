//! The application's side of each contest.

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Token, candidate::Notice};
use tokio::sync::{mpsc::UnboundedSender, watch};

use super::Told;
use crate::leadership::Hold;

#[derive(Debug)]
struct Contest {
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
#[derive(Debug, Default)]
pub(super) struct Contests(BTreeMap<ElectionName, Contest>);

impl Contests {
    pub(super) fn add(&mut self, election: ElectionName, tell: UnboundedSender<Told>) {
        self.0.insert(election, Contest { tell, tenure: None });
    }

    pub(super) fn has(&self, election: &ElectionName) -> bool {
        self.0.contains_key(election)
    }

    /// The work of this tenure has stopped: how it stood with it.
    pub(super) fn stopped(&mut self, election: &ElectionName, token: Token) -> Option<Hold> {
        let contest = self.0.get_mut(election)?;
        let (_, hold) = contest.tenure.take_if(|(known, _)| *known == token)?;
        let hold = *hold.borrow();
        Some(hold)
    }

    /// Passes a notice on. Gives the election back when nobody wants its grant any more.
    pub(super) fn tell(&mut self, notice: Notice) -> Option<ElectionName> {
        let election = match &notice {
            Notice::Waiting { election, .. }
            | Notice::Elected { election, .. }
            | Notice::HandoverAsked { election, .. }
            | Notice::Lost { election, .. }
            | Notice::Left { election }
            | Notice::Refused { election, .. } => election.clone(),
        };
        let contest = self.0.get_mut(&election)?;
        match &notice {
            Notice::Elected { token, .. } => {
                let (sender, hold) = watch::channel(Hold::Leading);
                contest.tenure = Some((*token, sender));
                let told = Told::Elected { token: *token, hold };
                if contest.tell.send(told).is_err() {
                    contest.tenure = None;
                    return Some(election);
                }
                return None;
            }
            Notice::HandoverAsked { token, .. } => contest.set(*token, Hold::Asked),
            Notice::Lost { token, loss, .. } => contest.set(*token, Hold::Lost(*loss)),
            Notice::Left { .. } | Notice::Refused { .. } | Notice::Waiting { .. } => {}
        }
        let over = matches!(notice, Notice::Left { .. } | Notice::Refused { .. });
        // A campaign that was dropped needs no word.
        let _ = contest.tell.send(Told::Notice(notice));
        if over {
            self.0.remove(&election);
        }
        None
    }
}
