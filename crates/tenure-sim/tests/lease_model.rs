//! The rules of leases and renewals, explored to the end: two candidates, one store whose
//! leader changes, clocks at the edge of the bound, messages that are late for as long as they
//! like or never come. The arithmetic is the product's (`tenure_core::timing`); with it two
//! candidates never believe at once, and with each of six bugs they do, so the model can tell.
//!
//! Checked with stateright. Nothing bounds the length of a run: all times are kept relative to
//! the present, and tokens relative to the latest, so there are finitely many states. What is
//! bounded: of each candidate one request, one answer and one release are on the way (a later
//! one takes the place of an earlier, lost one; of the second candidate, request and answer
//! share a place). A tick is 10 ms of true time; a clock shows 8 or 12 ms meanwhile (a drift of
//! 20 %, the largest that is allowed), and the ttl of 60 ms makes both deadlines fall on ticks,
//! so that the rules are tight: one tick less on either side is caught.
#![allow(clippy::print_stdout)] // what was explored is the point

use stateright::{Checker, Model, Property};
use tenure_core::{
    Moment,
    timing::{Drift, Ttl, grantor_deadline, holder_deadline},
};

/// What a slow and a fast clock show of a tick, in milliseconds.
const RATES: [u16; 2] = [8, 12];
const TTL_MS: u64 = 60;
const DRIFT_PPM: u32 = 200_000;
/// Ticks after which no question is fresh enough to make anybody believe, by either clock.
const STALE: u8 = 6;
/// Tokens that are older than this are one: nothing that is compared with them still counts,
/// and where it could, the holder is given the benefit, so that no violation is hidden.
const OLD: u8 = 2;

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// The holder counts from the receipt of the acknowledgement.
    CountsFromReceipt,
    /// The holder does not allow for drift.
    HolderWithoutDrift,
    /// The store does not allow for drift.
    StoreWithoutDrift,
    /// A leader acknowledges a renewal without asking whether it still leads.
    AckWithoutRound,
    /// A new leader does not wait for the leases that it inherits.
    NoGrace,
    /// A release does not name the tenure that it ends.
    ReleaseWithoutToken,
}

const BUGS: [Bug; 6] = [
    Bug::CountsFromReceipt,
    Bug::HolderWithoutDrift,
    Bug::StoreWithoutDrift,
    Bug::AckWithoutRound,
    Bug::NoGrace,
    Bug::ReleaseWithoutToken,
];

