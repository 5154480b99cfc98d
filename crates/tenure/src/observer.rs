//! Following an election without contending.

use tenure_core::{ElectionName, Sighting};
#[cfg(feature = "quorum")]
use tenure_quorum::client::{Watch, Watched};
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

use crate::{
    Error,
    keeper::{Order, Reached},
};

/// What is known about one election, as it changes. Its revision never goes back, and it is
/// never silent: when nobody who could say is heard, the view is `Unknown`. Who reads slowly
/// gets the latest state, not every one in between.
#[derive(Debug)]
pub struct Observer(Source);

#[derive(Debug)]
enum Source {
    #[cfg(feature = "quorum")]
    Quorum(Watch),
    Store(Followed),
}

/// An election that the keeper follows for as long as this exists.
#[derive(Debug)]
struct Followed {
    election: ElectionName,
    sightings: Option<watch::Receiver<Option<Sighting>>>,
    orders: UnboundedSender<Order>,
}

impl Observer {
    pub(crate) async fn start(
        reached: &Reached,
        orders: &UnboundedSender<Order>,
        election: ElectionName,
    ) -> Result<Self, Error> {
        match reached {
            #[cfg(feature = "quorum")]
            Reached::Quorum(client) => {
                Ok(Self(Source::Quorum(client.watch(vec![election], None).await?)))
            }
            Reached::Store(_) => {
                let (reply, followed) = oneshot::channel();
                let order = Order::Observe { election: election.clone(), reply };
                orders.send(order).map_err(|_| Error::Closed)?;
                let mut sightings = followed.await.map_err(|_| Error::Closed)?;
                // What is known already is the first change.
                sightings.mark_changed();
                let (sightings, orders) = (Some(sightings), orders.clone());
                Ok(Self(Source::Store(Followed { election, sightings, orders })))
            }
        }
    }

    /// Waits for the next change; the first call gives how it stands now. None when the elector
    /// was closed.
    ///
    /// # Cancel safety
    /// Safe: a change that arrives meanwhile is given by the next call.
    pub async fn changed(&mut self) -> Option<Sighting> {
        match &mut self.0 {
            #[cfg(feature = "quorum")]
            Source::Quorum(watch) => loop {
                match watch.next().await? {
                    Watched::Push(push) => return Some(push.sighting),
                    // The election was pushed as unknown just before.
                    Watched::Lost { .. } => {}
                }
            },
            Source::Store(followed) => loop {
                let sightings = followed.sightings.as_mut()?;
                sightings.changed().await.ok()?;
                if let Some(sighting) = sightings.borrow_and_update().clone() {
                    return Some(sighting);
                }
            },
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Gone before it is said, so that the keeper counts without it.
        self.sightings = None;
        let _ = self.orders.send(Order::Unobserve { election: self.election.clone() });
    }
}
