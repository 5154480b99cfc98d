//! What there is to do for a participant's share, as it changes.

use core::time::Duration;
use tenure_core::{
    CandidateId, ElectionName, Leader, Moment, Sighting, View,
    partitions::{Action, Appetite, Sharing, seats},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::Participant;
use crate::{Campaign, Elector, Error, Leadership, system};

/// How long others have to line up for what a participant that leaves gives away.
const LINE_UP: Duration = Duration::from_millis(250);
/// Pause before an election is followed again that could not be.
const PAUSE: Duration = Duration::from_millis(200);

/// What is heard of the elections that are followed.
#[derive(Debug)]
enum Event {
    Seat(u32, Sighting),
    Partition(u32, Sighting),
}

/// A participant's seat, and what follows from who else has one. Dropping it gives the seat up.
///
/// Whoever has this does what [`Shares::next`] says, and reports what came of it.
#[derive(Debug)]
pub struct Shares {
    pub(super) participant: Participant,
    sharing: Sharing,
    seat: Seat,
    events: mpsc::UnboundedReceiver<Event>,
    /// One task follows one election.
    _followers: JoinSet<()>,
    /// When those who lined up get it.
    leaves: Option<Moment>,
}

impl Shares {
    pub(super) fn start(participant: Participant) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let mut followers = JoinSet::new();
        let (elector, count) = (&participant.family.elector, participant.family.count);
        let partitions = (0..count).map(|number| (participant.partition(number), number, false));
        let seats = (0..seats(count)).map(|number| (participant.seat(number), number, true));
        for (election, number, is_seat) in partitions.chain(seats) {
            // The longest of these names was looked at when the family was made.
            let Ok(election) = election else { continue };
            let event = if is_seat { Event::Seat } else { Event::Partition };
            let seen = move |sighting| event(number, sighting);
            followers.spawn(follow(elector.clone(), election, tell.clone(), seen));
        }
        let sharing = Sharing::new(participant.id.clone(), count, participant.settle);
        Self { sharing, seat: Seat::None, events, _followers: followers, leaves: None, participant }
    }

    /// Waits until there is something to do; it is to be done now.
    ///
    /// # Errors
    /// [`Error::Closed`] when the elector was closed.
    ///
    /// # Cancel safety
    /// Safe: what there is to do is given by the next call.
    pub async fn next(&mut self) -> Result<Vec<Action>, Error> {
        loop {
            let now = system::moment();
            if self.leaves.take_if(|at| *at <= now).is_some() {
                self.sharing.leave();
            }
            let actions = self.sharing.decide(now);
            if !actions.is_empty() {
                return Ok(actions);
            }
            let due = self.sharing.next_deadline().into_iter().chain(self.leaves).min();
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep(at.since(now)).await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => self.heard(event.ok_or(Error::Closed)?),
                seated = self.seat.changed() => self.sharing.seated(seated?),
                () = wait => {}
            }
            // What was heard at the same time is looked at together: plans change less.
            while let Ok(event) = self.events.try_recv() {
                self.heard(event);
            }
            self.seat.see_to(&self.participant, &self.sharing)?;
        }
    }

    /// This participant leads it now. False when it is to be given back at once: the plan has changed
    /// meanwhile.
    pub fn granted(&mut self, partition: u32) -> bool {
        self.sharing.granted(partition)
    }

    /// This participant does not lead it any more, or does not contend for it any more. With `pause`,
    /// it is not to be contended for again before a while has passed.
    pub fn ended(&mut self, partition: u32, pause: bool) {
        let retry = pause.then(|| system::moment() + self.participant.settle);
        self.sharing.ended(partition, retry);
    }

    /// Gives the seat up: others line up for what this participant leads, and a moment later
    /// [`Shares::next`] says to whom it goes.
    pub fn leave(&mut self) {
        self.seat = Seat::GivenUp;
        self.sharing.seated(false);
        self.leaves = Some(system::moment() + LINE_UP.min(self.participant.settle));
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Partition(number, sighting) => {
                if let Some(leader) = known(sighting) {
                    self.sharing.led(number, leader.map(|leader| leader.id));
                }
            }
            Event::Seat(number, sighting) => {
                self.seat.seen(number, &sighting, &self.participant.id);
                if let Some(leader) = known(sighting) {
                    let who = leader.map(|it| (it.id, Appetite::from_value(&it.value)));
                    self.sharing.sits(number, who);
                }
            }
        }
    }
}

/// The place that shows others that this participant is there.
#[derive(Debug)]
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
    fn see_to(&mut self, participant: &Participant, sharing: &Sharing) -> Result<(), Error> {
        if let (Self::None, Some(seat)) = (&*self, sharing.free_seat()) {
            let candidate = participant.candidate(&participant.seat(seat)?);
            let value = participant.appetite.to_value();
            *self = Self::Asked(seat, candidate.value(value.as_str()).start()?);
        }
        Ok(())
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
