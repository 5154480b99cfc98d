//! One participant's part in sharing a family: what to contend for and what to hand over.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::time::Duration;

use super::{Appetite, plan, seats};
use crate::{CandidateId, Moment};

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Contend for this partition; report [`Sharing::granted`] and [`Sharing::ended`].
    Contend(u32),
    /// Contend for it no longer. It is not led; nothing need be reported.
    Leave(u32),
    /// Stop its work, then give it to this participant, or to nobody; report [`Sharing::ended`].
    HandOver(u32, Option<CandidateId>),
}

/// What this participant does about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    /// The store refused; not again before this moment.
    Later(Moment),
    Contends,
    Leads,
    /// Leads what another should, since this moment.
    Surplus(Moment),
    HandsOver,
}

/// One participant's part in sharing a family.
#[derive(Debug)]
pub struct Sharing {
    me: CandidateId,
    settle: Duration,
    /// This very process has a seat: its name on one may be of an earlier start.
    seated: bool,
    leaving: bool,
    /// Who sits where, as far as it was told at all.
    seats: Vec<Option<Option<(CandidateId, Appetite)>>>,
    /// Who leads which partition, as far as it was told at all.
    leaders: Vec<Option<Option<CandidateId>>>,
    parts: Vec<Part>,
}

impl Sharing {
    /// Nothing is known yet. A partition is given away when its plan has been the same for
    /// `settle`: participants that start one after the other so move less.
    #[must_use]
    pub fn new(me: CandidateId, partitions: u32, settle: Duration) -> Self {
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        let seats = usize::try_from(seats(partitions)).unwrap_or(usize::MAX);
        Self {
            me,
            settle,
            seated: false,
            leaving: false,
            seats: vec![None; seats],
            leaders: vec![None; count],
            parts: vec![Part::None; count],
        }
    }

    /// Who sits on this seat, if anybody. What is not known is not told: then the last that was
    /// known goes on.
    pub fn sits(&mut self, seat: u32, who: Option<(CandidateId, Appetite)>) {
        if let Some(known) = self.seats.get_mut(at(seat)) {
            *known = Some(who);
        }
    }

    /// Who leads this partition, if anybody; the same goes for what is not known.
    pub fn led(&mut self, partition: u32, who: Option<CandidateId>) {
        if let Some(known) = self.leaders.get_mut(at(partition)) {
            *known = Some(who);
        }
    }

    /// This participant leads it. False when it has left meanwhile: then it must be given back.
    pub fn granted(&mut self, partition: u32) -> bool {
        let Some(part) = self.parts.get_mut(at(partition)) else { return false };
        if *part == Part::Contends {
            *part = Part::Leads;
        }
        *part == Part::Leads
    }

    /// This participant leads it no longer, or contends for it no longer. With `retry`, it is not
    /// contended for again before that moment.
    pub fn ended(&mut self, partition: u32, retry: Option<Moment>) {
        if let Some(part) = self.parts.get_mut(at(partition)) {
            *part = retry.map_or(Part::None, Part::Later);
        }
    }

    /// This participant has a seat, or has none any more: then it takes nothing, but leads on until
    /// others take what it leads.
    pub fn seated(&mut self, seated: bool) {
        self.seated = seated;
    }

    /// Everything is given away now, to nobody if there is nobody.
    pub fn leave(&mut self) {
        (self.seated, self.leaving, self.settle) = (false, true, Duration::ZERO);
    }

    /// A seat that is free, as far as is known: which one depends on who asks, so that those
    /// who come at the same time do not all want the same.
    #[must_use]
    pub fn free_seat(&self) -> Option<u32> {
        let count = self.seats.len();
        let first = self
            .me
            .as_str()
            .bytes()
            .fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let seats = (0..count).map(|step| (first % count + step) % count);
        let mut free = seats.filter(|seat| self.seats[*seat] == Some(None));
        free.next().and_then(|seat| u32::try_from(seat).ok())
    }

    /// Who is there, and how much they take.
    #[must_use]
    pub fn participants(&self) -> BTreeMap<CandidateId, Appetite> {
        let mut participants: BTreeMap<_, _> =
            self.seats.iter().flatten().flatten().cloned().collect();
        if !self.seated {
            participants.remove(&self.me);
        }
        participants
    }

    /// Partitions that this participant leads.
    pub fn leads(&self) -> impl Iterator<Item = u32> {
        let leads = |part: &Part| matches!(part, Part::Leads | Part::Surplus(_) | Part::HandsOver);
        let parts = self.parts.iter().enumerate().filter(move |(_, part)| leads(part));
        parts.filter_map(|(at, _)| u32::try_from(at).ok())
    }

