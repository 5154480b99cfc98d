//! The bounds of the ledger, with their real numbers.

use std::time::Duration;

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Revision, SessionId, Token, Value, View, WallTime,
    ledger::{
        Command, HISTORY_LENGTH, Ledger, MAX_CANDIDATES, MAX_ELECTIONS, MAX_SESSIONS, Outcome,
        Refusal, SessionEnd, Standing,
    },
    timing::Ttl,
};

fn session(process: u64, number: u32) -> SessionId {
    SessionId { process: Incarnation::from_random(process), number }
}

fn apply(ledger: &mut Ledger, command: Command) -> Outcome {
    ledger.apply(None, WallTime::default(), command).outcome
}

fn open(ledger: &mut Ledger, session: SessionId, supersedes: Option<SessionId>) -> Outcome {
    let ttl = Ttl::new(Duration::from_secs(1)).unwrap();
    apply(ledger, Command::OpenSession { session, ttl, supersedes })
}

fn election(name: impl Into<String>) -> ElectionName {
    ElectionName::new(name).unwrap()
}

fn campaign(ledger: &mut Ledger, session: SessionId, name: &ElectionName) -> Outcome {
    let candidate = CandidateId::new(format!("c{}", session.process.get())).unwrap();
    let (value, standing) = (Value::default(), Standing::default());
    let election = name.clone();
    apply(ledger, Command::Campaign { session, election, candidate, value, standing })
}

fn resign(ledger: &mut Ledger, session: SessionId, name: &ElectionName) -> Outcome {
    let token = ledger.election(name).and_then(|e| e.tenure()).map_or(Token::new(0), |t| t.token);
    apply(ledger, Command::Resign { session, election: name.clone(), token })
}

fn is_limit(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::Limit { .. }))
}

#[test]
fn sessions_are_bounded_and_a_full_ledger_still_lets_a_process_renew_itself() {
    let mut ledger = Ledger::default();
    for process in 0..MAX_SESSIONS as u64 {
        assert_eq!(open(&mut ledger, session(process, 1), None), Outcome::Done);
    }
    assert!(is_limit(&open(&mut ledger, session(1 << 40, 1), None)));
    // The old one makes room for the new one; a session that is not open makes none.
    assert!(is_limit(&open(&mut ledger, session(7, 3), Some(session(7, 2)))));
    assert_eq!(open(&mut ledger, session(7, 3), Some(session(7, 1))), Outcome::Done);
    let reason = SessionEnd::Closed;
    apply(&mut ledger, Command::CloseSession { session: session(8, 1), reason });
    assert_eq!(open(&mut ledger, session(1 << 40, 1), None), Outcome::Done);
}

/// Filling an election one by one takes seconds, so this one is written down as it would be.
#[test]
fn candidates_of_one_election_are_bounded() {
    let mut ledger = Ledger::default();
    let name = election("demo");
    open(&mut ledger, session(0, 1), None);
    campaign(&mut ledger, session(0, 1), &name);
    open(&mut ledger, session(MAX_CANDIDATES as u64, 1), None);
    let mut written = serde_json::to_value(&ledger).unwrap();
    let candidates = written["elections"]["demo"]["candidates"].as_array_mut().unwrap();
    for number in 1..MAX_CANDIDATES {
        let mut next = candidates[0].clone();
        next["session"]["process"] = number.into();
        next["id"] = format!("c{number}").into();
        candidates.push(next);
    }
    let mut ledger: Ledger = serde_json::from_value(written).unwrap();
    assert!(is_limit(&campaign(&mut ledger, session(MAX_CANDIDATES as u64, 1), &name)));
    // Who is in already is not turned away, and its place makes room.
    assert!(matches!(campaign(&mut ledger, session(0, 1), &name), Outcome::Leading { .. }));
    resign(&mut ledger, session(0, 1), &name);
    assert!(!is_limit(&campaign(&mut ledger, session(MAX_CANDIDATES as u64, 1), &name)));
}

/// The longest-idle election makes room, but never one that is contended for, paused, or that
/// somebody is banned from; and a view of what was forgotten does not go back.
#[test]
fn the_election_that_was_idle_for_longest_is_forgotten() {
    let mut ledger = Ledger::default();
    let (one, two) = (session(1, 1), session(2, 1));
    open(&mut ledger, one, None);
    open(&mut ledger, two, None);
    let [paused, banned, idle, later] = ["paused", "banned", "idle", "later"].map(election);
    for name in [&paused, &idle, &later] {
        campaign(&mut ledger, one, name);
        resign(&mut ledger, one, name);
    }
    apply(&mut ledger, Command::Pause { election: paused.clone() });
    campaign(&mut ledger, two, &banned);
    let ban = Some(Duration::from_secs(60));
    apply(&mut ledger, Command::Evict { election: banned.clone(), if_token: None, ban });
    resign(&mut ledger, two, &banned);

    for number in 4..MAX_ELECTIONS {
        campaign(&mut ledger, one, &election(format!("busy{number}")));
    }
    let (_, seen) = ledger.view(&idle);
    assert!(matches!(campaign(&mut ledger, one, &election("n1")), Outcome::Leading { .. }));
    assert!(ledger.election(&idle).is_none() && ledger.election(&later).is_some());
    assert!(ledger.view(&idle).0 == View::Vacant && ledger.view(&idle).1 >= seen);
    assert!(matches!(campaign(&mut ledger, one, &election("n2")), Outcome::Leading { .. }));
    assert!(ledger.election(&later).is_none());
    assert!(is_limit(&campaign(&mut ledger, one, &election("n3"))));
    assert!(ledger.election(&paused).is_some() && ledger.election(&banned).is_some());

    // What is no longer paused, and from which nobody is banned, may be forgotten again.
    apply(&mut ledger, Command::Resume { election: paused.clone() });
    assert!(matches!(campaign(&mut ledger, one, &election("n3")), Outcome::Leading { .. }));
    let candidate = CandidateId::new("c2").unwrap();
    apply(&mut ledger, Command::LiftBan { election: banned.clone(), candidate });
    // It comes back as a new one, and its revision goes on from there.
    let (_, seen) = ledger.view(&idle);
    assert!(matches!(campaign(&mut ledger, two, &idle), Outcome::Leading { .. }));
    assert!(ledger.election(&banned).is_none());
    assert!(ledger.view(&idle).1 > seen && seen > Revision::default());
}

#[test]
fn history_keeps_the_latest_tenures() {
    let mut ledger = Ledger::default();
    let (one, name) = (session(1, 1), election("demo"));
    open(&mut ledger, one, None);
    let mut tokens = Vec::new();
    for _ in 0..HISTORY_LENGTH + 5 {
        if let Outcome::Leading { token } = campaign(&mut ledger, one, &name) {
            tokens.push(token);
        }
        resign(&mut ledger, one, &name);
    }
    let kept: Vec<_> = ledger.election(&name).unwrap().history().map(|past| past.token).collect();
    assert_eq!(kept, tokens[5..]);
}
