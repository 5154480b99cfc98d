//! One contest of this process, from its start to its end.

use core::time::Duration;
use tenure_core::{ElectionName, candidate::Notice};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    Candidate, Elector, Error, Lead, Leadership,
    keeper::{Order, Told},
};

/// One contest of this process. Dropping it withdraws.
#[derive(Debug)]
pub struct Campaign {
    elector: Elector,
    number: u64,
    election: ElectionName,
    told: UnboundedReceiver<Told>,
    position: Option<u32>,
}

impl Campaign {
    pub(crate) fn new(
        elector: Elector,
        number: u64,
        election: ElectionName,
        told: UnboundedReceiver<Told>,
    ) -> Self {
        Self { elector, number, election, told, position: None }
    }

    fn order_withdrawal(&self) {
        let (number, election) = (self.number, self.election.clone());
        let _ = self.elector.order(Order::Withdraw { number, election });
    }

    /// The contest.
    #[must_use]
    pub fn election(&self) -> &ElectionName {
        &self.election
    }

    /// Place in the order of succession when it joined the queue; the first has 1.
    #[must_use]
    pub fn position(&self) -> Option<u32> {
        self.position
    }

    /// Waits until this process leads.
    ///
    /// # Errors
    /// [`Error::Refused`] when the store does not let it contend; the campaign is over then.
    /// [`Error::Left`] after it resigned, once the store has confirmed that.
    ///
    /// # Cancel safety
    /// Safe: a grant that arrives meanwhile is given by the next call.
    pub async fn elected(&mut self) -> Result<Leadership, Error> {
        loop {
            match self.told.recv().await.ok_or(Error::Left)? {
                Told::Elected(leadership) => return Ok(leadership),
                Told::Notice(Notice::Waiting { position, .. }) => self.position = Some(position),
                Told::Notice(Notice::Refused { refusal, .. }) => {
                    return Err(Error::Refused(refusal));
                }
                Told::Notice(Notice::Left { .. }) => return Err(Error::Left),
                Told::Notice(_) => {}
            }
        }
    }

    /// Stops contending and waits until the store knows, or `patience` has passed. Every
    /// [`Leadership`] of it must have been dropped before.
    ///
    /// # Cancel safety
    /// Dropped, it withdraws all the same.
    pub async fn withdraw(mut self, patience: Duration) {
        self.order_withdrawal();
        let left = async {
            while let Some(told) = self.told.recv().await {
                if matches!(told, Told::Notice(Notice::Left { .. })) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(patience, left).await;
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        self.order_withdrawal();
    }
}

/// Longest wait for the store to confirm that the contest is left.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

impl Candidate {
    /// Contends, and runs the work while this process leads: leadership lasts as long as the
    /// work's future.
    ///
    /// | what happens | what becomes of the work | and then |
    /// |---|---|---|
    /// | it ends with a value | it is done | resigns, leaves, gives the value |
    /// | it ends with an error, leading | it is done | resigns, leaves, gives the error |
    /// | leadership is lost | its future is dropped where it waits, and is never polled after the deadline | contends again; the next tenure calls `work` again |
    /// | it ends with an error after a loss | it is done | the same |
    /// | it is asked to hand over | it may end within [`Candidate::grace`], then it is dropped | hands over, waits in the queue again |
    ///
    /// So `lead.check()?` inside the work does what one wants. Whatever the work has spawned
    /// does not stop with it: give such tasks a [`Lead`] and [`Lead::protect`].
    ///
    /// # Errors
    /// Of the work; and [`Error::Name`], [`Error::Closed`] or [`Error::Refused`], turned into
    /// its type, when it cannot contend. No lease is held in any of these cases, or its release
    /// is on its way.
    ///
    /// # Cancel safety
    /// The work is dropped first, then it resigns.
    pub async fn run<T, E, F, W>(self, mut work: F) -> Result<T, E>
    where
        F: FnMut(Lead) -> W,
        W: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let grace = self.grace;
        let mut campaign = self.start()?;
        loop {
            let leadership = campaign.elected().await?;
            let done = until_asked(&leadership, work(leadership.lead()), grace).await;
            let lost = leadership.check().is_err();
            drop(leadership);
            if let Some(done) = done.filter(|done| done.is_ok() || !lost) {
                campaign.withdraw(FAREWELL).await;
                return done;
            }
        }
    }
}

/// The outcome of the work; none when leadership ended first.
async fn until_asked<T>(lead: &Lead, work: impl Future<Output = T>, grace: Duration) -> Option<T> {
    let asked = async {
        lead.handover_asked().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = lead.protect(work) => done.ok(),
        () = asked => None,
    }
}
