//! What must hold of a ledger, whatever is asked of it.
//!
//! Random commands come from [`Op`]s: small choices that are made concrete against the ledger
//! as it then is, so that most of them hit something, and many name what has just ended.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use tenure_core::{
    CandidateId, ElectionName, Incarnation, SessionId, Token, Value, View, WallTime,
    ledger::{
        Applied, Command, EndReason, Event, EventKind, Ledger, Outcome, SessionEnd, Standing,
        Tenure,
    },
    timing::Ttl,
};

/// One random choice. Sessions, elections and candidates are few, so that they meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    kind: u8,
    process: u64,
    session: u32,
    election: u8,
    /// Which other: successor, superseded session, token.
    other: u8,
    number: u8,
    /// Wall time in milliseconds; it jumps to and fro, as proposers' clocks do.
    at: u64,
}

/// A sequence of them.
pub(crate) fn ops(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (0u8..32, 0u64..4, 1u32..4, 0u8..3, any::<u8>(), any::<u8>(), 0u64..100_000);
    let op = op.prop_map(|(kind, process, session, election, other, number, at)| Op {
        kind,
        process,
        session,
        election,
        other,
        number,
        at,
    });
    prop::collection::vec(op, 1..length)
}

impl Op {
    pub(crate) fn at(self) -> WallTime {
        WallTime::from_micros(1_000_000_000 + self.at * 1000)
    }

    /// The command that this choice comes to. `tokens` are all that were ever given out.
    pub(crate) fn command(self, ledger: &Ledger, tokens: &[Token]) -> Command {
        let election = ElectionName::new(format!("e{}", self.election)).expect("a name");
        let session = self.session(ledger, &election);
        let token = self.token(ledger, &election, session, tokens);
        let standing = self.standing();
        let other = named(u64::from(self.other % 4));
        match self.kind {
            0..=3 => self.open(session),
            4..=6 if self.other > 120 => Command::Stand { session, election, standing },
            4 => Command::CloseSession { session, reason: SessionEnd::Closed },
            5 => {
                let silent = Duration::from_millis(u64::from(self.number) * 400);
                Command::CloseSession { session, reason: SessionEnd::Expired { silent } }
            }
            6 => {
                let observed = WallTime::from_micros(u64::from(self.number) * 10_000_000);
                Command::CloseSession { session, reason: SessionEnd::Died { observed } }
            }
            7..=14 => {
                let candidate = named(if self.other > 250 { 0 } else { self.process });
                let value = Value::default();
                Command::Campaign { session, election, candidate, value, standing }
            }
            15 => Command::Withdraw { session, election },
            16 if self.other > 100 => {
                let ttl = Ttl::try_from(500 + u64::from(self.number)).expect("a ttl");
                Command::Retime { session, ttl, number: u32::from(self.other % 16) }
            }
            16 => Command::Stand { session, election, standing },
            17 | 18 => Command::Resign { session, election, token },
            19 => Command::Transfer { session, election, token, to: other },
            20 | 21 => Command::Yield { session, election, token },
            22 => {
                let value = Value::new(format!("v{}", self.number % 3)).expect("a value");
                Command::Proclaim { session, election, token, value }
            }
            _ => self.operator_command(election, token, other),
        }
    }

    fn operator_command(self, election: ElectionName, token: Token, other: CandidateId) -> Command {
        let if_token = (self.number.is_multiple_of(3)).then_some(token);
        match self.kind {
            23 => {
                Command::Reserve { election, to: (self.other % 8 < 4).then_some(other), if_token }
            }
            24 => Command::CancelReserve { election },
            25 | 26 => {
                let ban = (self.other.is_multiple_of(2)).then_some(Duration::from_secs(1));
                Command::Evict { election, if_token, ban }
            }
            27 | 28 => Command::FinishEviction { election, token },
            29 => Command::LiftBan { election, candidate: other },
            30 => Command::Pause { election },
            _ => Command::Resume { election },
        }
    }

