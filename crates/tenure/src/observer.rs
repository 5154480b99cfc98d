//! Following an election without contending.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
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
            Reached::Store(..) => {
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

    /// The same as a stream; it ends when the elector was closed.
    #[must_use]
    pub fn into_stream(self) -> Sightings {
        Sightings(Some(Box::pin(next(self))))
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Sighting, Observer)>> + Send>>;

async fn next(mut observer: Observer) -> Option<(Sighting, Observer)> {
    let sighting = observer.changed().await?;
    Some((sighting, observer))
}

/// Every sighting of an [`Observer`], one after another.
pub struct Sightings(Option<Next>);

impl fmt::Debug for Sightings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sightings").finish_non_exhaustive()
    }
}

impl Stream for Sightings {
    type Item = Sighting;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Sighting>> {
        let Some(waits) = &mut self.0 else { return Poll::Ready(None) };
        let seen = ready!(waits.as_mut().poll(context));
        let (sighting, observer) = seen.unzip();
        self.0 = observer.map(|observer| Box::pin(next(observer)) as Next);
        Poll::Ready(sighting)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Gone before it is said, so that the keeper counts without it.
        self.sightings = None;
        let _ = self.orders.send(Order::Unobserve { election: self.election.clone() });
    }
}
