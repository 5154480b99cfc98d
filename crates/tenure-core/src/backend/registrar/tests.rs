//! What the registrar says, step by step.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use super::{Effect, Registrar, Report, Step};
use crate::{
    CandidateId, ElectionName, Incarnation, Leader, Moment, RequestId, Revision, SessionId, Token,
    Value, WallTime,
    backend::{Holding, News, StoreError},
    ledger::{Command, Outcome, SessionEnd, Standing},
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
    registrar.done(look, Ok(Report::Stood(Vec::from([held(session, Token::new(39))]))), now);
    let words = effects(&mut registrar).into_iter().filter_map(|effect| match effect {
        Effect::Say(News::Seen(word)) => Some(word),
        _ => None,
    });
    let words: Vec<_> = words.collect();
    assert_eq!(words.len(), 1);
    assert!(words[0].sighting.view.leader().is_some(), "observers are told");
    assert_eq!(words[0].seen, None);
}

/// The wish to lead an election.
fn campaign(session: SessionId, election: &ElectionName) -> Command {
    Command::Campaign {
        session,
        election: election.clone(),
        candidate: CandidateId::new("p").expect("a name of letters"),
        value: Value::default(),
        standing: Standing::default(),
    }
}

/// What the store says of an election that this session holds.
fn held(session: SessionId, token: Token) -> Holding {
    let leader = Leader {
        id: CandidateId::new("p").expect("a name of letters"),
        value: Value::default(),
        token,
        ttl: Ttl::MIN,
        since: WallTime::default(),
    };
    let revision = Revision::new(token.get());
    Holding { holder: Some((session, leader)), revision, position: 1, again: None }
}

fn outcomes(effects: &[Effect]) -> Vec<(u64, bool)> {
    let outcome = |effect: &Effect| match effect {
        Effect::Say(News::Outcome(request, outcome)) => {
            Some((request.number, *outcome == Outcome::Done))
        }
        _ => None,
    };
    effects.iter().filter_map(outcome).collect()
}

/// A registrar whose session is open.
fn opened(ttl: Ttl, now: Moment) -> (Registrar, SessionId) {
    let session = SessionId { process: Incarnation::from_random(1), number: 1 };
    let mut registrar = Registrar::new(ttl);
    let request = RequestId { process: session.process, number: 1 };
    registrar.ask(request, Command::OpenSession { session, ttl, supersedes: None }, now);
    let open = step(&effects(&mut registrar), |step| matches!(step, Step::Open { .. }));
    registrar.done(open, Ok(Report::Done), now);
    effects(&mut registrar);
    (registrar, session)
}

/// A contender that changes its mind while its hand-over is under way was refused, asked again,
/// and was refused, as fast as it could, until the store had answered.
#[test]
fn a_release_under_way_answers_whoever_wants_to_leave_meanwhile() {
    let (now, ttl) = (Moment::from_nanos(1), Ttl::MIN);
    let (mut registrar, session) = opened(ttl, now);
    let election = ElectionName::new("x").expect("a name of letters");
    let candidate = CandidateId::new("p").expect("a name of letters");
    let request = |number| RequestId { process: session.process, number };
    registrar.ask(request(2), campaign(session, &election), now);
    let acquire = step(&effects(&mut registrar), |step| matches!(step, Step::Acquire(_)));
    let token = Token::new(5);
    registrar.done(acquire, Ok(Report::Stood(Vec::from([held(session, token)]))), now);
    effects(&mut registrar);
    let transfer = Command::Transfer { session, election: election.clone(), token, to: candidate };
    registrar.ask(request(3), transfer, now);
    let release = step(&effects(&mut registrar), |step| matches!(step, Step::Release { .. }));
    registrar.ask(request(4), Command::Resign { session, election: election.clone(), token }, now);
    registrar.ask(request(5), Command::Withdraw { session, election }, now);
    assert_eq!(outcomes(&effects(&mut registrar)), [(3, false), (4, false)]);
    registrar.done(release, Ok(Report::Released(true)), now);
    assert_eq!(outcomes(&effects(&mut registrar)), [(5, true)]);
    assert!(!registrar.has_open_requests());
}

