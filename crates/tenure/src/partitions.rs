//! Leaders of many partitions, spread over those who are there.

use std::collections::BTreeMap;

use core::{convert::Infallible, time::Duration};
use tenure_core::{
    CandidateId, ElectionName, Leader, Sighting, View,
    partitions::{Action, Appetite, MAX_PARTITIONS, Sharing, partition_name, seat_name, seats},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};

use crate::{Campaign, Elector, Error, Lead, Leadership, campaign::FAREWELL, system};

/// How long a plan must be the same before something that is led moves.
const SETTLE: Duration = Duration::from_secs(1);
/// How long others have to line up for what a member that leaves gives away.
const LINE_UP: Duration = Duration::from_millis(250);
/// Pause before an election is followed again that could not be.
const PAUSE: Duration = Duration::from_millis(200);

impl Elector {
    /// A family of `count` elections, `NAME/0` to `NAME/(count-1)`, that are spread over its
    /// members: 1 to 4096.
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
    pub fn member(&self, id: impl Into<String>) -> Result<Member, Error> {
        let id = CandidateId::new(id.into())?;
        let (appetite, family) = (Appetite::default(), self.clone());
        Ok(Member { family, id, appetite, settle: SETTLE, grace: Duration::ZERO })
    }
}

/// One who takes a share of a [`Family`]. Nothing has begun yet.
#[derive(Debug, Clone)]
#[must_use = "a member takes its share with `run`"]
pub struct Member {
    family: Family,
    id: CandidateId,
    appetite: Appetite,
    settle: Duration,
    grace: Duration,
}

/// What happens, in the order in which it is heard of.
enum Event {
    Seat(u32, Sighting),
    Partition(u32, Sighting),
}

/// What became of a task of one partition.
enum Done<E> {
    Granted(u64, Campaign, Leadership),
    /// The work has ended or was stopped, and the store knows, or was told.
    Ended(Result<(), E>),
    Refused(u64, Error),
}

impl Member {
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

    /// How long a plan must be the same before something that is led moves: members that come
    /// one after the other move less. What nobody leads is taken at once. Default 1 s.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// How long the work of a partition that moves may take to end by itself once it is asked
    /// to ([`Lead::handover_asked`] is not: `lead.check()` stays good), before it is dropped.
    /// Default zero.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Takes its share for as long as this future lives, and runs the work of every partition
    /// that it leads, as a task of its own each.
    ///
    /// | what happens | what becomes of the work of a partition | and then |
    /// |---|---|---|
    /// | it ends with an error | it is done | everything is given back; the error is the answer |
    /// | it ends | it is done | the partition is given back, and taken again after a while |
    /// | leadership is lost | its future is dropped where it waits | the plan decides |
    /// | the plan gives it to another | it is dropped after [`Member::grace`] | it is handed over |
    ///
    /// # Errors
    /// Of the work; [`Error::Closed`], turned into its type, when the elector was closed.
    ///
    /// # Cancel safety
    /// All work is dropped, then everything is given back, seat and all, with nobody lined up to
    /// take it: [`Member::run_until`] does better.
    pub async fn run<E, F, W>(self, work: F) -> Result<Infallible, E>
    where
        F: FnMut(u32, Lead) -> W,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match self.run_until(core::future::pending::<Infallible>(), work).await? {
            Some(never) => match never {},
            // It ends by an error or not at all.
            None => Err(Error::Closed.into()),
        }
    }

    /// The same until `stop` is ready: then the seat is given up, others line up, and each
    /// partition is handed to the member that takes it. Gives what `stop` gave.
    ///
    /// # Errors
    /// As [`Member::run`].
    ///
    /// # Cancel safety
    /// As [`Member::run`].
    pub async fn run_until<T, E, F, W>(
        self,
        stop: impl Future<Output = T>,
        work: F,
    ) -> Result<Option<T>, E>
    where
        F: FnMut(u32, Lead) -> W,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let mut stop = core::pin::pin!(stop);
        let mut running = Running::start(self, work);
        let stopped = loop {
            tokio::select! {
                stopped = &mut stop => break stopped,
                turned = running.turn() => turned?,
            }
        };
        running.seat.give_up();
        running.sharing.seated(false);
        let lined_up = tokio::time::sleep(LINE_UP.min(running.member.settle));
        let mut lined_up = core::pin::pin!(lined_up);
        loop {
            tokio::select! {
                () = &mut lined_up => break,
                turned = running.turn() => turned?,
            }
        }
        running.sharing.leave();
        running.act();
        while !running.parts.is_empty() {
            running.turn().await?;
        }
        Ok(Some(stopped))
    }
}

