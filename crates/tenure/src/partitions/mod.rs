//! Leaders of many partitions, spread over those who are there.

mod run;
mod shares;

use core::time::Duration;
use tenure_core::{
    CandidateId, ElectionName,
    partitions::{Appetite, MAX_PARTITIONS, partition_name, seat_name},
};

use crate::{Candidate, Elector, Error};

pub use shares::Shares;
pub use tenure_core::partitions::Action as ShareAction;

/// How long a plan must be the same before something that is led moves.
const SETTLE: Duration = Duration::from_secs(1);

impl Elector {
    /// A family of `count` elections, `NAME/0` to `NAME/(count-1)`, that are spread over its
    /// participants: 1 to 4096.
    ///
    /// # Errors
    /// [`Error::Name`] for an impossible name, [`Error::Partitions`] for an impossible count.
    pub fn partitions(&self, name: &str, count: u32) -> Result<Family, Error> {
        if !(1..=MAX_PARTITIONS).contains(&count) {
            return Err(Error::Partitions { given: count, most: MAX_PARTITIONS });
        }
        ElectionName::new(name)?;
        seat_name(name, MAX_PARTITIONS)?;
        Ok(Family { elector: self.clone(), name: name.to_owned(), count })
    }
}

/// Numbered elections that are spread over those who are there.
#[derive(Debug, Clone)]
#[must_use = "it does nothing by itself"]
pub struct Family {
    elector: Elector,
    name: String,
    count: u32,
}

impl Family {
    /// Prepares to take a share under an id of its own. Two processes with one id share one
    /// seat: the later one waits until the earlier one has gone.
    ///
    /// # Errors
    /// [`Error::Name`] for an impossible id.
    pub fn participant(&self, id: impl Into<String>) -> Result<Participant, Error> {
        let id = CandidateId::new(id.into())?;
        let (appetite, family) = (Appetite::default(), self.clone());
        Ok(Participant { family, id, appetite, settle: SETTLE, grace: Duration::ZERO })
    }
}

/// One who takes a share of a [`Family`]. Nothing has begun yet.
#[derive(Debug, Clone)]
#[must_use = "a participant takes its share with `run`"]
pub struct Participant {
    family: Family,
    id: CandidateId,
    appetite: Appetite,
    settle: Duration,
    grace: Duration,
}

impl Participant {
    /// Its share is in proportion to this. Default 1; with 0 it leads nothing.
    pub fn weight(mut self, weight: u16) -> Self {
        self.appetite.weight = weight;
        self
    }

    /// It never leads more than this, whatever its share is. Default: no limit.
    pub fn max(mut self, max: u32) -> Self {
        self.appetite.max = Some(max);
        self
    }

    /// How long a plan must be the same before something that is led moves: participants that
    /// come one after the other move less. What nobody leads is taken at once. Default 1 s.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// How long the work of a partition that moves goes on before it is dropped, still leading:
    /// enough for what it does in one go. It is not told. Default zero.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Begins to take its share, for who does by other means what follows from it. Most want
    /// [`Participant::run`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime: elections are followed by tasks.
    pub fn shares(self) -> Shares {
        Shares::start(self)
    }

    fn candidate(&self, election: &ElectionName) -> Candidate {
        self.family.elector.campaign(election.as_str(), self.id.as_str())
    }

    fn partition(&self, number: u32) -> Result<ElectionName, Error> {
        Ok(partition_name(&self.family.name, number)?)
    }

    fn seat(&self, number: u32) -> Result<ElectionName, Error> {
        Ok(seat_name(&self.family.name, number)?)
    }
}