/// What a close that had no answer leaves behind holds up everybody else until it runs out.
#[test]
fn a_close_without_an_answer_is_repeated_until_the_session_has_run_out() {
    let (begun, ttl) = (Moment::from_nanos(1), Ttl::new(Duration::from_secs(1)).expect("a ttl"));
    let (mut registrar, session) = opened(ttl, begun);
    let request = RequestId { process: session.process, number: 2 };
    let lost = || Err(StoreError::Unavailable { why: String::new() });
    registrar.ask(request, Command::CloseSession { session, reason: SessionEnd::Closed }, begun);
    let (mut now, mut asked) = (begun, 0);
    loop {
        let said = effects(&mut registrar);
        if outcomes(&said) == [(2, true)] {
            break;
        }
        assert!(registrar.has_open_requests());
        let close = step(&said, |step| matches!(step, Step::Close { .. }));
        asked += 1;
        registrar.done(close, lost(), now);
        if let Some(next) = registrar.next_deadline() {
            now = next;
            registrar.tick(now);
        }
    }
    assert!(asked > 3 && now <= begun + ttl.get(), "{asked} times until {now:?}");
    assert!(!registrar.has_open_requests());
}

/// On a store that grants one after the other, more elections than it grants within a lease:
/// while grants flowed, no renewal named all that was believed, none was acknowledged, and
/// everything was lost again.
#[test]
fn leases_are_kept_while_a_thousand_elections_are_granted_one_by_one() {
    const ELECTIONS: u64 = 1000;
    const SERVICE: Duration = Duration::from_millis(3);
    let ttl = Ttl::new(Duration::from_secs(1)).expect("a ttl");
    let mut now = Moment::from_nanos(1);
    let (mut registrar, session) = opened(ttl, now);
    for number in 0..ELECTIONS {
        let election = ElectionName::new(alloc::format!("e/{number}")).expect("a name");
        let request = RequestId { process: session.process, number: number + 2 };
        registrar.ask(request, campaign(session, &election), now);
    }
    let mut line = alloc::collections::VecDeque::new();
    let (mut granted, mut tokens) = (0, 0);
    let (mut sent, mut believed_until) = (Vec::new(), now + ttl.get());
    while granted < ELECTIONS {
        if sent.last().is_none_or(|sent| now.since(*sent) >= ttl.renew_interval()) {
            sent.push(now);
            registrar.renew(session, sent.len() as u64);
        }
        for effect in effects(&mut registrar) {
            match effect {
                Effect::Run { number, step } => line.push_back((number, step)),
                Effect::Say(News::Outcome(_, outcome)) => {
                    assert!(matches!(outcome, Outcome::Leading { .. }), "{outcome:?}");
                    granted += 1;
                }
                Effect::Say(News::Renewed(_, renewal)) => {
                    let sent = sent[usize::try_from(renewal).expect("a few") - 1];
                    believed_until = believed_until.max(sent + ttl.get());
                }
                _ => {}
            }
        }
        assert!(now < believed_until, "lost after {granted} grants");
        now = now + SERVICE;
        registrar.tick(now);
        let Some((number, step)) = line.pop_front() else { continue };
        let mut stands = || {
            tokens += 1;
            held(session, Token::new(tokens))
        };
        let report = match step {
            Step::Renew { .. } => Report::Lapsed(Vec::new()),
            Step::Look(elections) => Report::Stood(elections.iter().map(|_| stands()).collect()),
            _ => Report::Stood(Vec::from([stands()])),
        };
        registrar.done(number, Ok(report), now);
    }
    assert!(now.since(Moment::from_nanos(1)) > 2 * ttl.get(), "the store was not slow");
}