/// A member at work.
struct Running<E, F> {
    member: Member,
    sharing: Sharing,
    seat: Seat,
    work: F,
    events: mpsc::UnboundedReceiver<Event>,
    /// One task follows one election.
    _followers: JoinSet<()>,
    tasks: JoinSet<(u32, Done<E>)>,
    parts: BTreeMap<u32, Part>,
    /// Campaigns so far. One that was left may have been granted in that moment: it is not
    /// taken for the next one.
    campaigns: u64,
}

/// What goes on for one partition.
enum Part {
    Contends(u64, AbortHandle),
    Leads(Option<oneshot::Sender<Option<CandidateId>>>),
}

impl<E, F, W> Running<E, F>
where
    F: FnMut(u32, Lead) -> W,
    W: Future<Output = Result<(), E>> + Send + 'static,
    E: From<Error> + Send + 'static,
{
    fn start(member: Member, work: F) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let mut followers = JoinSet::new();
        let Family { elector, name, count } = &member.family;
        let partitions = (0..*count).map(|number| (partition_name(name, number), number, false));
        let seats = (0..seats(*count)).map(|number| (seat_name(name, number), number, true));
        for (election, number, is_seat) in partitions.chain(seats) {
            // The longest of these names was looked at when the family was made.
            let Ok(election) = election else { continue };
            let event = if is_seat { Event::Seat } else { Event::Partition };
            let seen = move |sighting| event(number, sighting);
            followers.spawn(follow(elector.clone(), election, tell.clone(), seen));
        }
        Self {
            sharing: Sharing::new(member.id.clone(), *count, member.settle),
            seat: Seat::None,
            work,
            events,
            _followers: followers,
            tasks: JoinSet::new(),
            parts: BTreeMap::new(),
            campaigns: 0,
            member,
        }
    }

    /// Waits for one thing to happen, and does what follows from it.
    async fn turn(&mut self) -> Result<(), E> {
        let now = system::moment();
        let wait = self.sharing.next_deadline().map(|at| at.since(now));
        let wait = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.recv() => self.on_event(event.ok_or(Error::Closed)?),
            seated = self.seat.changed() => self.sharing.seated(seated?),
            Some(done) = self.tasks.join_next() => match done {
                Ok((number, done)) => self.on_done(number, done)?,
                // Left: there is nothing to say about it. A panic of the work is the caller's.
                Err(error) => if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                },
            },
            () = wait => {}
        }
        // What was heard at the same time is looked at together: plans change less.
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event);
        }
        self.seat.see_to(&self.member, &self.sharing)?;
        self.act();
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Partition(number, sighting) => {
                if let Some(leader) = known(sighting) {
                    self.sharing.led(number, leader.map(|leader| leader.id));
                }
            }
            Event::Seat(number, sighting) => {
                self.seat.seen(number, &sighting, &self.member.id);
                if let Some(leader) = known(sighting) {
                    let who = leader.map(|it| (it.id, Appetite::from_value(&it.value)));
                    self.sharing.sits(number, who);
                }
            }
        }
    }

    fn act(&mut self) {
        for action in self.sharing.decide(system::moment()) {
            match action {
                Action::Contend(number) => self.contend(number),
                Action::Leave(number) => {
                    if let Some(Part::Contends(_, task)) = self.parts.remove(&number) {
                        task.abort();
                    }
                }
                Action::HandOver(number, to) => {
                    if let Some(Part::Leads(stop)) = self.parts.get_mut(&number)
                        && let Some(stop) = stop.take()
                    {
                        // A task that has ended by itself says so.
                        let _ = stop.send(to);
                    }
                }
            }
        }
    }

    fn contend(&mut self, number: u32) {
        let Family { elector, name, .. } = &self.member.family;
        let candidate = elector.campaign(&format!("{name}/{number}"), self.member.id.as_str());
        self.campaigns += 1;
        let campaigns = self.campaigns;
        let task = self.tasks.spawn(async move {
            let done = match candidate.start() {
                Ok(mut campaign) => match campaign.elected().await {
                    Ok(leadership) => Done::Granted(campaigns, campaign, leadership),
                    Err(error) => Done::Refused(campaigns, error),
                },
                Err(error) => Done::Refused(campaigns, error),
            };
            (number, done)
        });
        self.parts.insert(number, Part::Contends(campaigns, task));
    }

    fn on_done(&mut self, number: u32, done: Done<E>) -> Result<(), E> {
        let again = system::moment() + self.member.settle;
        match done {
            Done::Granted(campaigns, campaign, leadership) => {
                // Who has left meanwhile drops both, and so gives it back.
                if self.contends(number, campaigns) && self.sharing.granted(number) {
                    self.lead(number, campaign, leadership);
                }
            }
            Done::Ended(Ok(())) => {
                self.parts.remove(&number);
                self.sharing.ended(number, Some(again));
            }
            Done::Ended(Err(error)) => return Err(error),
            Done::Refused(_, Error::Closed) => return Err(Error::Closed.into()),
            Done::Refused(campaigns, _) => {
                if self.contends(number, campaigns) {
                    self.parts.remove(&number);
                    self.sharing.ended(number, Some(again));
                }
            }
        }
        Ok(())
    }

    /// Whether it is this campaign that contends, and none before it.
    fn contends(&self, number: u32, campaigns: u64) -> bool {
        matches!(self.parts.get(&number), Some(Part::Contends(it, _)) if *it == campaigns)
    }

    fn lead(&mut self, number: u32, campaign: Campaign, leadership: Leadership) {
        let (stop, stopped) = oneshot::channel();
        let work = (self.work)(number, leadership.lead());
        let grace = self.member.grace;
        self.tasks.spawn(async move {
            let mut successor = None;
            let done = {
                let asked = async {
                    match stopped.await {
                        Ok(to) => successor = to,
                        // The member has gone.
                        Err(_) => return,
                    }
                    tokio::time::sleep(grace).await;
                };
                tokio::select! {
                    done = leadership.protect(work) => done.unwrap_or(Ok(())),
                    () = asked => Ok(()),
                }
            };
            match successor {
                Some(to) => leadership.transfer(to),
                None => drop(leadership),
            }
            campaign.withdraw(FAREWELL).await;
            (number, Done::Ended(done))
        });
        self.parts.insert(number, Part::Leads(Some(stop)));
    }
}

