//! Where a process begins: one elector, one session, any number of campaigns.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use core::{ops::RangeInclusive, time::Duration};
use tenure_core::{
    ElectionName,
    backend::{Capabilities, Connect},
    timing::{Drift, Ttl, adaptive::TtlRange},
};
#[cfg(feature = "quorum")]
use tenure_quorum::{
    client::{self, Client, ClientOptions, Endpoint},
    node::Node,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    Candidate, Election, Error, Observer,
    keeper::{self, Order, Reach, Reached, Running, Setting},
    leadership::Validity,
    system,
};

/// How an elector is set up.
#[derive(Debug, Clone)]
pub struct ElectorBuilder {
    ttl: RangeInclusive<Duration>,
    drift: Drift,
    timeout: Duration,
    local_proof: bool,
    on_thread_start: Option<fn() -> std::io::Result<()>>,
}

impl Default for ElectorBuilder {
    fn default() -> Self {
        Self {
            ttl: fixed(Duration::from_secs(5)),
            drift: Drift::default(),
            timeout: Duration::from_secs(5),
            local_proof: true,
            on_thread_start: None,
        }
    }
}

/// A node that says nothing for half a ttl is given up; not sooner and not later than this.
#[cfg(feature = "quorum")]
const SILENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

impl ElectorBuilder {
    /// Length of the lease: after a host is lost, nobody leads for about this long. 10 ms to a
    /// day, default 5 s. It is renewed every quarter of it.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = fixed(ttl);
        self
    }

    /// Lets the length of the lease follow what its renewals go through: their round trips, lost
    /// ones, and how late this process's own thread wakes. It begins with the longest, comes
    /// down in calm, and grows as soon as the lease would get tight, always between these two:
    /// the second bounds how long nobody leads after a host is lost. What is in force shows in
    /// [`Elector::ttl`]. For quorums of Tenure nodes; [`tenure_core::timing::adaptive`] has the
    /// rule.
    #[must_use]
    pub fn adaptive_ttl(mut self, bounds: RangeInclusive<Duration>) -> Self {
        self.ttl = bounds;
        self
    }

    /// Bound on how wrong clock rates may be. Default 1 %.
    #[must_use]
    pub fn drift(mut self, drift: Drift) -> Self {
        self.drift = drift;
        self
    }

    /// Longest wait for one answer. Default 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether others on this machine (a quorum's node, or a candidate at the same store) may
    /// take this process's death for proof that its work has stopped, so that the next one leads
    /// at once. Default true. Say false when the work runs in other processes, which may live a
    /// little longer: then a death is waited out like any other silence. Nothing changes for a
    /// node in this process. Linux 6.5 or later; a directory (`file://`) always sees a death.
    #[must_use]
    pub fn local_proof(mut self, local_proof: bool) -> Self {
        self.local_proof = local_proof;
        self
    }

    /// What the thread that renews the lease does first: ask the kernel to schedule it in real
    /// time, say, or keep it on one core. Whatever that thread starts inherits it, and that is
    /// never work of the application. When it fails, so does connecting, with [`Error::Thread`].
    #[must_use]
    pub fn on_thread_start(mut self, first: fn() -> std::io::Result<()>) -> Self {
        self.on_thread_start = Some(first);
        self
    }

    /// Connects to whatever the URL names:
    ///
    /// | URL | store |
    /// |---|---|
    /// | `tenure://10.0.0.1:7001,10.0.0.2:7001` | a quorum of Tenure nodes |
    /// | `tenure+unix:///run/tenure/node.sock` | the same, through the node on this machine |
    /// | `file:///var/lock/jobs` | a directory, for processes of this machine |
    /// | `mem://name` | this process |
    /// | `redis://10.0.0.1:6379`, `rediss://...` | one Redis (feature `redis`) |
    /// | `redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster` | Redis under Sentinel (feature `redis`) |
    /// | `postgres://user@db1,db2/app` | PostgreSQL, with the feature `postgres` |
    /// | `etcd://10.0.0.1:2379,10.0.0.2:2379` | etcd 3.4 or later (feature `etcd`) |
    /// | `zk://10.0.0.1:2181,10.0.0.2:2181/jobs` | ZooKeeper 3.5 or later (feature `zookeeper`) |
    ///
    /// With `?require=one-holder,monotonic-token` the store is refused unless it promises that.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Client`] when the URL cannot be used or nobody answers in
    /// time, [`Error::Ttl`], [`Error::TtlRange`], [`Error::TtlTooShort`] and [`Error::FixedTtl`]
    /// for an impossible lease,
    /// [`Error::Thread`] when no thread can be started.
    pub async fn connect(self, url: &str) -> Result<Elector, Error> {
        #[cfg(feature = "quorum")]
        if url.starts_with("tenure") {
            return self.reach(client::parse_url(url)?).await;
        }
        let process = system::draw_incarnation().map_err(Error::Thread)?;
        let ttl = range(&self.ttl)?.longest();
        let connect = Connect { url: url.to_owned(), process, ttl, timeout: self.timeout };
        let local_proof = self.local_proof;
        self.start(Reach::Store { connect, local_proof }).await
    }

    /// Connects to the first of these endpoints that answers.
    ///
    /// # Errors
    /// As [`ElectorBuilder::connect`].
    #[cfg(feature = "quorum")]
    pub async fn reach(self, endpoints: Vec<Endpoint>) -> Result<Elector, Error> {
        // Every elector numbers its own sessions, so each speaks for a start of its own; the
        // death of the process is proved for all of them.
        let process = system::draw_incarnation().map_err(Error::Thread)?;
        // A node that is stopped must be given up in time to renew elsewhere.
        let silence = range(&self.ttl)?.longest().get() / 2;
        let silence = silence.clamp(SILENCE.0, SILENCE.1);
        let options = ClientOptions {
            timeout: self.timeout,
            silence,
            attempt: silence,
            process: Some(process),
            local_proof: self.local_proof,
            ..ClientOptions::default()
        };
        self.start(Reach::Endpoints(endpoints, options)).await
    }

    /// Contends through a node in this process: no socket in between, and the death of the
    /// process is proved to the other nodes on this machine. One elector for each node: a
    /// second one would number its sessions like the first.
    ///
    /// # Errors
    /// [`Error::Ttl`] and [`Error::Thread`], as [`ElectorBuilder::connect`].
    #[cfg(feature = "quorum")]
    pub async fn on_node(self, node: &Node) -> Result<Elector, Error> {
        self.start(Reach::Node(node.local_end())).await
    }

    async fn start(self, reach: Reach) -> Result<Elector, Error> {
        let ttl = range(&self.ttl)?;
        let first = self.on_thread_start;
        let setting = Setting { reach, ttl, drift: self.drift, first };
        let Running { reached, orders, validity } = keeper::start(setting).await?;
        Ok(Elector { reached, orders, validity, campaigns: Arc::default() })
    }
}

