//! The value that exists while work may run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use core::{
    future::poll_fn,
    ops::Deref,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};
use tenure_core::{
    CandidateId, ElectionName, Moment, Token, Value, backend::Slot, candidate::Loss, timing::Ttl,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

use crate::{Error, keeper::Order, system};

/// Until when the session may be believed in, shared by everything that rides on it: an atomic,
/// so that a check costs a clock read and a comparison.
#[derive(Debug)]
pub(crate) struct Validity {
    deadline: AtomicU64,
    /// Length of the lease in force.
    ttl: watch::Sender<Duration>,
}

impl Validity {
    pub(crate) fn new(ttl: Ttl) -> Self {
        Self { deadline: AtomicU64::default(), ttl: watch::Sender::new(ttl.get()) }
    }

    pub(crate) fn set(&self, deadline: Option<Moment>, ttl: Ttl) {
        self.deadline.store(deadline.map_or(0, Moment::as_nanos), Ordering::Release);
        let ttl = ttl.get();
        self.ttl.send_if_modified(|shown| core::mem::replace(shown, ttl) != ttl);
    }

    fn get(&self) -> Moment {
        Moment::from_nanos(self.deadline.load(Ordering::Acquire))
    }

    pub(crate) fn ttl(&self) -> Duration {
        *self.ttl.borrow()
    }
}

/// What is known about one tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Leading,
    /// The leader is asked to hand over.
    Asked,
    Lost(Loss),
}

/// Leadership is lost. The work must stop, if it has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("leadership of {election} with token {token} is lost: {}", .loss.as_str())]
pub struct Lost {
    /// The contest.
    pub election: ElectionName,
    /// The tenure that ended.
    pub token: Token,
    /// How it was lost.
    pub loss: Loss,
}

/// Whose a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// This leader's: it has the work to do.
    Ours,
    /// The same slot, or a later one, was taken by this tenure.
    Before(Slot),
}

/// What may be asked about one tenure, by any task or thread. Cheap to clone; it ends nothing
/// and keeps nothing: that is what [`Leadership`] is for.
#[derive(Debug, Clone)]
pub struct Lead {
    election: ElectionName,
    token: Token,
    validity: Arc<Validity>,
    hold: watch::Receiver<Hold>,
    given_up: Arc<AtomicBool>,
}

impl Lead {
    /// The contest.
    #[must_use]
    pub fn election(&self) -> &ElectionName {
        &self.election
    }

    /// The fencing token: give it to every resource that can refuse a lower one.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Gives the token if this process may still act: the tenure is not known to be over and
    /// the lease's deadline lies ahead. Costs one clock read; no I/O.
    ///
    /// A check can be followed by a pause of any length: only a resource that checks the token
    /// closes that gap.
    ///
    /// # Errors
    /// [`Lost`] when the lease is lost, or was given up.
    pub fn check(&self) -> Result<Token, Lost> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(self.lost_by(Loss::Resigned));
        }
        if let Hold::Lost(loss) = *self.hold.borrow() {
            return Err(self.lost_by(loss));
        }
        match self.remaining() {
            Some(_) => Ok(self.token),
            None => Err(self.lost_by(Loss::Expired)),
        }
    }

    /// How long the lease lasts from now if it is never renewed again; none when it is over.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.validity.get().since(system::moment());
        (!left.is_zero()).then_some(left)
    }

    /// Length of the lease that is in force: fixed, or what it has adapted to by now
    /// ([`crate::ElectorBuilder::adaptive_ttl`]).
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.validity.ttl()
    }

    /// Waits until the length of the lease in force is another than this one, and gives it.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn ttl_other_than(&self, known: Duration) -> Duration {
        let mut ttl = self.validity.ttl.subscribe();
        match ttl.wait_for(|ttl| *ttl != known).await {
            Ok(ttl) => *ttl,
            // Not while `self` keeps the sender.
            Err(_) => core::future::pending().await,
        }
    }

    /// Waits until leadership is lost, or given up.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn lost(&self) -> Lost {
        let mut hold = self.hold.clone();
        let mut kept = true;
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            let until = self.remaining().unwrap_or_default();
            tokio::select! {
                // Without the thread that renews, the lease runs out.
                changed = hold.changed(), if kept => kept = changed.is_ok(),
                () = tokio::time::sleep(until) => {}
            }
        }
    }

    /// Runs work for as long as this process leads. It is never polled after the lease's
    /// deadline, nor once the tenure is known to be over: then it is dropped where it waits, and
    /// the loss is the answer.
    ///
    /// A single poll cannot be interrupted: work that blocks the thread, or computes for long
    /// without an `.await`, must ask [`Lead::check`] itself. What the last poll handed to the
    /// kernel or the network is on its way: only a resource that checks the token refuses it.
    ///
    /// # Errors
    /// [`Lost`], and what the work has done until then is done.
    ///
    /// # Cancel safety
    /// As safe as the work: dropping this drops it.
    pub async fn protect<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        let (mut work, mut lost) = (pin!(work), pin!(self.lost()));
        poll_fn(|context: &mut Context<'_>| {
            if let Err(lost) = self.check() {
                return Poll::Ready(Err(lost));
            }
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            lost.as_mut().poll(context).map(Err)
        })
        .await
    }

    /// Waits until this leader is asked to hand over: stop the work, then drop the
    /// [`Leadership`] or call [`Leadership::hand_over`].
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn handover_asked(&self) {
        let mut hold = self.hold.clone();
        if hold.wait_for(|hold| *hold == Hold::Asked).await.is_err() {
            core::future::pending::<()>().await;
        }
    }

    /// Whether this leader is asked to hand over.
    #[must_use]
    pub fn is_handover_asked(&self) -> bool {
        *self.hold.borrow() == Hold::Asked
    }

    fn lost_by(&self, loss: Loss) -> Lost {
        Lost { election: self.election.clone(), token: self.token, loss }
    }
}

