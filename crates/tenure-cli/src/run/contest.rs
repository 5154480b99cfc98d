//! The side of the warden that talks to the store: a thread of its own with an async runtime,
//! so that nothing on the way to the store can hold up the supervision of the command.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::Poll,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};
use tenure::{Campaign, Elector, Error, Leadership, Slot, Taken};
use tenure_core::{CandidateId, ElectionName, Moment, Sighting, Token, ledger::Refusal};
use tenure_quorum::clock;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};

use super::{
    preempt::{AbortOnDrop, preempt},
    settings::Settings,
};
use crate::{
    args,
    command::node::Timing,
    error::{Exit, Failure},
    realtime,
};

/// How long to wait for the store to learn that leadership was given up.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause before contending again after a refusal that may pass.
const AGAIN: Duration = Duration::from_millis(100);

/// The hold on an election, shared with whoever watches the time. Emptying it says that the
/// work has stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease(Arc<Mutex<Option<Arc<Leadership>>>>);

impl Lease {
    fn set(&self, leadership: Option<Arc<Leadership>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = leadership;
    }

    /// Until when this process may believe that it leads.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = held.as_ref()?.remaining()?;
        Some(clock::moment() + left)
    }

    /// Length of the lease in force, while it holds.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| held.ttl())
    }

    /// The token, while it holds.
    pub(crate) fn token(&self) -> Option<Token> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref()?.check().ok()
    }
}

/// What the store's side says.
#[derive(Debug)]
pub(crate) enum News {
    /// It is connected.
    Connected,
    /// Somebody else leads; the place in the queue.
    Waiting(u32),
    /// This process leads. Whatever keeps the hold alive beyond its death comes along.
    Elected(ElectionName, Token, Option<OwnedFd>),
    /// It leads, and somebody has taken the slot before: there is nothing to do.
    Taken(Slot),
    /// It does not lead any more.
    Lost(&'static str),
    /// It is asked to hand over.
    HandoverAsked,
    /// It may not contend for now.
    Refused(String),
    /// It cannot go on.
    Failed(Failure),
    /// What was held is given up.
    Released,
    /// Somebody leads, or nobody.
    Seen(Box<Sighting>),
}

/// What the warden wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Contend,
    /// The work has stopped. Keep the place in the queue if `stay`.
    Release {
        stay: bool,
    },
}

/// Wakes a loop that waits for files.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    pub(crate) fn ring(&self) {
        // It can only fail when it rings already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The way back to the warden.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) bell: Bell,
}

impl Voice {
    fn tell(&self, news: News) {
        let _ = self.news.send(news);
        self.bell.ring();
    }
}

/// Connects, then does what it is told until nobody gives orders any more.
pub(crate) async fn serve(
    settings: Settings,
    candidate: CandidateId,
    lease: Lease,
    voice: Voice,
    mut orders: UnboundedReceiver<Order>,
) {
    let budget = settings.budget;
    let how = Elector::builder().adaptive_ttl(args::bounds(settings.options.time.ttl));
    let how = realtime::elector(how, settings.realtime);
    let how = how.drift(budget.drift).timeout(settings.patience);
    let connecting = async {
        let timing = Timing::choose(budget.ttl, None, None)?;
        settings.store.connect(how, timing, budget.drift, settings.realtime).await
    };
    let (elector, node) = match connecting.await {
        Ok(connected) => connected,
        Err(failure) => {
            voice.tell(News::Failed(failure));
            // Whatever is ordered now, nothing is held.
            while orders.recv().await.is_some() {
                voice.tell(News::Released);
            }
            return;
        }
    };
    if settings.options.who.preempt && elector.client().is_none() {
        voice.tell(News::Failed(Failure::usage(
            "--preempt does not work here",
            format!("{} knows no priorities", elector.capabilities().store),
            "a quorum of Tenure nodes (--peers, tenure://...) does; or leave --preempt out",
        )));
        while orders.recv().await.is_some() {
            voice.tell(News::Released);
        }
        return;
    }
    voice.tell(News::Connected);
    let watching = tokio::spawn(watch(elector.clone(), settings.election.clone(), voice.clone()));
    let mut side = Side {
        settings,
        candidate,
        elector,
        lease,
        voice,
        campaigns: Vec::new(),
        declining: JoinSet::new(),
    };
    while let Some(order) = orders.recv().await {
        match order {
            Order::Contend => side.contend(&mut orders).await,
            Order::Release { .. } => side.leave().await,
        }
    }
    watching.abort();
    side.elector.close();
    if let Some(node) = node {
        node.stop();
    }
}

