//! The same for threads: every call waits where the asynchronous face has an `.await`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! let elector = tenure::blocking::Elector::connect("file:///var/lock/jobs")?;
//! elector.candidate("nightly", "worker-7").run(|lead| {
//!     for customer in 0..1000 {
//!         lead.check()?; // one comparison with the local deadline, no I/O
//!         println!("customer {customer} under token {}", lead.token());
//!         std::thread::sleep(Duration::from_millis(100));
//!     }
//!     Ok::<_, tenure::Error>(())
//! })?;
//! # Ok::<_, tenure::Error>(())
//! ```
//!
//! Leases are renewed by the elector's own thread here too. Nothing can stop a thread from
//! outside: the work has to ask [`Lead::check`] before each effect.
//!
//! # Panics
//! All functions that wait panic inside an asynchronous runtime, whose threads must not block:
//! use the asynchronous face there.

use std::{io, sync::Arc};

use core::time::Duration;
use tenure_core::{Sighting, backend::Capabilities};
use tokio::runtime::Runtime;

use crate::{ElectorBuilder, Error, Lead, Leadership, Lost, campaign::FAREWELL};

/// [`crate::Elector`], for threads. Cheap to clone, and all clones share one session.
#[derive(Debug, Clone)]
pub struct Elector {
    inner: crate::Elector,
    runtime: Arc<Runtime>,
}

impl Elector {
    /// Connects with the default settings.
    ///
    /// # Errors
    /// As [`ElectorBuilder::connect`].
    pub fn connect(url: &str) -> Result<Self, Error> {
        Self::with(crate::Elector::builder(), url)
    }

    /// Connects with other settings.
    ///
    /// # Errors
    /// As [`ElectorBuilder::connect`].
    pub fn with(builder: ElectorBuilder, url: &str) -> Result<Self, Error> {
        let runtime = runtime().map_err(Error::Thread)?;
        let inner = runtime.block_on(builder.connect(url))?;
        Ok(Self { inner, runtime: Arc::new(runtime) })
    }

    /// What the store, as it is configured, can promise.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    /// Prepares to contend for an election under an id.
    pub fn candidate(&self, election: &str, id: &str) -> Candidate {
        let inner = self.inner.campaign(election, id);
        Candidate { inner, runtime: Arc::clone(&self.runtime) }
    }

    /// How an election stands now.
    ///
    /// # Errors
    /// As [`crate::Election::leader`].
    pub fn leader(&self, election: &str) -> Result<Sighting, Error> {
        self.runtime.block_on(self.inner.election(election).leader())
    }

    /// Follows an election without contending.
    ///
    /// # Errors
    /// As [`crate::Election::observe`].
    pub fn observe(&self, election: &str) -> Result<Observer, Error> {
        let inner = self.runtime.block_on(self.inner.observe(election))?;
        Ok(Observer { inner, runtime: Arc::clone(&self.runtime) })
    }

    /// Leaves everything at once. The work of every tenure must have stopped.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// [`crate::Candidate`], for threads.
#[derive(Debug, Clone)]
#[must_use = "a campaign begins with `start` or `run`"]
pub struct Candidate {
    inner: crate::Candidate,
    runtime: Arc<Runtime>,
}

impl Candidate {
    /// What observers are told. Default empty.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.inner = self.inner.value(value);
        self
    }

    /// Higher is preferred as successor. Default 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.inner = self.inner.priority(priority);
        self
    }

    /// Higher is preferred among equal priorities.
    pub fn rank(mut self, rank: u64) -> Self {
        self.inner = self.inner.rank(rank);
        self
    }

    /// Begins to contend.
    ///
    /// # Errors
    /// As [`crate::Candidate::start`].
    pub fn start(self) -> Result<Campaign, Error> {
        Ok(Campaign { inner: self.inner.start()?, runtime: self.runtime })
    }

    /// Contends, and runs the work on this thread while it leads. Leadership lasts until the
    /// work returns, which it must do soon after [`Lead::check`] fails or
    /// [`Lead::is_handover_asked`] says so: nothing else can stop it.
    ///
    /// An error after a loss, or after it was asked to hand over, makes it contend again, and
    /// the next tenure calls the work again. Any other outcome is given back.
    ///
    /// # Errors
    /// Of the work, and as [`crate::Candidate::run`].
    pub fn run<T, E, F>(self, mut work: F) -> Result<T, E>
    where
        F: FnMut(&Lead) -> Result<T, E>,
        E: From<Error>,
    {
        let mut campaign = self.start()?;
        loop {
            let leadership = campaign.elected()?;
            let done = work(&leadership);
            let ended = leadership.check().is_err() || leadership.is_handover_asked();
            drop(leadership);
            if done.is_ok() || !ended {
                campaign.withdraw(FAREWELL);
                return done;
            }
        }
    }
}

/// [`crate::Campaign`], for threads. Dropping it withdraws.
#[derive(Debug)]
pub struct Campaign {
    inner: crate::Campaign,
    runtime: Arc<Runtime>,
}

impl Campaign {
    /// Waits until this process leads.
    ///
    /// # Errors
    /// As [`crate::Campaign::elected`].
    pub fn elected(&mut self) -> Result<Leadership, Error> {
        self.runtime.block_on(self.inner.elected())
    }

    /// The same, for at most that long; none when somebody else led all the time.
    ///
    /// # Errors
    /// As [`crate::Campaign::elected`].
    pub fn elected_within(&mut self, limit: Duration) -> Result<Option<Leadership>, Error> {
        within(&self.runtime, limit, self.inner.elected()).transpose()
    }

    /// Stops contending and waits until the store knows, or `patience` has passed.
    pub fn withdraw(self, patience: Duration) {
        let Self { inner, runtime } = self;
        runtime.block_on(inner.withdraw(patience));
    }
}

/// [`crate::Observer`], for threads.
#[derive(Debug)]
pub struct Observer {
    inner: crate::Observer,
    runtime: Arc<Runtime>,
}

impl Observer {
    /// Waits for the next change; the first call gives how it stands now. None when the elector
    /// was closed.
    pub fn changed(&mut self) -> Option<Sighting> {
        self.runtime.block_on(self.inner.changed())
    }
}

/// Every sighting, one after another, until the elector is closed.
impl Iterator for Observer {
    type Item = Sighting;

    fn next(&mut self) -> Option<Sighting> {
        self.changed()
    }
}

/// Waits until leadership is lost, for at most that long; none while it is kept.
#[must_use]
pub fn lost_within(lead: &Lead, limit: Duration) -> Option<Lost> {
    // Without a runtime of its own there is nothing to wait with: the caller looks again.
    within(&runtime().ok()?, limit, lead.lost())
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn within<T>(runtime: &Runtime, limit: Duration, what: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(async { tokio::time::timeout(limit, what).await.ok() })
}