    /// When [`Sharing::decide`] must be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let due = self.parts.iter().filter_map(|part| match part {
            Part::Later(at) => Some(*at),
            Part::Surplus(since) => Some(*since + self.settle),
            _ => None,
        });
        due.min()
    }

    /// What is to be done now. Nothing, before it is known of every seat and partition how it
    /// stands: who knows half would take what others lead.
    pub fn decide(&mut self, now: Moment) -> Vec<Action> {
        if self.seats.iter().any(Option::is_none) || self.leaders.iter().any(Option::is_none) {
            return Vec::new();
        }
        let planned = plan(&self.participants(), &self.present());
        let mut actions = Vec::new();
        for (number, (part, planned)) in (0..).zip(self.parts.iter_mut().zip(planned)) {
            let mine = planned.as_ref() == Some(&self.me);
            let (next, action) = match *part {
                Part::None if mine => (Part::Contends, Some(Action::Contend(number))),
                Part::Later(at) if mine && at <= now => {
                    (Part::Contends, Some(Action::Contend(number)))
                }
                Part::Contends if !mine => (Part::None, Some(Action::Leave(number))),
                Part::Leads if !mine => (Part::Surplus(now), None),
                Part::Surplus(_) if mine => (Part::Leads, None),
                // Nobody takes it: better led by one too many than by nobody.
                Part::Surplus(since)
                    if since + self.settle <= now && (planned.is_some() || self.leaving) =>
                {
                    (Part::HandsOver, Some(Action::HandOver(number, planned)))
                }
                Part::Surplus(since) if since + self.settle <= now => (Part::Surplus(now), None),
                same => (same, None),
            };
            *part = next;
            actions.extend(action);
        }
        actions
    }

    /// Who leads what. Of itself a participant knows better than the store's word, which may be of a
    /// tenure that is over.
    fn present(&self) -> Vec<Option<CandidateId>> {
        let told = self.leaders.iter().zip(&self.parts).map(|(told, part)| match part {
            Part::Leads | Part::Surplus(_) => Some(self.me.clone()),
            _ => told.clone().flatten().filter(|leader| *leader != self.me),
        });
        told.collect()
    }
}

