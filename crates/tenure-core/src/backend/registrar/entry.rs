//! One election, as far as this process is concerned with it.

use alloc::string::String;

use core::time::Duration;

use super::super::{Bid, Hold, Holding, Word};
use crate::{
    CandidateId, ElectionName, Moment, RequestId, Revision, SessionId, Sighting, Token, View,
    candidate::Seen, timing::Ttl,
};

/// How a candidacy ends by the contender's word; answered when the store has confirmed it.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Withdraw { request: RequestId },
    Release { request: RequestId, hold: Hold, successor: Option<CandidateId> },
}

/// The latest word of the store, and when it was heard.
#[derive(Debug)]
struct Known {
    holding: Holding,
    heard: Moment,
}

/// What is to be done for an election next.
#[derive(Debug)]
pub(super) enum Task {
    Acquire(Bid),
    Withdraw(Bid),
    Release(Hold, Option<CandidateId>),
    Look,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Somebody wants to know how it stands.
    pub(super) followed: bool,
    pub(super) bid: Option<Bid>,
    /// The campaign that is not answered yet.
    pub(super) campaign: Option<RequestId>,
    /// Held by the present session, by the number of the step that confirmed it last.
    pub(super) held: Option<(Token, u64)>,
    pub(super) ending: Option<Ending>,
    /// A step for it is under way.
    pub(super) busy: bool,
    /// Its acquisition waits for others.
    pub(super) held_up: bool,
    /// It changed while a step was under way.
    pub(super) again: bool,
    /// Whoever has just handed over lets others go first until then.
    pub(super) stands_back: Option<Moment>,
    known: Option<Known>,
    /// Followers were told that nothing is known.
    pub(super) lost_sight: bool,
    floor: Revision,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            followed: false,
            bid: None,
            campaign: None,
            held: None,
            ending: None,
            busy: false,
            held_up: false,
            again: false,
            stands_back: None,
            known: None,
            lost_sight: false,
            floor: Revision::default(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.followed && self.bid.is_none() && self.ending.is_none() && !self.busy
    }

    pub(super) fn held_token(&self) -> Option<Token> {
        self.held.map(|(token, _)| token)
    }

    /// The session is gone, and with it whatever it held or asked.
    pub(super) fn forsake(&mut self) {
        self.bid = None;
        self.campaign = None;
        self.held = None;
        self.ending = None;
        self.stands_back = None;
    }

    /// What to do next, if anything.
    pub(super) fn next_task(&mut self, now: Moment) -> Option<Task> {
        if self.busy {
            self.again = true;
            return None;
        }
        if let (Some(ending), Some(bid)) = (&self.ending, &self.bid) {
            return Some(match ending {
                Ending::Withdraw { .. } => Task::Withdraw(bid.clone()),
                Ending::Release { hold, successor, .. } => {
                    Task::Release(hold.clone(), successor.clone())
                }
            });
        }
        if let Some(until) = self.stands_back
            && (until <= now || self.is_led_by_another())
        {
            self.stands_back = None;
        }
        match &self.bid {
            Some(bid) if self.held.is_none() && self.stands_back.is_none() => {
                Some(Task::Acquire(bid.clone()))
            }
            _ => (self.followed || self.bid.is_some()).then_some(Task::Look),
        }
    }

    fn is_led_by_another(&self) -> bool {
        let session = self.bid.as_ref().map(|bid| bid.session);
        let holder = self.known.as_ref().and_then(|known| known.holding.holder.as_ref());
        holder.is_some_and(|(holder, _)| Some(*holder) != session)
    }

    /// The store's word. False when it is no news.
    pub(super) fn note(&mut self, holding: Holding, now: Moment) -> bool {
        // An answer that was overtaken on its way says nothing.
        if holding.revision < self.floor {
            return false;
        }
        self.floor = holding.revision;
        let news = self.lost_sight
            || self.known.as_ref().is_none_or(|known| {
                known.holding.holder != holding.holder || known.holding.revision != holding.revision
            });
        self.lost_sight = false;
        self.known = Some(Known { holding, heard: now });
        news
    }