/// A tenure, as so many grants before the latest.
type Age = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Request {
    /// Ticks since it was sent.
    sent: u8,
    /// None asks for the election, a token renews that tenure.
    token: Option<Age>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Answer {
    /// Ticks since the question was sent.
    sent: u8,
    token: Age,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Candidate {
    rate: u8,
    /// Its tenure, and for how long it believes in it, in milliseconds of its own clock.
    tenure: Option<(Age, u16)>,
    request: Option<Request>,
    answer: Option<Answer>,
    /// The tenure that it gave up last; what is as old is not led again.
    release: Option<Age>,
}

/// The store's log, and what its present leader alone knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Store {
    /// Who holds the latest tenure.
    holder: Option<u8>,
    rate: u8,
    /// For how long the lease must be kept, by the leader's clock.
    kept: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    candidates: [Candidate; 2],
    store: Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Ask(usize),
    Resign(usize),
    Hear(usize),
    /// A leader that does not know yet that it was deposed hears a renewal.
    HearDeposed(usize),
    HearRelease(usize),
    Answered(usize),
    Expire,
    /// Another leader, with a slow or a fast clock.
    Change(u8),
}

struct Leases {
    bug: Option<Bug>,
}

fn local(rate: u8, ticks: u8) -> u64 {
    u64::from(RATES[usize::from(rate)]) * u64::from(ticks)
}

/// How long a deadline lies ahead of a present that the arithmetic never sees.
fn ahead(deadline: impl FnOnce(Moment) -> Moment, since: u64) -> u16 {
    const PRESENT: u64 = 1_000;
    let from = Moment::from_nanos((PRESENT - since) * 1_000_000);
    let left = (deadline(from).as_nanos() / 1_000_000).saturating_sub(PRESENT);
    u16::try_from(left).expect("a short time")
}

impl Leases {
    fn drift(&self, without: Bug) -> Drift {
        Drift::from_ppm(if self.bug == Some(without) { 0 } else { DRIFT_PPM })
    }

    /// For how long a holder may believe after an answer to a question of that age.
    fn believed(&self, rate: u8, sent: u8) -> u16 {
        let since = if self.bug == Some(Bug::CountsFromReceipt) { 0 } else { local(rate, sent) };
        let ttl = Ttl::try_from(TTL_MS).expect("a ttl in range");
        ahead(|sent| holder_deadline(sent, ttl, self.drift(Bug::HolderWithoutDrift)), since)
    }

    /// For how long the store keeps a lease that it grants now.
    fn kept(&self) -> u16 {
        let ttl = Ttl::try_from(TTL_MS).expect("a ttl in range");
        ahead(|now| grantor_deadline(now, ttl, self.drift(Bug::StoreWithoutDrift)), 0)
    }

    fn hear(&self, state: &mut State, who: usize) -> Option<()> {
        let Request { sent, token } = state.candidates[who].request.take()?;
        let me = u8::try_from(who).ok()?;
        match (state.store.holder, token) {
            (None, None) => state.grant(me),
            (Some(holder), None | Some(0)) if holder == me => {}
            _ => return Some(()),
        }
        state.store.kept = state.store.kept.max(self.kept());
        state.reply(who, Answer { sent, token: 0 });
        Some(())
    }

    fn hear_release(&self, state: &mut State, who: usize) -> Option<()> {
        let candidate = &mut state.candidates[who];
        let token = candidate.release.take()?;
        // An answer that says as much as was given up is dropped, now or when it comes.
        candidate.answer = candidate.answer.filter(|answer| answer.token < token);
        let holds = state.store.holder.is_some_and(|holder| usize::from(holder) == who);
        if holds && (token == 0 || self.bug == Some(Bug::ReleaseWithoutToken)) {
            state.store.holder = None;
        }
        Some(())
    }

    fn answered(&self, state: &mut State, who: usize) -> Option<()> {
        let candidate = &mut state.candidates[who];
        let Answer { sent, token } = candidate.answer.take()?;
        let believed = self.believed(candidate.rate, sent);
        let given_up = candidate.release.is_some_and(|burnt| token >= burnt && token < OLD);
        if given_up || believed == 0 {
            return Some(());
        }
        let believed = match candidate.tenure {
            Some((held, until)) if held == token => believed.max(until),
            _ => believed,
        };
        candidate.tenure = Some((token, believed));
        Some(())
    }
}

impl State {
    fn believes(&self, who: usize) -> bool {
        self.candidates[who].tenure.is_some()
    }

    /// One more tenure: all others are one older.
    fn grant(&mut self, to: u8) {
        let older = |age: &mut Age| *age = (*age + 1).min(OLD);
        for candidate in &mut self.candidates {
            candidate.tenure.iter_mut().for_each(|(age, _)| older(age));
            candidate.request.iter_mut().filter_map(|it| it.token.as_mut()).for_each(older);
            candidate.answer.iter_mut().for_each(|it| older(&mut it.token));
            candidate.release.iter_mut().for_each(older);
        }
        self.store.holder = Some(to);
    }

    fn reply(&mut self, who: usize, answer: Answer) {
        self.candidates[who].answer = Some(answer);
        if who == 1 {
            self.candidates[who].request = None;
        }
    }

    fn tick(&mut self) {
        for candidate in &mut self.candidates {
            let passed = RATES[usize::from(candidate.rate)];
            candidate.tenure = candidate
                .tenure
                .and_then(|(token, left)| Some((token, left.checked_sub(passed)?)))
                .filter(|(_, left)| *left > 0);
            let age = |sent: &mut u8| *sent = (*sent + 1).min(STALE);
            candidate.request.iter_mut().for_each(|it| age(&mut it.sent));
            candidate.answer.iter_mut().for_each(|it| age(&mut it.sent));
            // What is too old to make anybody believe might as well be lost.
            candidate.answer = candidate.answer.filter(|answer| answer.sent < STALE);
        }
        let passed = RATES[usize::from(self.store.rate)];
        self.store.kept = self.store.kept.saturating_sub(passed);
    }
}

impl Model for Leases {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut states = Vec::new();
        // All combinations of clocks. The store's may be another after every change.
        for rates in 0..4 {
            let candidate = |rate| Candidate { rate, ..Candidate::default() };
            let candidates = [candidate(rates & 1), candidate(rates >> 1)];
            let store = Store { holder: None, rate: 1, kept: 0 };
            states.push(State { candidates, store });
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for (who, candidate) in state.candidates.iter().enumerate() {
            actions.push(Action::Ask(who));
            if state.believes(who) && candidate.release.is_none() {
                actions.push(Action::Resign(who));
            }
            if candidate.request.is_some() {
                actions.push(Action::Hear(who));
                if self.bug == Some(Bug::AckWithoutRound) {
                    actions.push(Action::HearDeposed(who));
                }
            }
            if candidate.release.is_some() {
                actions.push(Action::HearRelease(who));
            }
            if candidate.answer.is_some() {
                actions.push(Action::Answered(who));
            }
        }
        if state.store.holder.is_some() && state.store.kept == 0 {
            actions.push(Action::Expire);
        }
        actions.extend([Action::Change(0), Action::Change(1)]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.tick(),
            Action::Ask(who) => {
                let candidate = &mut state.candidates[who];
                let token = candidate.tenure.map(|(token, _)| token);
                candidate.request = Some(Request { sent: 0, token });
                if who == 1 {
                    candidate.answer = None;
                }
            }
            Action::Resign(who) => {
                let (token, _) = state.candidates[who].tenure.take()?;
                state.candidates[who].release = Some(token);
            }
            Action::Hear(who) => self.hear(&mut state, who)?,
            Action::HearDeposed(who) => {
                let Request { sent, token } = state.candidates[who].request.take()?;
                state.reply(who, Answer { sent, token: token? });
            }
            Action::HearRelease(who) => self.hear_release(&mut state, who)?,
            Action::Answered(who) => self.answered(&mut state, who)?,
            Action::Expire => state.store.holder = None,
            Action::Change(rate) => {
                let kept = if self.bug == Some(Bug::NoGrace) { 0 } else { self.kept() };
                (state.store.rate, state.store.kept) = (rate, kept);
            }
        }
        if state.store.holder.is_none() {
            state.store.kept = 0;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one believes", |_, state: &State| {
                !(state.believes(0) && state.believes(1))
            }),
            // Without these the first would hold for nothing.
            Property::sometimes("the second leads after the first", |_, state: &State| {
                state.candidates[0].release == Some(1) && state.believes(1)
            }),
            Property::sometimes(
                "a lease is believed in as long as it may be",
                |_, state: &State| {
                    let passed = RATES[usize::from(state.store.rate)];
                    let holder = state.store.holder.map(usize::from);
                    holder.is_some_and(|who| state.believes(who)) && state.store.kept <= passed
                },
            ),
        ]
    }
}

#[test]
fn at_most_one_candidate_believes_whatever_happens() {
    let checker = Leases { bug: None }.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} transitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    checker.assert_properties();
    assert!(checker.is_done() && checker.unique_state_count() > 100_000);
}

#[test]
fn every_broken_rule_gives_two_believers() {
    for bug in BUGS {
        let checker = Leases { bug: Some(bug) }.checker().threads(2).spawn_bfs().join();
        let path = checker.discovery("at most one believes");
        let steps = path.map(|path| path.into_actions().len());
        println!("{bug:?}: {steps:?} steps, {} states", checker.unique_state_count());
        assert!(steps.is_some(), "{bug:?} is not found");
    }
}