fn at(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTLE: Duration = Duration::from_secs(1);
    const PARTITIONS: u32 = 24;

    fn id(number: usize) -> CandidateId {
        CandidateId::new(alloc::format!("m{number}")).expect("a name")
    }

    /// Elections as they are: one leader for each partition, others in its queue. Participants learn
    /// of it in the order in which the test lets them look.
    struct World {
        now: Moment,
        participants: BTreeMap<usize, Sharing>,
        leaders: Vec<Option<usize>>,
        queues: Vec<Vec<usize>>,
        moves: usize,
    }

    impl World {
        fn new() -> Self {
            let count = at(PARTITIONS);
            let (leaders, queues) = (vec![None; count], vec![Vec::new(); count]);
            let (now, participants) = (Moment::from_nanos(1), BTreeMap::new());
            Self { now, participants, leaders, queues, moves: 0 }
        }

        fn join(&mut self, number: usize) {
            let mut participant = Sharing::new(id(number), PARTITIONS, SETTLE);
            participant.seated(true);
            self.participants.insert(number, participant);
        }

        fn die(&mut self, number: usize) {
            self.participants.remove(&number);
            for partition in 0..self.leaders.len() {
                self.queues[partition].retain(|queued| *queued != number);
                if self.leaders[partition] == Some(number) {
                    self.leaders[partition] = None;
                    self.grant(partition);
                }
            }
        }

        fn grant(&mut self, partition: usize) {
            if self.leaders[partition].is_none() && !self.queues[partition].is_empty() {
                let next = self.queues[partition].remove(0);
                self.leaders[partition] = Some(next);
                let number = u32::try_from(partition).expect("a few");
                let kept = self.participants.get_mut(&next).expect("it lives").granted(number);
                assert!(kept, "who left is not in the queue");
            }
        }

        /// One participant looks at everything and acts.
        fn look(&mut self, number: usize) {
            let sitting: Vec<usize> = self.participants.keys().copied().collect();
            let Some(participant) = self.participants.get_mut(&number) else { return };
            for seat in 0..seats(PARTITIONS) {
                let who = sitting.get(at(seat)).map(|other| (id(*other), Appetite::default()));
                participant.sits(seat, who);
            }
            for (partition, leader) in (0..).zip(&self.leaders) {
                participant.led(partition, leader.map(id));
            }
            for action in participant.decide(self.now) {
                match action {
                    Action::Contend(partition) => {
                        self.queues[at(partition)].push(number);
                        self.grant(at(partition));
                    }
                    Action::Leave(partition) => {
                        self.queues[at(partition)].retain(|queued| *queued != number);
                    }
                    Action::HandOver(partition, to) => {
                        self.moves += 1;
                        self.leaders[at(partition)] = None;
                        let queue = &mut self.queues[at(partition)];
                        if let Some(place) = queue.iter().position(|it| Some(id(*it)) == to) {
                            let to = queue.remove(place);
                            queue.insert(0, to);
                        }
                        self.participants
                            .get_mut(&number)
                            .expect("it lives")
                            .ended(partition, None);
                        self.grant(at(partition));
                    }
                }
            }
        }

        fn settle(&mut self, order: &[usize]) {
            for _ in 0..8 {
                order.iter().for_each(|number| self.look(*number));
                let all: Vec<usize> = self.participants.keys().copied().collect();
                all.into_iter().for_each(|number| self.look(number));
                self.now = self.now + SETTLE;
            }
        }

        fn is_even(&self) -> bool {
            let (least, most) = (
                at(PARTITIONS) / self.participants.len(),
                at(PARTITIONS).div_ceil(self.participants.len()),
            );
            self.participants.keys().all(|number| {
                let led = self.leaders.iter().filter(|leader| **leader == Some(*number)).count();
                (least..=most).contains(&led) && self.participants[number].leads().count() == led
            })
        }
    }

    proptest! {
        /// Participants come and go, and look in any order: in the end everything is led, evenly, and
        /// no more has moved than had to.
        #[test]
        fn everything_is_led_evenly(
            events in proptest::collection::vec((any::<bool>(), 0usize..8), 1..12),
            order in proptest::collection::vec(0usize..8, 0..20),
        ) {
            let mut world = World::new();
            world.join(0);
            world.settle(&order);
            for (join, number) in events {
                let (before, moved) = (world.participants.len(), world.moves);
                let there = world.participants.contains_key(&number);
                match join {
                    true if !there => world.join(number),
                    false if there && before > 1 => world.die(number),
                    _ => continue,
                }
                world.settle(&order);
                prop_assert!(world.leaders.iter().all(Option::is_some));
                prop_assert!(world.is_even(), "{:?}", world.leaders);
                let there = world.participants.len();
                let most = if join { at(PARTITIONS).div_ceil(there) } else { before };
                prop_assert!(world.moves - moved <= most, "{} moves", world.moves - moved);
            }
        }
    }

    #[test]
    fn who_knows_half_does_nothing() {
        let mut participant = Sharing::new(id(1), 2, SETTLE);
        participant.seated(true);
        let now = Moment::from_nanos(1);
        participant.sits(0, Some((id(1), Appetite::default())));
        participant.led(0, None);
        participant.led(1, None);
        assert_eq!(participant.decide(now), []);
        participant.sits(1, None);
        assert_eq!(participant.decide(now), [Action::Contend(0), Action::Contend(1)]);
    }

    #[test]
    fn who_leaves_gives_away_what_others_take() {
        let mut participant = Sharing::new(id(1), 1, SETTLE);
        participant.seated(true);
        let now = Moment::from_nanos(1);
        participant.sits(0, Some((id(1), Appetite::default())));
        participant.led(0, None);
        assert_eq!(participant.decide(now), [Action::Contend(0)]);
        assert!(participant.granted(0));
        participant.seated(false);
        assert_eq!(participant.decide(now), []);
        assert_eq!(participant.decide(now + SETTLE), [], "nobody takes it");
        participant.leave();
        assert_eq!(participant.decide(now + SETTLE), [Action::HandOver(0, None)]);
        participant.ended(0, None);
        assert_eq!(participant.decide(now + SETTLE), []);
        assert!(!participant.granted(0), "a grant that comes too late is given back");
    }

    #[test]
    fn a_refusal_is_waited_out() {
        let mut participant = Sharing::new(id(1), 1, SETTLE);
        participant.seated(true);
        let now = Moment::from_nanos(1);
        participant.sits(0, Some((id(1), Appetite::default())));
        participant.led(0, None);
        participant.decide(now);
        participant.ended(0, Some(now + SETTLE));
        assert_eq!(
            (participant.decide(now), participant.next_deadline()),
            (Vec::new(), Some(now + SETTLE))
        );
        assert_eq!(participant.decide(now + SETTLE), [Action::Contend(0)]);
    }
}
