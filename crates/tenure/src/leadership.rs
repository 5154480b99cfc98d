//! The value that exists while work may run.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use core::time::Duration;
use tenure_core::{ElectionName, Moment, Token, candidate::Loss};
use tokio::sync::{mpsc::UnboundedSender, watch};

use crate::{keeper::Order, system};

/// Until when the session may be believed in, shared by everything that rides on it: one
/// atomic, so that a check costs a clock read and a comparison.
#[derive(Debug, Default)]
pub(crate) struct Validity(AtomicU64);

impl Validity {
    pub(crate) fn set(&self, deadline: Option<Moment>) {
        self.0.store(deadline.map_or(0, Moment::as_nanos), Ordering::Release);
    }

    fn get(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::Acquire))
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

/// Leadership of one election, from grant to end.
///
/// It exists while work may run: dropping it says that the work has stopped. Dropped while it
/// still holds, it resigns and leaves the contest; dropped after a loss, the campaign contends
/// again; dropped after [`Leadership::handover_asked`], leadership goes to the successor and
/// the campaign waits in the queue. The release happens in the background; if it fails, the
/// lease runs out by itself.
#[derive(Debug)]
pub struct Leadership {
    pub(crate) election: ElectionName,
    pub(crate) token: Token,
    pub(crate) validity: Arc<Validity>,
    pub(crate) hold: watch::Receiver<Hold>,
    pub(crate) orders: UnboundedSender<Order>,
}

impl Leadership {
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
    /// [`Lost`] when the lease is lost.
    pub fn check(&self) -> Result<Token, Lost> {
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
        let now = system::moment();
        let left = self.validity.get().since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Waits until leadership is lost without this process's wish.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn lost(&self) -> Lost {
        let mut hold = self.hold.clone();
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            let until = self.remaining().unwrap_or_default();
            tokio::select! {
                changed = hold.changed() => {
                    if changed.is_err() {
                        // The thread that renews is gone: the lease runs out.
                        tokio::time::sleep(until).await;
                        return self.lost_by(Loss::Expired);
                    }
                }
                () = tokio::time::sleep(until) => {}
            }
        }
    }

    /// Waits until this leader is asked to hand over: stop the work and drop this value, or
    /// call [`Leadership::hand_over`].
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

    /// Gives up: the work has stopped. Same as dropping the value.
    pub fn resign(self) {}

    /// Gives up in favour of a candidate; this process stays in the queue. The work has
    /// stopped. When that candidate is gone, the first in the order of succession is next.
    pub fn transfer(self, to: tenure_core::CandidateId) {
        let election = self.election.clone();
        let _ = self.orders.send(Order::Transfer { election, token: self.token, to });
    }

    /// Hands over as asked and waits in the queue again. The work has stopped. Same as dropping
    /// the value after [`Leadership::handover_asked`].
    pub fn hand_over(self) {}

    fn lost_by(&self, loss: Loss) -> Lost {
        Lost { election: self.election.clone(), token: self.token, loss }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        let election = self.election.clone();
        let _ = self.orders.send(Order::Stopped { election, token: self.token });
    }
}
