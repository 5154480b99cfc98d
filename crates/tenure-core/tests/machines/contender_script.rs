//! Scripts for the contender: moments, wishes and news in, actions and notices out.
//!
//! The lease is 1 s, with a drift of 1 %. `at +250ms` moves the clock and says nothing to the
//! contender, `tick` lets it look. `ttl 4s` asks for another lease, `ttl 300ms to=4s` for one that
//! adapts; what is in force is shown when it is not 1 s. `answer #2 leading 7` answers a request, `renewed 1`
//! acknowledges a renewal, `seen demo rev=9 holder=s1:7 revoked` is the store's word, with
//! `s1` for this process's first session and `other` for somebody else.

use std::fmt::Write;

use tenure_core::{
    CandidateId, ElectionName, Incarnation, Moment, RequestId, Revision, SessionId, Token, Value,
    candidate::{Action, Contender, Notice, Phase, Seen},
    ledger::{Outcome, Refusal, Standing},
    timing::{Drift, Ttl, adaptive::TtlRange},
};

use crate::script::{Line, check_folder, duration, flat};

#[test]
fn contender_scripts_give_what_was_recorded() {
    check_folder("contender", || {
        let mut runner = Runner::default();
        move |line: &Line<'_>| runner.run(line)
    });
}

const ME: Incarnation = Incarnation::from_random(0xa << 32);
const OTHER: Incarnation = Incarnation::from_random(0xb << 32);

struct Runner {
    contender: Contender,
    now: Moment,
    contests: Vec<ElectionName>,
    shown: String,
}

impl Default for Runner {
    fn default() -> Self {
        let ttl = Ttl::try_from(1000).expect("a ttl");
        let contender = Contender::new(ME, ttl, Drift::from_ppm(10_000));
        Self { contender, now: Moment::default(), contests: Vec::new(), shown: String::new() }
    }
}

impl Runner {
    fn run(&mut self, line: &Line<'_>) -> String {
        match line.word(0) {
            "at" => {
                let by = line.word(1).strip_prefix('+').expect("the clock only goes forward");
                self.now = self.now + duration(by);
                return format!("it is {}", time(self.now));
            }
            "tick" => self.contender.tick(self.now),
            "answer" => self.answer(line),
            "renewed" => {
                let renewal = line.word(1).parse().expect("the number of a renewal");
                self.contender.renewed(self.session(line.option("of")), renewal, self.now);
            }
            "gone" => self.contender.session_gone(self.session(Some(line.word(1))), self.now),
            "close" => self.contender.close(),
            "ttl" => {
                let ttl = |at| Ttl::new(duration(line.word(at))).expect("a ttl");
                match line.option("to").map(duration) {
                    Some(to) => {
                        let to = Ttl::new(to).expect("a ttl");
                        let range = TtlRange::new(ttl(1), to).expect("shortest first");
                        self.contender.set_ttl(range);
                    }
                    None => self.contender.set_ttl(ttl(1)),
                }
            }
            _ => self.about_contest(line),
        }
        self.outcome()
    }

    fn about_contest(&mut self, line: &Line<'_>) {
        let election = ElectionName::new(line.word(1)).expect("the name of an election");
        let candidate = |name| CandidateId::new(name).expect("the name of a candidate");
        match line.word(0) {
            "campaign" => {
                let id = candidate(line.option("as").unwrap_or("a"));
                let (value, standing) = (Value::default(), Standing::default());
                self.contests.push(election.clone());
                self.contender.campaign(election, id, value, standing, self.now);
            }
            "resign" => self.contender.resign(&election, line.option("to").map(candidate)),
            "stopped" => self.contender.stopped(&election, self.now),
            "seen" => {
                let seen = Seen {
                    revision: Revision::new(line.number("rev")),
                    holder: line.option("holder").map(holder),
                    handover: line.has("handover"),
                    revoked: line.has("revoked"),
                };
                self.contender.seen(&election, &seen, self.now);
            }
            other => panic!("{other} is no command"),
        }
    }

    fn answer(&mut self, line: &Line<'_>) {
        let number = line.word(1).strip_prefix('#').and_then(|number| number.parse().ok());
        let request = RequestId { process: ME, number: number.expect("the number of a request") };
        let outcome = outcome(line, self.session(line.option("of")));
        self.contender.answered(request, &outcome, self.now);
    }