/// The place that shows others that this member is there.
enum Seat {
    None,
    Asked(u32, Campaign),
    Taken(u32, Campaign, Leadership),
    GivenUp,
}

impl Seat {
    /// Whether it is taken, after the next change of that.
    ///
    /// Cancel safety: safe.
    async fn changed(&mut self) -> Result<bool, Error> {
        match self {
            Self::Asked(_, campaign) => {
                let elected = campaign.elected().await;
                *self = match (elected, std::mem::replace(self, Self::None)) {
                    (Ok(leadership), Self::Asked(seat, campaign)) => {
                        Self::Taken(seat, campaign, leadership)
                    }
                    (Err(Error::Closed), _) => return Err(Error::Closed),
                    // Refused: another seat may do.
                    _ => Self::None,
                };
            }
            Self::Taken(_, _, leadership) => {
                leadership.lost().await;
                if let Self::Taken(seat, campaign, _) = std::mem::replace(self, Self::None) {
                    // The campaign contends again by itself.
                    *self = Self::Asked(seat, campaign);
                }
            }
            Self::None | Self::GivenUp => core::future::pending().await,
        }
        Ok(matches!(self, Self::Taken(..)))
    }

    /// Somebody else sits where this one wanted to.
    fn seen(&mut self, seat: u32, sighting: &Sighting, me: &CandidateId) {
        let other = sighting.view.leader().is_some_and(|leader| leader.id != *me);
        if other && matches!(self, Self::Asked(asked, _) if *asked == seat) {
            *self = Self::None;
        }
    }

    /// Asks for a seat that is free, when there is none and one is known.
    fn see_to(&mut self, member: &Member, sharing: &Sharing) -> Result<(), Error> {
        if let (Self::None, Some(seat)) = (&*self, sharing.free_seat()) {
            let Family { elector, name, .. } = &member.family;
            let candidate = elector.campaign(&format!("{name}/seat/{seat}"), member.id.as_str());
            let value = member.appetite.to_value();
            *self = Self::Asked(seat, candidate.value(value.as_str()).start()?);
        }
        Ok(())
    }

    fn give_up(&mut self) {
        *self = Self::GivenUp;
    }
}

/// Who leads, or nobody. Unknown is not no: then what was known goes on.
fn known(sighting: Sighting) -> Option<Option<Leader>> {
    match sighting.view {
        View::Led(leader) => Some(Some(leader)),
        View::Vacant => Some(None),
        View::Unknown => None,
    }
}

/// Tells of every sighting of an election for as long as somebody listens.
async fn follow(
    elector: Elector,
    election: ElectionName,
    tell: mpsc::UnboundedSender<Event>,
    event: impl Fn(Sighting) -> Event,
) {
    loop {
        match elector.observe(election.as_str()).await {
            Ok(mut observer) => {
                while let Some(sighting) = observer.changed().await {
                    if tell.send(event(sighting)).is_err() {
                        return;
                    }
                }
                // The elector was closed.
                return;
            }
            Err(Error::Closed) => return,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
