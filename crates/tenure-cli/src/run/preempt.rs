//! `--preempt`: a candidate that waits takes the place of a leader of lower priority.

use std::time::Duration;

use tenure::Elector;
use tenure_core::{
    CandidateId, ElectionName, Token,
    ledger::{Command, Outcome, Refusal},
};
use tenure_replica::Wish;
use tokio::task::JoinHandle;

/// Pause before asking again when there was no answer, or when it does not wait yet.
const AGAIN: Duration = Duration::from_millis(100);

/// Asks each leader that it sees, once. Whether the priority is higher is for the quorum to say.
pub(crate) async fn preempt(elector: Elector, election: ElectionName, candidate: CandidateId) {
    let Some(client) = elector.client() else { return };
    let Ok(mut observer) = elector.observe(election.as_str()).await else { return };
    let mut asked: Option<Token> = None;
    while let Some(sighting) = observer.changed().await {
        let Some(leader) = sighting.view.leader() else { continue };
        if leader.id == candidate || asked == Some(leader.token) {
            continue;
        }
        loop {
            let command =
                Command::Preempt { election: election.clone(), candidate: candidate.clone() };
            match client.wish(Wish::Command(command)).await {
                Ok(Outcome::Refused(Refusal::NoSuchCandidate { .. })) | Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(_) => break,
            }
        }
        asked = Some(leader.token);
    }
}

/// A task that nobody wants any more ends.
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
