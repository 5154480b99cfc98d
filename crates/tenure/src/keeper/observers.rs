//! Who follows which election on a store of leases.

use std::collections::BTreeMap;

use tenure_core::{ElectionName, Sighting};
use tokio::sync::watch;

/// How elections stand, for any number of followers each.
#[derive(Debug, Default)]
pub(super) struct Observers(BTreeMap<ElectionName, watch::Sender<Option<Sighting>>>);

impl Observers {
    pub(super) fn add(&mut self, election: ElectionName) -> watch::Receiver<Option<Sighting>> {
        let sender = self.0.entry(election).or_insert_with(|| watch::channel(None).0);
        sender.subscribe()
    }

    /// Whether somebody still follows it; forgets it otherwise.
    pub(super) fn keep(&mut self, election: &ElectionName) -> bool {
        let kept = self.0.get(election).is_some_and(|sender| sender.receiver_count() > 0);
        if !kept {
            self.0.remove(election);
        }
        kept
    }

    /// A sighting that is older than what was told before is held back.
    pub(super) fn tell(&self, election: &ElectionName, sighting: &Sighting) {
        let Some(sender) = self.0.get(election) else { return };
        sender.send_if_modified(|known| {
            let older = |known: &Sighting| known.revision > sighting.revision;
            let news = known.as_ref() != Some(sighting) && !known.as_ref().is_some_and(older);
            if news {
                *known = Some(sighting.clone());
            }
            news
        });
    }
}