    /// Most of the time the process's latest open session, or the leader's for its own words.
    fn session(self, ledger: &Ledger, election: &ElectionName) -> SessionId {
        let tenure = ledger.election(election).and_then(|election| election.tenure());
        if let (17..=22, Some(tenure)) = (self.kind, tenure)
            && self.other > 60
        {
            return tenure.session;
        }
        let process = Incarnation::from_random(self.process);
        let open = ledger.sessions().map(|(id, _)| id).filter(|id| id.process == process).last();
        let any = SessionId { process, number: self.session };
        match self.kind {
            0..=3 => SessionId { process, number: open.map_or(0, |id| id.number) + self.session },
            _ if self.number < 240 => open.unwrap_or(any),
            _ => any,
        }
    }

    fn open(self, session: SessionId) -> Command {
        let ttl = Ttl::try_from(1000).expect("a ttl");
        let older = session.number.saturating_sub(1 + u32::from(self.other % 2));
        let older = SessionId { process: session.process, number: older };
        Command::OpenSession {
            session,
            ttl,
            supersedes: (self.number.is_multiple_of(2)).then_some(older),
        }
    }

    /// Most of the time the present token, else any earlier one, or one that never was.
    fn token(
        self,
        ledger: &Ledger,
        election: &ElectionName,
        session: SessionId,
        tokens: &[Token],
    ) -> Token {
        let tenure = ledger.election(election).and_then(|election| election.tenure());
        let present = tenure.filter(|t| t.session == session || self.other.is_multiple_of(2));
        let past = tokens.get(usize::from(self.number) % tokens.len().max(1));
        let never = Token::new(u64::from(self.number));
        match self.other % 8 {
            0..=5 => present.map(|tenure| tenure.token),
            6 => past.copied(),
            _ => None,
        }
        .or(past.copied())
        .unwrap_or(never)
    }

    fn standing(self) -> Standing {
        Standing {
            eligible: !self.number.is_multiple_of(4),
            priority: i32::from(self.number % 3),
            rank: u64::from(self.other % 3),
        }
    }
}

fn named(number: u64) -> CandidateId {
    CandidateId::new(format!("c{number}")).expect("a name")
}

/// Tokens that these events gave out.
pub(crate) fn grants(events: &[Event]) -> impl Iterator<Item = Token> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Elected { leader, .. } => Some(leader.token),
        _ => None,
    })
}

/// What must hold of any ledger.
pub(crate) fn check_state(ledger: &Ledger) {
    let mut inverse = BTreeSet::new();
    for (name, election) in ledger.elections("") {
        assert!(election.revision() <= ledger.revision(), "{name} is ahead");
        if let Some(tenure) = election.tenure() {
            assert!(ledger.session(tenure.session).is_some(), "{name}: led without a session");
            let leader = election.candidate(tenure.session).expect("the leader is a candidate");
            assert_eq!(leader.id, tenure.candidate, "{name}: another candidate leads");
            assert!(tenure.token.get() <= election.revision().get());
        } else if !election.is_paused() {
            let eligible = election.waiting().iter().any(|waiting| waiting.standing.eligible);
            assert!(!eligible, "{name} is vacant although somebody may lead");
        }
        check_candidates(ledger, name, &mut inverse);
        for past in election.history() {
            assert!(past.started <= past.ended, "{name}: a tenure ended before it began");
        }
        let view = ledger.view(name);
        assert_eq!(matches!(view.0, View::Led(_)), election.tenure().is_some());
    }
    for (id, session) in ledger.sessions() {
        for name in session.elections() {
            assert!(inverse.remove(&(id, name.clone())), "{id} does not contend for {name}");
        }
    }
    assert!(inverse.is_empty(), "candidates whose session does not know: {inverse:?}");
}