fn fixed(ttl: Duration) -> RangeInclusive<Duration> {
    ttl..=ttl
}

fn range(bounds: &RangeInclusive<Duration>) -> Result<TtlRange, Error> {
    Ok(TtlRange::new(Ttl::new(*bounds.start())?, Ttl::new(*bounds.end())?)?)
}

/// One process's way to elections. Cheap to clone; all clones share one session, which is
/// renewed by a thread of its own, so that a blocked application cannot cost the lease.
#[derive(Debug, Clone)]
pub struct Elector {
    reached: Reached,
    orders: UnboundedSender<Order>,
    validity: Arc<Validity>,
    /// Campaigns so far: each has a number of its own.
    campaigns: Arc<AtomicU64>,
}

impl Elector {
    /// Connects with the default settings.
    ///
    /// # Errors
    /// As [`ElectorBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Settings other than the defaults.
    #[must_use]
    pub fn builder() -> ElectorBuilder {
        ElectorBuilder::default()
    }

    /// The connection underneath, when the store is a quorum.
    #[cfg(feature = "quorum")]
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        match &self.reached {
            Reached::Quorum(client) => Some(client),
            Reached::Store(..) => None,
        }
    }

    /// What the store, as it is configured, can promise.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.reached.capabilities()
    }

    /// Length of the lease that is in force: the one that was asked for, or what it has adapted
    /// to by now.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.validity.ttl()
    }

    /// Other bounds for the lease from now on, while everything that is held stays held. A
    /// longer lease is in force as soon as the quorum has agreed, a shorter one after about the
    /// time of the longer one.
    ///
    /// # Errors
    /// [`Error::Ttl`] and [`Error::TtlRange`] for impossible bounds, [`Error::FixedTtl`] when the
    /// store is no quorum, [`Error::Closed`]. The lease stays as it is.
    pub fn set_ttl(&self, bounds: RangeInclusive<Duration>) -> Result<(), Error> {
        if let Reached::Store(backend, _) = &self.reached {
            return Err(Error::FixedTtl { store: backend.capabilities().store.clone() });
        }
        self.order(Order::SetTtl(range(&bounds)?))
    }

    /// A copy of the kernel's lock by which this process holds an election: with `file://` the
    /// hold lives as long as any copy is open, so a process that runs the work and inherits one
    /// keeps the next leader away for as long as it lives. None for other stores, and when this
    /// process does not hold it. The copy is closed by `exec`. Giving leadership up ends the
    /// hold, whoever has a copy.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn lock_of(
        &self,
        election: &ElectionName,
    ) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
        match &self.reached {
            Reached::Store(_, Some(locks)) => locks.copy(election),
            _ => Ok(None),
        }
    }

    /// One contest. The name, 1 to 255 of `A-Z a-z 0-9 . _ : / @ -`, is checked when something
    /// is asked of it.
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election::new(self.clone(), name.into())
    }

    /// Prepares to contend for an election: short for [`Elector::election`] and
    /// [`Election::candidate`].
    pub fn campaign(&self, election: &str, candidate: &str) -> Candidate {
        self.election(election).candidate(candidate)
    }

    /// Follows an election without contending: short for [`Elector::election`] and
    /// [`Election::observe`].
    ///
    /// # Errors
    /// As [`Election::observe`].
    pub async fn observe(&self, election: &str) -> Result<Observer, Error> {
        self.election(election).observe().await
    }

    pub(crate) async fn follow(&self, election: ElectionName) -> Result<Observer, Error> {
        Observer::start(&self.reached, &self.orders, election).await
    }

    pub(crate) fn next_campaign(&self) -> u64 {
        self.campaigns.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.send(order).map_err(|_| Error::Closed)
    }

    /// Leaves everything at once. The work of every tenure must have stopped.
    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }
}
