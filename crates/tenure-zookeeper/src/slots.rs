//! Slots of an election's work: one node for each election, which stays.

use tenure_core::backend::{Slot, StoreError};
use zookeeper_client::{Client, CreateMode, Error};

use crate::{ensemble::persist, store::ZooKeeper};

/// How often a node that changes while it is looked at is looked at again.
const ATTEMPTS: usize = 16;

impl ZooKeeper {
    /// [`tenure_core::backend::Backend::take`].
    pub(crate) async fn take_slot(&self, slot: Slot) -> Result<Slot, StoreError> {
        let client = self.ensemble.reader().await?;
        let taken = persist!(self.ensemble, None, self.attempt(&client, &slot))?;
        taken.ok_or_else(|| StoreError::Refused {
            why: format!(
                "{} is no slot of ours, or keeps changing",
                self.paths.slot(&slot.election)
            ),
        })
    }

    async fn attempt(&self, client: &Client, slot: &Slot) -> Result<Option<Slot>, Error> {
        let path = self.paths.slot(&slot.election);
        let options = self.ensemble.options(CreateMode::Persistent);
        for _ in 0..ATTEMPTS {
            client.sync(&path).await?;
            let written = match client.get_data(&path).await {
                Ok((bytes, stat)) => {
                    let text = String::from_utf8_lossy(&bytes);
                    let Some(before) = Slot::from_text(&slot.election, &text) else {
                        return Ok(None);
                    };
                    let taken = slot.clone().after(Some(before.clone()));
                    if taken == before {
                        return Ok(Some(taken));
                    }
                    let text = taken.to_text();
                    client.set_data(&path, text.as_bytes(), Some(stat.version)).await.map(drop)
                }
                Err(Error::NoNode) => {
                    match client.create(&self.paths.slots(), &[], &options).await {
                        Ok(_) | Err(Error::NodeExists) => {}
                        Err(error) => return Err(error),
                    }
                    client.create(&path, slot.to_text().as_bytes(), &options).await.map(drop)
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return Ok(Some(slot.clone())),
                // Somebody else was faster: perhaps an attempt of our own.
                Err(Error::BadVersion | Error::NodeExists | Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