    /// A renewal that named it was acknowledged.
    pub(super) fn renewed(&mut self, step: u64, now: Moment) {
        if let Some((_, confirmed)) = &mut self.held {
            *confirmed = step.max(*confirmed);
        }
        if let Some(known) = &mut self.known {
            known.heard = now;
        }
    }

    /// The present session does not hold it any more; who does is not known.
    pub(super) fn lapse(&mut self, election: &ElectionName, token: Token, now: Moment) -> Word {
        self.held = None;
        self.bid = None;
        self.floor = self.floor.max(Revision::new(token.get()));
        self.known = None;
        self.lost_sight = true;
        let mut word = self.unknown(election, "this session does not hold it any more", now);
        let seen = Seen { revision: self.floor, holder: None, handover: false, revoked: false };
        word.seen = Some(seen);
        word
    }

    /// When the silence about it has lasted too long.
    pub(super) fn silent_from(&self, patience: Duration) -> Option<Moment> {
        (self.followed && !self.lost_sight)
            .then(|| self.known.as_ref().map(|known| known.heard + patience))
            .flatten()
    }

    /// What is held is renewed, and hints tell when it is lost: nothing need be asked as long
    /// as renewals succeed.
    pub(super) fn rests_until(&self, patience: Duration) -> Option<Moment> {
        let rests = self.held.is_some() && self.ending.is_none() && !self.again && !self.busy;
        let known = self.known.as_ref().filter(|_| rests)?;
        Some(known.heard + patience)
    }

    /// When to ask again.
    pub(super) fn ask_again_after(&self, poll: Duration) -> Duration {
        let again = self.known.as_ref().and_then(|known| known.holding.again);
        again.map_or(poll, |again| again.clamp(Duration::from_millis(1), poll))
    }

    /// What contender and observers are told. A hold that the store reports, but that no step
    /// of the present session confirmed, is nothing for the contender: nothing says that its
    /// lease is as long as the session's. That goes for a hold that nobody here asks for (any
    /// more), too: a question that was given up on may have taken effect after its answer.
    pub(super) fn word(
        &self,
        election: &ElectionName,
        session: Option<SessionId>,
        now: Moment,
    ) -> Option<Word> {
        let Known { holding, heard } = self.known.as_ref()?;
        let holder = holding.holder.as_ref();
        let view = holder.map_or(View::Vacant, |(_, leader)| View::Led(leader.clone()));
        let sighting =
            Sighting { view, revision: holding.revision, age: now.since(*heard), reason: None };
        let holder = holder.map(|(session, leader)| (*session, leader.token));
        let own = holder.filter(|(holder, _)| Some(*holder) == session);
        let confirmed = own.is_none_or(|(_, token)| self.held_token() == Some(token));
        let seen = confirmed.then_some(Seen {
            revision: holding.revision,
            holder,
            handover: false,
            revoked: false,
        });
        Some(Word { election: election.clone(), sighting, seen })
    }

    /// What they are told when nobody who could say was heard for too long.
    pub(super) fn unknown(&self, election: &ElectionName, why: &str, now: Moment) -> Word {
        let heard = self.known.as_ref().map(|known| known.heard);
        let sighting = Sighting {
            view: View::Unknown,
            revision: self.floor,
            age: heard.map_or(Duration::ZERO, |heard| now.since(heard)),
            reason: Some(String::from(why)),
        };
        Word { election: election.clone(), sighting, seen: None }
    }

    /// Place in the queue, as the store said.
    pub(super) fn position(&self) -> u32 {
        self.known.as_ref().map_or(1, |known| known.holding.position)
    }

    /// The hold that a renewal must name.
    pub(super) fn hold(&self, election: &ElectionName, ttl: Ttl) -> Option<Hold> {
        let bid = self.bid.as_ref().filter(|_| self.ending.is_none())?;
        let token = self.held_token()?;
        Some(Hold { session: bid.session, election: election.clone(), token, ttl })
    }
}