/// Leadership of one election, from grant to end.
///
/// It exists while work may run: dropping it says that the work has stopped. Dropped while it
/// still holds, it resigns and leaves the contest; dropped after a loss, the campaign contends
/// again; dropped after [`Lead::handover_asked`], leadership goes to the successor and the
/// campaign waits in the queue. The release happens in the background, and [`crate::Campaign`]
/// tells when the store has confirmed it; if it fails, the lease runs out by itself.
///
/// All that can be asked is on [`Lead`], which a task of its own can have a clone of.
#[derive(Debug)]
pub struct Leadership {
    lead: Lead,
    orders: UnboundedSender<Order>,
}

impl Leadership {
    pub(crate) fn new(
        election: ElectionName,
        token: Token,
        validity: Arc<Validity>,
        hold: watch::Receiver<Hold>,
        orders: UnboundedSender<Order>,
    ) -> Self {
        let lead = Lead { election, token, validity, hold, given_up: Arc::default() };
        Self { lead, orders }
    }

    /// A handle for other tasks. It says that the tenure is over as soon as this value is gone.
    #[must_use]
    pub fn lead(&self) -> Lead {
        self.lead.clone()
    }

    /// Takes a slot of this election's work, one tick of a schedule, say: it is recorded with
    /// the token, durably, unless the same or a later one is. Slots are compared byte by byte,
    /// as dates like `2026-11-21T05` can be.
    ///
    /// The work of a slot that is [`Taken::Ours`] is this leader's to do, and nobody else's ever
    /// again, also if it crashes at once: at most once, not at least once.
    ///
    /// # Errors
    /// [`Error::Name`] for an impossible slot, [`Error::Slot`] when the store did not say: it may
    /// be recorded or not. Asking again under the same leadership finds out.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether the slot is recorded.
    pub async fn take(&self, slot: &str) -> Result<Taken, Error> {
        let (reply, taken) = oneshot::channel();
        let (election, name) = (self.lead.election.clone(), Value::new(slot)?);
        let slot = Slot { election, name, token: self.lead.token };
        let order = Order::Take { slot: slot.clone(), reply };
        self.orders.send(order).map_err(|_| Error::Closed)?;
        let recorded = taken.await.map_err(|_| Error::Closed)?.map_err(Error::Slot)?;
        Ok(if recorded == slot { Taken::Ours } else { Taken::Before(recorded) })
    }

    /// Gives up: the work has stopped. Same as dropping the value.
    pub fn resign(self) {}

    /// Gives up in favour of a candidate; this process stays in the queue. The work has
    /// stopped. When that candidate is gone, the first in the order of succession is next.
    pub fn transfer(self, to: CandidateId) {
        self.lead.given_up.store(true, Ordering::Release);
        let (election, token) = (self.lead.election.clone(), self.lead.token);
        let _ = self.orders.send(Order::Transfer { election, token, to });
    }

    /// Hands over as asked and waits in the queue again. The work has stopped. Same as dropping
    /// the value after [`Lead::handover_asked`].
    pub fn hand_over(self) {}
}

impl Deref for Leadership {
    type Target = Lead;

    fn deref(&self) -> &Lead {
        &self.lead
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        // Before it is said, so that no handle says yes when another may lead.
        self.lead.given_up.store(true, Ordering::Release);
        let (election, token) = (self.lead.election.clone(), self.lead.token);
        let _ = self.orders.send(Order::Stopped { election, token });
    }
}
