//! A node's own candidate.

use std::time::Duration;

use tenure::{Campaign, Elector, Error, Leadership};
use tenure_core::{ElectionName, Token};
use tenure_quorum::clock;
use tokio::sync::{mpsc::UnboundedSender, watch};

use super::{Contest, FAREWELL, Told};
use crate::events::NodeEvent;

/// Pause before contending again after a refusal, for example while the session of this node's
/// earlier process is not over yet.
const AGAIN: Duration = Duration::from_millis(50);

/// Contends until asked to stop.
pub(super) async fn contend(
    elector: Elector,
    contest: Contest,
    election: ElectionName,
    tell: UnboundedSender<Told>,
    mut stop: watch::Receiver<bool>,
) {
    let mut candidate = Candidate { contest, election, tell };
    let mut pause = AGAIN;
    while !*stop.borrow() {
        let campaign = elector
            .campaign(candidate.election.as_str(), &candidate.contest.candidate)
            .value(candidate.contest.value.as_str())
            .start();
        let ended = match campaign {
            Ok(campaign) => candidate.lead(campaign, &mut stop).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            Err(Error::Left) => pause = AGAIN,
            Err(error) => {
                tracing::info!(election = %candidate.election, %error, "does not contend for now");
                pause = (pause * 2).min(AGAIN * 10);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// Waits until the process is asked to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Candidate {
    contest: Contest,
    election: ElectionName,
    tell: UnboundedSender<Told>,
}

/// How one leadership went on.
enum Next {
    /// It is over, and the campaign goes on.
    Again,
    /// The process stops.
    Stop,
}

impl Candidate {
    fn tell(&self, event: NodeEvent) {
        let _ = self.tell.send((clock::monotonic_nanos(), event));
    }

    fn lost(&self, token: Token, reason: &str) {
        let reason = reason.to_owned();
        self.tell(NodeEvent::Lost { election: self.election.clone(), token, reason });
    }

    /// One campaign, tenure after tenure.
    async fn lead(
        &mut self,
        mut campaign: Campaign,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Error> {
        loop {
            let leadership = tokio::select! {
                elected = campaign.elected() => elected?,
                () = stopped(stop) => {
                    campaign.withdraw(FAREWELL).await;
                    return Ok(());
                }
            };
            let token = leadership.token();
            self.tell(NodeEvent::Elected { election: self.election.clone(), token });
            match self.hold(leadership, stop).await {
                Next::Again => {}
                Next::Stop => {
                    // The release is under way; it is done when the campaign says so.
                    let _ = tokio::time::timeout(FAREWELL, campaign.elected()).await;
                    return Ok(());
                }
            }
        }
    }

    /// One leadership. This process has no other work, so it can stop at once.
    async fn hold(&mut self, leadership: Leadership, stop: &mut watch::Receiver<bool>) -> Next {
        let token = leadership.token();
        let mut renewals = tokio::time::interval(self.contest.ttl.shortest().renew_interval());
        loop {
            tokio::select! {
                lost = leadership.lost() => {
                    self.lost(token, lost.loss.as_str());
                    return Next::Again;
                }
                () = leadership.handover_asked() => {
                    let election = self.election.clone();
                    self.tell(NodeEvent::HandOver { election, token });
                    // Said before it is given up: the successor's word cannot come earlier.
                    self.lost(token, "handed_over");
                    leadership.hand_over();
                    return Next::Again;
                }
                () = stopped(stop) => {
                    self.lost(token, "resigned");
                    leadership.resign();
                    return Next::Stop;
                }
                _ = renewals.tick(), if self.contest.lease_events => {
                    let remaining = leadership.remaining().unwrap_or_default();
                    let remaining_ms = crate::output::time::millis(remaining);
                    let election = self.election.clone();
                    self.tell(NodeEvent::Lease { election, token, remaining_ms });
                }
            }
        }
    }
}