    fn session(&self, name: Option<&str>) -> SessionId {
        let present = self.contender.validity().map(|(session, _)| session);
        name.map(session).or(present).unwrap_or(SessionId { process: ME, number: 0 })
    }

    /// What it does now, and where it stands when that has changed.
    fn outcome(&mut self) -> String {
        let mut text = String::new();
        while let Some(action) = self.contender.poll() {
            writeln!(text, "{}", written(&action)).expect("a string");
        }
        let mut standing = String::new();
        self.contests.sort();
        self.contests.dedup();
        for name in &self.contests {
            let phase = match self.contender.phase(name) {
                Phase::Observing => "observing",
                Phase::Waiting => "waiting",
                Phase::Leading => "LEADING",
                Phase::Stopping => "stopping",
                Phase::Lost => "lost",
            };
            write!(standing, "{name} {phase}, ").expect("a string");
        }
        match self.contender.validity() {
            Some((session, until)) => {
                write!(standing, "session s{} until {}", session.number, time(until)).and_then(
                    |()| match self.contender.ttl().get().as_millis() {
                        1000 => Ok(()),
                        other => write!(standing, ", {other} ms"),
                    },
                )
            }
            None => write!(standing, "no session"),
        }
        .expect("a string");
        if standing != self.shown {
            writeln!(text, "= {standing}").expect("a string");
            self.shown = standing;
        }
        text
    }
}

fn written(action: &Action) -> String {
    match action {
        Action::Ask { request, command } => {
            let plain = ["candidate=a", "standing", "eligible=true", "priority=0", "rank=0"];
            let command = flat(command);
            let words = command.split(' ').filter(|word| !plain.contains(word));
            format!("ask #{} {}", request.number, words.collect::<Vec<_>>().join(" "))
        }
        Action::Renew { session, renewal } => format!("renew {renewal} session={}", flat(session)),
        Action::Tell(notice) => told(notice),
    }
}

fn told(notice: &Notice) -> String {
    match notice {
        Notice::Waiting { election, position } => format!("tell {election} waiting {position}"),
        Notice::Elected { election, token } => format!("tell {election} elected token={token}"),
        Notice::HandoverAsked { election, token } => {
            format!("tell {election} hand-over asked token={token}")
        }
        Notice::Lost { election, token, loss } => {
            format!("tell {election} lost token={token} {}", loss.as_str())
        }
        Notice::Left { election } => format!("tell {election} left"),
        Notice::Refused { election, refusal } => format!("tell {election} refused: {refusal}"),
    }
}

fn outcome(line: &Line<'_>, session: SessionId) -> Outcome {
    let election = ElectionName::new("demo").expect("a name");
    let candidate = CandidateId::new("a").expect("a name");
    let token = || Token::new(line.word(3).parse().expect("a token"));
    let refusal = match line.word(2) {
        "done" => return Outcome::Done,
        "leading" => return Outcome::Leading { token: token() },
        "waiting" => {
            return Outcome::Waiting { position: line.word(3).parse().expect("a position") };
        }
        "no-session" => Refusal::NoSession { session },
        "session-used" => Refusal::SessionUsed { session },
        "full" => Refusal::Limit { what: "open sessions".into(), max: 3 },
        "leads" => Refusal::Leads { election, token: token() },
        "not-leader" => Refusal::NotLeader { election, given: token(), current: None },
        "no-such-candidate" => Refusal::NoSuchCandidate { election, candidate },
        "nothing-reserved" => Refusal::NothingReserved { election },
        "banned" => Refusal::Banned { election, candidate },
        "duplicate" => {
            let holder = SessionId { process: OTHER, number: 1 };
            Refusal::DuplicateCandidate { candidate, holder }
        }
        other => panic!("{other} is no answer"),
    };
    Outcome::Refused(refusal)
}

fn holder(text: &str) -> (SessionId, Token) {
    let (name, token) = text.split_once(':').expect("session:token");
    let token = Token::new(token.parse().expect("a token"));
    (if name == "other" { SessionId { process: OTHER, number: 1 } } else { session(name) }, token)
}

fn session(name: &str) -> SessionId {
    let number = name.strip_prefix('s').and_then(|number| number.parse().ok());
    SessionId { process: ME, number: number.expect("a session is called s1, s2, ...") }
}

fn time(at: Moment) -> String {
    format!("{:?}", at.since(Moment::default()))
}
