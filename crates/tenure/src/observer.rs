//! Following an election without contending.

use tenure_core::{ElectionName, Sighting};
use tenure_quorum::client::{Client, Watch, Watched};

use crate::Error;

/// What is known about one election, as it changes. Its revision never goes back, and it is
/// never silent: when nobody who could say is heard, the view is `Unknown`.
#[derive(Debug)]
pub struct Observer {
    watch: Watch,
}

impl Observer {
    pub(crate) async fn start(client: &Client, election: ElectionName) -> Result<Self, Error> {
        Ok(Self { watch: client.watch(vec![election], None).await? })
    }

    /// Waits for the next change; the first call gives how it stands now. None when the client
    /// was closed.
    ///
    /// # Cancel safety
    /// Safe: a change that arrives meanwhile is given by the next call.
    pub async fn changed(&mut self) -> Option<Sighting> {
        loop {
            match self.watch.next().await? {
                Watched::Push(push) => return Some(push.sighting),
                // The election was pushed as unknown just before.
                Watched::Lost { .. } => {}
            }
        }
    }
}
