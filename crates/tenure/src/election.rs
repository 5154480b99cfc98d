//! One contest, and those who contend for it.

use core::time::Duration;
use tenure_core::{CandidateId, ElectionName, Sighting, Value, ledger::Standing};
use tokio::sync::mpsc;

use crate::{Campaign, Elector, Error, Observer, keeper::Order};

/// One contest, by its name. Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "it does nothing by itself"]
pub struct Election {
    elector: Elector,
    name: String,
}

impl Election {
    pub(crate) fn new(elector: Elector, name: String) -> Self {
        Self { elector, name }
    }

    /// Its name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prepares to contend under an id. Two processes with one id are told apart; which of them
    /// is refused, the later one, is up to the store.
    pub fn candidate(&self, id: impl Into<String>) -> Candidate {
        Candidate {
            elector: self.elector.clone(),
            election: self.name.clone(),
            id: id.into(),
            value: String::new(),
            standing: Standing::default(),
            grace: Duration::ZERO,
        }
    }

    /// How it stands now: who leads, that nobody does, or that it is not known and why. Asks
    /// the store; [`Election::observe`] is cheaper for who asks often.
    ///
    /// # Errors
    /// As [`Election::observe`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn leader(&self) -> Result<Sighting, Error> {
        self.observe().await?.changed().await.ok_or(Error::Closed)
    }

    /// Follows it without contending.
    ///
    /// # Errors
    /// [`Error::Name`] for an impossible name; [`Error::Client`] when no node of a quorum
    /// answers in time; [`Error::Closed`] when the elector was closed.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn observe(&self) -> Result<Observer, Error> {
        self.elector.follow(ElectionName::new(self.name.as_str())?).await
    }
}

/// Who is to contend for an election, and how. Nothing has begun yet.
#[derive(Debug, Clone)]
#[must_use = "a campaign begins with `start` or `run`"]
pub struct Candidate {
    elector: Elector,
    election: String,
    id: String,
    value: String,
    standing: Standing,
    pub(crate) grace: Duration,
}

impl Candidate {
    /// What observers are told, for example an address; at most 4096 bytes
    /// without control characters. Default empty.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// Higher is preferred as successor. Default 0. Stores without a queue of their own give
    /// the election to whoever asks first.
    pub fn priority(mut self, priority: i32) -> Self {
        self.standing.priority = priority;
        self
    }

    /// Higher is preferred among equal priorities, for example a replication position.
    pub fn rank(mut self, rank: u64) -> Self {
        self.standing.rank = rank;
        self
    }

    /// How long the work of [`Candidate::run`] may take to end by itself after it was asked to
    /// hand over ([`crate::Lead::handover_asked`]). Default zero: it is dropped at once. The
    /// lease is renewed meanwhile. A loss gives no such time.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Begins to contend. Refusals of the store come out of [`Campaign::elected`].
    ///
    /// # Errors
    /// [`Error::Name`] for impossible names, [`Error::Closed`] when the elector was closed.
    pub fn start(self) -> Result<Campaign, Error> {
        let election = ElectionName::new(self.election)?;
        let candidate = CandidateId::new(self.id)?;
        let value = Value::new(self.value)?;
        let (tell, told) = mpsc::unbounded_channel();
        let number = self.elector.next_campaign();
        self.elector.order(Order::Campaign {
            number,
            election: election.clone(),
            candidate,
            value,
            standing: self.standing,
            tell,
        })?;
        Ok(Campaign::new(self.elector, number, election, told))
    }
}