fn check_candidates(
    ledger: &Ledger,
    name: &ElectionName,
    inverse: &mut BTreeSet<(SessionId, ElectionName)>,
) {
    let election = ledger.election(name).expect("it is known");
    let mut ids = BTreeSet::new();
    let leader = election.tenure().and_then(|tenure| election.candidate(tenure.session));
    let all: Vec<_> = election.waiting().into_iter().chain(leader).collect();
    assert_eq!(all.len(), election.candidates());
    for candidate in all {
        assert!(ids.insert(candidate.id.clone()), "{name}: two are called {}", candidate.id);
        let mut bans = election.bans().iter();
        assert!(bans.all(|ban| ban.candidate != candidate.id), "{name}: a banned one contends");
        assert!(inverse.insert((candidate.session, name.clone())), "{name}: twice in one session");
    }
}

/// What must hold of one step.
pub(crate) fn check_step(before: &Ledger, command: &Command, applied: &Applied, after: &Ledger) {
    for (at, event) in applied.events.iter().enumerate() {
        let number = before.revision().get() + at as u64 + 1;
        assert_eq!(event.revision.get(), number, "revisions are not consecutive");
        if let EventKind::Elected { leader, election, gap, .. } = &event.kind {
            assert_eq!(leader.token.get(), number, "the token is not the revision of the grant");
            // What was ended before this command began must have begun before its gap.
            let past = before.election(election).and_then(|e| e.history().last());
            if let (Some(gap), Some(past)) = (gap, past) {
                assert!(*gap <= event.at.since(past.started), "the gap is longer than what was");
            }
            let paused = before.election(election).is_some_and(|e| e.is_paused());
            let resumed = matches!(command, Command::Resume { .. });
            assert!(!paused || resumed, "{election} was granted while it was paused");
        }
    }
    assert_eq!(after.revision().get(), before.revision().get() + applied.events.len() as u64);
    if matches!(applied.outcome, Outcome::Refused(_)) {
        assert!(applied.events.is_empty(), "refused, and yet {:?}", applied.events);
    }
    for (id, session) in before.sessions() {
        let now = after.session(id).map_or(session.ttl(), |now| now.ttl());
        let meant = matches!(command, Command::Retime { session, .. } if *session == id);
        assert!(meant || now == session.ttl(), "{command:?} changed the lease of {id}");
    }
    for (name, election) in before.elections("") {
        let now = after.election(name).expect("few elections are never forgotten");
        assert!(now.revision() >= election.revision(), "the view of {name} went back");
        let Some(tenure) = election.tenure() else { continue };
        if now.tenure().is_none_or(|present| present.token != tenure.token) {
            assert!(may_end(command, name, tenure), "{command:?} ended {tenure:?}");
            check_end(applied, tenure);
        }
    }
}

/// Whether a command is one of those that may end this tenure: the holder's own word, its
/// death or expiry, or the end of an eviction. All of them name the session or the token.
fn may_end(command: &Command, name: &ElectionName, tenure: &Tenure) -> bool {
    match command {
        Command::CloseSession { session, .. } => *session == tenure.session,
        Command::OpenSession { session, supersedes, .. } => {
            session.process == tenure.session.process && *supersedes == Some(tenure.session)
        }
        Command::Campaign { session, election, candidate, .. } => {
            election == name
                && session.process == tenure.session.process
                && session.number > tenure.session.number
                && *candidate == tenure.candidate
        }
        Command::Resign { session, election, token }
        | Command::Transfer { session, election, token, .. } => {
            (*session, election, *token) == (tenure.session, name, tenure.token)
        }
        Command::Yield { session, election, token } => {
            (*session, election, *token) == (tenure.session, name, tenure.token)
                && (tenure.handover.is_some() || tenure.revoked.is_some())
        }
        Command::FinishEviction { election, token } => {
            (election, *token) == (name, tenure.token) && tenure.revoked.is_some()
        }
        _ => false,
    }
}

fn check_end(applied: &Applied, tenure: &Tenure) {
    let ended = applied.events.iter().filter_map(|event| match &event.kind {
        EventKind::Ended { token, reason, .. } if *token == tenure.token => Some(*reason),
        _ => None,
    });
    let reasons: Vec<_> = ended.collect();
    assert_eq!(reasons.len(), 1, "a tenure ends once: {tenure:?}");
    let evicted = reasons == [EndReason::Evicted];
    assert!(!evicted || tenure.revoked.is_some(), "evicted without a revocation");
}
