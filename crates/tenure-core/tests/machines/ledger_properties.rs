//! Random commands against the ledger.

use core::time::Duration;
use proptest::prelude::*;
use tenure_core::{
    CandidateId, ElectionName, Incarnation, RequestId, SessionId, Token, Value, WallTime,
    ledger::{Applied, Command, Election, Ledger, Outcome, Standing},
    timing::Ttl,
};

use crate::ledger_model::{Op, check_state, check_step, grants, ops};

/// A ledger with all that was ever asked of it.
#[derive(Default)]
struct Run {
    ledger: Ledger,
    tokens: Vec<Token>,
    asked: Vec<(RequestId, WallTime, Command)>,
}

impl Run {
    fn step(&mut self, op: Op) -> Applied {
        let command = op.command(&self.ledger, &self.tokens);
        let number = self.asked.len() as u64;
        let process = command.session().map_or(Incarnation::from_random(99), |s| s.process);
        let request = RequestId { process, number };
        self.asked.push((request, op.at(), command.clone()));
        let applied = self.ledger.apply(Some(request), op.at(), command);
        self.tokens.extend(grants(&applied.events));
        applied
    }

    fn repeat(&mut self, (request, at, command): (RequestId, WallTime, Command)) -> Applied {
        self.ledger.apply(Some(request), at, command)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    /// Every state and every step keeps the rules.
    #[test]
    fn the_rules_hold_at_every_step(ops in ops(120)) {
        let mut run = Run::default();
        for op in ops {
            let before = run.ledger.clone();
            let applied = run.step(op);
            let (_, _, command) = run.asked.last().expect("just asked");
            check_step(&before, command, &applied, &run.ledger);
            check_state(&run.ledger);
        }
        prop_assert!(run.tokens.is_sorted_by(|a, b| a < b), "tokens: {:?}", run.tokens);
    }

    /// The same commands give the same ledger, also when it went through a snapshot mid-way.
    #[test]
    fn a_replay_gives_an_equal_ledger(ops in ops(80), cut in 0usize..80) {
        let mut run = Run::default();
        let all: Vec<_> = ops.into_iter().map(|op| run.step(op)).collect();
        let mut other = Ledger::default();
        for (at, ((request, time, command), applied)) in run.asked.iter().zip(all).enumerate() {
            if at == cut {
                let snapshot = serde_json::to_string(&other).expect("a ledger can be written");
                other = serde_json::from_str(&snapshot).expect("and read back");
            }
            prop_assert_eq!(other.apply(Some(*request), *time, command.clone()), applied);
        }
        prop_assert_eq!(other, run.ledger);
    }

    /// A request that is repeated at once is answered as it was, and changes nothing.
    #[test]
    fn a_repeated_request_changes_nothing(ops in ops(80)) {
        let mut run = Run::default();
        for op in ops {
            let first = run.step(op);
            let after = run.ledger.clone();
            let again = run.repeat(run.asked.last().expect("just asked").clone());
            prop_assert!(again.events.is_empty(), "{:?}", again.events);
            prop_assert_eq!(&run.ledger.revision(), &after.revision());
            // A session that is closed by the command takes its answers along; what is said
            // then is true as well.
            if after.session(op_session(&run)).is_some() || first.outcome == again.outcome {
                prop_assert_eq!(first.outcome, again.outcome);
            }
        }
    }

    /// A request that arrives again late, after up to a dozen others, changes nothing, not even
    /// when its session was closed meanwhile.
    #[test]
    fn a_delayed_repetition_changes_nothing(ops in ops(80), delays in prop::collection::vec(0usize..12, 80)) {
        let mut run = Run::default();
        for (op, delay) in ops.into_iter().zip(delays) {
            run.step(op);
            let at = run.asked.len().saturating_sub(1 + delay);
            let revision = run.ledger.revision();
            let late = run.asked[at].clone();
            let again = run.repeat(late.clone());
            prop_assert!(again.events.is_empty(), "{late:?} gave {:?}", again.events);
            prop_assert_eq!(run.ledger.revision(), revision);
        }
        check_state(&run.ledger);
    }

    /// The same command under a fresh id, right after the first, brings about nothing more.
    #[test]
    fn a_command_brings_about_its_state_once(ops in ops(80)) {
        let mut run = Run::default();
        for op in ops {
            run.step(op);
            let (_, at, command) = run.asked.last().expect("just asked").clone();
            let again = run.ledger.apply(None, at, command.clone());
            prop_assert!(again.events.is_empty(), "{command:?} gave {:?}", again.events);
        }
    }
}

/// As many are under way at a client at once.
const UNDER_WAY: u64 = 64;

#[test]
fn a_campaign_that_arrives_twice_does_not_come_back_after_it_was_withdrawn() {
    let (mut ledger, process) = (Ledger::default(), Incarnation::from_random(1));
    let session = SessionId { process, number: 1 };
    let mut ask = |number, command| {
        let request = RequestId { process, number };
        ledger.apply(Some(request), WallTime::default(), command).outcome
    };
    let campaign = |number: u64| Command::Campaign {
        session,
        election: ElectionName::new(format!("e{number}")).expect("a name"),
        candidate: CandidateId::new("c").expect("a name"),
        value: Value::default(),
        standing: Standing::default(),
    };
    let ttl = Ttl::new(Duration::from_secs(2)).expect("a length");
    ask(0, Command::OpenSession { session, ttl, supersedes: None });
    let first = ask(1, campaign(1));
    // What was on its way when the first copy was answered, and the withdrawal that it allowed.
    for number in 2..=UNDER_WAY {
        ask(number, campaign(number));
    }
    let Outcome::Leading { token } = first else { panic!("{first:?}") };
    let election = ElectionName::new("e1").expect("a name");
    let resigned =
        ask(UNDER_WAY + 1, Command::Resign { session, election: election.clone(), token });
    assert_eq!(resigned, Outcome::Done);
    assert_eq!(ask(1, campaign(1)), first);
    assert_eq!(ledger.election(&election).map(Election::candidates), Some(0));
}

fn op_session(run: &Run) -> SessionId {
    let (_, _, command) = run.asked.last().expect("just asked");
    let none = SessionId { process: Incarnation::from_random(99), number: 0 };
    command.session().unwrap_or(none)
}