/// Tells each change of the election.
async fn watch(elector: Elector, election: ElectionName, voice: Voice) {
    let Ok(mut observer) = elector.observe(election.as_str()).await else { return };
    while let Some(sighting) = observer.changed().await {
        voice.tell(News::Seen(Box::new(sighting)));
    }
}

struct Side {
    settings: Settings,
    candidate: CandidateId,
    elector: Elector,
    lease: Lease,
    voice: Voice,
    campaigns: Vec<Campaign>,
    /// Queues that are being left.
    declining: JoinSet<()>,
}

/// What became of the wait.
enum Waited {
    Elected(usize, Leadership),
    Refused(Error),
    /// Whatever was ordered, it is not to wait any more.
    Ordered,
    Closed,
}

impl Side {
    /// Contends until one tenure has come and gone, or the wait for it.
    async fn contend(&mut self, orders: &mut UnboundedReceiver<Order>) {
        let (mut told, mut duplicate) = (None, None);
        loop {
            // Nobody is in one queue twice.
            self.declining.shutdown().await;
            if let Err(error) = self.begin() {
                self.voice.tell(News::Failed(self.settings.store.failed(&error)));
                return self.obey(orders).await;
            }
            let preempting = self.settings.options.who.preempt.then(|| {
                let (elector, election) = (self.elector.clone(), self.settings.election.clone());
                AbortOnDrop(tokio::spawn(preempt(elector, election, self.candidate.clone())))
            });
            let waited = self.wait(orders).await;
            drop(preempting);
            match waited {
                Waited::Elected(slot, leadership) => {
                    let campaign = self.campaigns.swap_remove(slot);
                    // One is enough: the others are for somebody else.
                    let patience = self.settings.options.time.ttl.longest().get();
                    for other in std::mem::replace(&mut self.campaigns, vec![campaign]) {
                        self.declining.spawn(decline(other, patience));
                    }
                    return self.hold(leadership, orders).await;
                }
                Waited::Ordered => return self.leave().await,
                Waited::Closed => return,
                Waited::Refused(error)
                    if passes(&error) || self.may_be_earlier(&error, &mut duplicate) =>
                {
                    let reason = error.to_string();
                    if told.as_ref() != Some(&reason) && !matches!(error, Error::Left) {
                        self.voice.tell(News::Refused(reason.clone()));
                        told = Some(reason);
                    }
                    self.campaigns.clear();
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        _ = orders.recv() => return self.leave().await,
                    }
                }
                Waited::Refused(error) => {
                    self.voice.tell(News::Failed(self.settings.store.failed(&error)));
                    return self.obey(orders).await;
                }
            }
        }
    }

    /// Whether the id may be taken by an earlier start of this very instance, whose session has
    /// not run out: a service that is started again must not fail for that. Whoever still has
    /// the id after two leases is somebody else.
    fn may_be_earlier(&self, error: &Error, since: &mut Option<Instant>) -> bool {
        let duplicate = matches!(error, Error::Refused(Refusal::DuplicateCandidate { .. }));
        let patience = 2 * self.settings.options.time.ttl.longest().get();
        duplicate && since.get_or_insert_with(Instant::now).elapsed() < patience
    }

    /// Nothing is held any more, and the warden will say so.
    async fn obey(&mut self, orders: &mut UnboundedReceiver<Order>) {
        if orders.recv().await.is_some() {
            self.leave().await;
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        if !self.campaigns.is_empty() {
            return Ok(());
        }
        let who = &self.settings.options.who;
        let value = who.value.as_ref().map_or(self.candidate.as_str(), |value| value.as_str());
        for election in self.settings.elections() {
            let campaign = self.elector.campaign(election.as_str(), self.candidate.as_str());
            let campaign = campaign.value(value).priority(i32::from(who.priority)).start()?;
            self.campaigns.push(campaign);
        }
        Ok(())
    }

    async fn wait(&mut self, orders: &mut UnboundedReceiver<Order>) -> Waited {
        let mut waits = false;
        let (campaigns, voice) = (&mut self.campaigns, &self.voice);
        let elected = poll_fn(|context| {
            for (slot, campaign) in campaigns.iter_mut().enumerate() {
                // Cancel safe: what is not ready now is given by the next call.
                match pin!(campaign.elected()).poll(context) {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Waited::Elected(slot, won)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Waited::Refused(error)),
                    Poll::Pending => {}
                }
            }
            let positions: Option<Vec<_>> = campaigns.iter().map(Campaign::position).collect();
            if let Some(position) = positions.and_then(|all| all.into_iter().min())
                && !waits
            {
                waits = true;
                voice.tell(News::Waiting(position));
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            order = orders.recv() => order.map_or(Waited::Closed, |_| Waited::Ordered),
            elected = elected => elected,
        }
    }

    /// One tenure, until the warden says that the work has stopped.
    async fn hold(&mut self, leadership: Leadership, orders: &mut UnboundedReceiver<Order>) {
        let leadership = Arc::new(leadership);
        self.lease.set(Some(Arc::clone(&leadership)));
        let news = self.elected(&leadership).await;
        self.voice.tell(news);
        let (mut lost, mut asked) = (false, false);
        let stay = loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Release { stay }) => break stay,
                    Some(Order::Contend) => {}
                    // The warden ends without a word: let the lease run out by itself.
                    None => return std::mem::forget(leadership),
                },
                word = leadership.lost(), if !lost => {
                    lost = true;
                    self.voice.tell(News::Lost(word.loss.as_str()));
                }
                () = leadership.handover_asked(), if !asked && !lost => {
                    asked = true;
                    self.voice.tell(News::HandoverAsked);
                }
            }
        };
        let asked = leadership.is_handover_asked();
        let resigns = !asked && leadership.check().is_ok();
        self.lease.set(None);
        drop(leadership);
        if resigns {
            // The campaign is over when the store knows.
            if let Some(mut campaign) = self.campaigns.pop() {
                let left = async { while campaign.elected().await.is_ok() {} };
                let _ = tokio::time::timeout(FAREWELL, left).await;
            }
        }
        if stay {
            return self.voice.tell(News::Released);
        }
        if !resigns && !asked {
            // After a loss the campaign contends again by itself.
            for campaign in self.campaigns.drain(..) {
                decline(campaign, AGAIN).await;
            }
        }
        self.leave().await;
    }

    /// What comes before the command may know that it leads.
    async fn elected(&self, leadership: &Leadership) -> News {
        let election = leadership.election().clone();
        let lock = match self.elector.lock_of(&election) {
            Ok(lock) => lock,
            // Without a copy the command could outlive the hold.
            Err(error) => {
                return News::Failed(Failure::io(
                    "cannot copy the lock",
                    &error,
                    "raise ulimit -n",
                ));
            }
        };
        let taken = match &self.settings.slot {
            Some(slot) => leadership.take(slot.as_str()).await,
            None => Ok(Taken::Ours),
        };
        match taken {
            Ok(Taken::Ours) => News::Elected(election, leadership.token(), lock),
            Ok(Taken::Before(slot)) => News::Taken(slot),
            Err(error) => News::Failed(Failure::new(
                Exit::Unavailable,
                "the slot of --once-per could not be taken, and nothing was started",
                error,
                "it may be recorded all the same: then nobody runs it; start it by hand, without \
                 --once-per, if it must be run",
            )),
        }
    }

    /// Leaves every queue.
    async fn leave(&mut self) {
        for campaign in self.campaigns.drain(..) {
            campaign.withdraw(FAREWELL).await;
        }
        self.voice.tell(News::Released);
    }
}

/// Leaves a queue. What was won before that is known is given up at once: a grant that nobody
/// takes in would be held for as long as this process lives.
async fn decline(mut campaign: Campaign, patience: Duration) {
    let declined = async { while campaign.elected().await.is_ok() {} };
    if tokio::time::timeout(patience, declined).await.is_err() {
        campaign.withdraw(FAREWELL).await;
    }
}

/// Whether a refusal may pass without anybody's doing.
fn passes(error: &Error) -> bool {
    match error {
        Error::Left => true,
        Error::Refused(refusal) => {
            matches!(refusal, Refusal::Banned { .. } | Refusal::Limit { .. })
        }
        _ => false,
    }
}

/// Orders to the store's side.
pub(crate) type Orders = UnboundedSender<Order>;
