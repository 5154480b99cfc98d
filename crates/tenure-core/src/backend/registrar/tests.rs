//! What the registrar says, step by step.

use alloc::vec::Vec;

use super::{Effect, Registrar, Report, Step};
use crate::{
    CandidateId, ElectionName, Incarnation, Leader, Moment, RequestId, Revision, SessionId, Token,
    Value, WallTime,
    backend::{Holding, News},
    ledger::Command,
    timing::Ttl,
};

fn effects(registrar: &mut Registrar) -> Vec<Effect> {
    core::iter::from_fn(|| registrar.poll()).collect()
}

fn step(effects: &[Effect], wanted: fn(&Step) -> bool) -> u64 {
    let mut steps = effects.iter().filter_map(|effect| match effect {
        Effect::Run { number, step } if wanted(step) => Some(*number),
        _ => None,
    });
    steps.next().expect("the step is asked for")
}

/// The simulator found it (`cargo xtask sim --store lost-answers --seed 152`): an acquisition
/// that was sent twice took effect again after the release. The store then named this session
/// as the holder, the contender took the sighting for a grant, and no renewal named the hold.
#[test]
fn a_hold_that_nobody_here_asked_for_is_nothing_for_the_contender() {
    let now = Moment::from_nanos(1);
    let ttl = Ttl::MIN;
    let session = SessionId { process: Incarnation::from_random(1), number: 1 };
    let election = ElectionName::new("x").expect("a name of letters");
    let mut registrar = Registrar::new(ttl);
    let request = RequestId { process: session.process, number: 1 };
    registrar.ask(request, Command::OpenSession { session, ttl, supersedes: None }, now);
    let open = step(&effects(&mut registrar), |step| matches!(step, Step::Open { .. }));
    registrar.done(open, Ok(Report::Done), now);
    registrar.follow(&election, now);
    let look = step(&effects(&mut registrar), |step| matches!(step, Step::Look(_)));
    let leader = Leader {
        id: CandidateId::new("p").expect("a name of letters"),
        value: Value::default(),
        token: Token::new(39),
        ttl,
        since: WallTime::default(),
    };
    let holder = Some((session, leader));
    let holding = Holding { holder, revision: Revision::new(39), position: 1, again: None };
    registrar.done(look, Ok(Report::Stood(Vec::from([holding]))), now);
    let words = effects(&mut registrar).into_iter().filter_map(|effect| match effect {
        Effect::Say(News::Seen(word)) => Some(word),
        _ => None,
    });
    let words: Vec<_> = words.collect();
    assert_eq!(words.len(), 1);
    assert!(words[0].sighting.view.leader().is_some(), "observers are told");
    assert_eq!(words[0].seen, None);
}
