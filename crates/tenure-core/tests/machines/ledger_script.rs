//! Scripts for the ledger: commands in, outcome and events out.
//!
//! A session is called `a1`: the first of process `a`. `at +10ms` moves the wall clock, `again`
//! repeats the last request under its id (or one that was marked: `mark x`, `again mark=x`),
//! `anew` repeats it under a fresh one, and `show demo` prints an election. Where a token is wanted, `held` stands for the present one.

use std::{collections::BTreeMap, fmt::Write};

use tenure_core::{
    CandidateId, ElectionName, Incarnation, NodeId, NodeName, RequestId, SessionId, Token, Value,
    WallTime, Zone,
    ledger::{
        Command, Election, Ledger, MemberChange, Members, Outcome, Role, SessionEnd, Standing,
    },
    timing::Ttl,
};

use crate::script::{Line, check_folder, duration, flat};

#[test]
fn ledger_scripts_give_what_was_recorded() {
    check_folder("ledger", || {
        let mut runner = Runner::default();
        move |line: &Line<'_>| runner.run(line)
    });
}

/// The wall clock of every script starts here, so that it can be looked back from.
const START: WallTime = WallTime::from_micros(1_000_000_000);
/// Requests that belong to no session come from here.
const OPERATOR: Incarnation = Incarnation::from_random(0xff << 32);

struct Runner {
    ledger: Ledger,
    now: WallTime,
    requests: BTreeMap<Incarnation, u64>,
    last: Option<(RequestId, Command)>,
    marked: BTreeMap<String, (RequestId, Command)>,
}

impl Default for Runner {
    fn default() -> Self {
        let node = |name| (NodeName::new(name).expect("a name"), format!("{name}:7700"));
        let ledger = Ledger::new(Members::founding(["n1", "n2", "n3"].map(node)));
        Self { ledger, now: START, requests: BTreeMap::new(), last: None, marked: BTreeMap::new() }
    }
}

impl Runner {
    fn run(&mut self, line: &Line<'_>) -> String {
        match line.word(0) {
            "at" => {
                let by = line.word(1).strip_prefix('+').expect("the clock only goes forward");
                let micros = u64::try_from(duration(by).as_micros()).expect("a short time");
                self.now = WallTime::from_micros(self.now.as_micros() + micros);
                format!("it is {}", time(self.now))
            }
            "show" => self.show(line.word(1)),
            "sessions" => self.sessions(),
            "members" => self.members(),
            "mark" => {
                let last = self.last.clone().expect("a request to remember");
                self.marked.insert(line.word(1).into(), last);
                String::new()
            }
            "again" => {
                let (request, command) = match line.option("mark") {
                    Some(mark) => self.marked[mark].clone(),
                    None => self.last.clone().expect("a request to repeat"),
                };
                self.apply(request, command)
            }
            "anew" => {
                let (_, command) = self.last.clone().expect("a request to repeat");
                self.ask(command)
            }
            _ => {
                let command = self.command(line);
                self.ask(command)
            }
        }
    }

    fn ask(&mut self, command: Command) -> String {
        let process = command.session().map_or(OPERATOR, |session| session.process);
        let number = self.requests.entry(process).or_default();
        *number += 1;
        let request = RequestId { process, number: *number };
        self.last = Some((request, command.clone()));
        self.apply(request, command)
    }

    fn apply(&mut self, request: RequestId, command: Command) -> String {
        let applied = self.ledger.apply(Some(request), self.now, command);
        let mut result = match &applied.outcome {
            Outcome::Refused(refusal) => format!("refused: {refusal}\n").replace("0000000", ""),
            outcome => format!("{}\n", flat(outcome)),
        };
        for event in applied.events {
            let kind = flat(&event.kind);
            let kind: Vec<_> = kind.split(' ').filter(|word| !word.starts_with("since=")).collect();
            writeln!(result, "#{} {}", event.revision, kind.join(" ")).expect("a string");
        }
        result
    }

    fn command(&self, line: &Line<'_>) -> Command {
        match line.word(0) {
            "open" => Command::OpenSession {
                session: session(line.word(1)),
                ttl: Ttl::new(line.duration("ttl").expect("a ttl")).expect("a ttl"),
                supersedes: line.option("supersedes").map(session),
            },
            "retime" => Command::Retime {
                session: session(line.word(1)),
                ttl: Ttl::new(line.duration("ttl").expect("a ttl")).expect("a ttl"),
                number: line.number("number"),
            },
            "close" => self.end(line, SessionEnd::Closed),
            "expire" => {
                let silent = line.duration("silent").expect("for how long it was silent");
                self.end(line, SessionEnd::Expired { silent })
            }
            "died" => {
                let ago = line.option("observed").and_then(|ago| ago.strip_prefix('-'));
                let observed = self.now.before(duration(ago.expect("when it was observed")));
                self.end(line, SessionEnd::Died { observed })
            }
            "campaign" => Command::Campaign {
                session: session(line.word(1)),
                election: election(line.word(2)),
                candidate: candidate(line.option("as").expect("a candidate")),
                value: value(line),
                standing: standing(line),
            },
            "withdraw" => Command::Withdraw {
                session: session(line.word(1)),
                election: election(line.word(2)),
            },
            "stand" => Command::Stand {
                session: session(line.word(1)),
                election: election(line.word(2)),
                standing: standing(line),
            },
            "resign" | "transfer" | "yield" | "proclaim" => self.leader_command(line),
            "add" | "enrol" | "promote" | "demote" | "locate" | "remove" | "seen" => {
                member_command(line)
            }
            _ => self.operator_command(line),
        }
    }

    fn end(&self, line: &Line<'_>, reason: SessionEnd) -> Command {
        Command::CloseSession { session: session(line.word(1)), reason }
    }

    fn leader_command(&self, line: &Line<'_>) -> Command {
        let session = session(line.word(1));
        let election = election(line.word(2));
        let token = self.token(&election, line.word(3));
        match line.word(0) {
            "resign" => Command::Resign { session, election, token },
            "yield" => Command::Yield { session, election, token },
            "proclaim" => Command::Proclaim { session, election, token, value: value(line) },
            _ => {
                let to = candidate(line.option("to").expect("a successor"));
                Command::Transfer { session, election, token, to }
            }
        }
    }

    fn operator_command(&self, line: &Line<'_>) -> Command {
        let election = election(line.word(1));
        let if_token = line.option("if-token").map(|text| self.token(&election, text));
        match line.word(0) {
            "reserve" => {
                Command::Reserve { election, to: line.option("to").map(candidate), if_token }
            }
            "cancel" => Command::CancelReserve { election },
            "evict" => Command::Evict { election, if_token, ban: line.duration("ban") },
            "finish-eviction" => {
                let token = self.token(&election, line.word(2));
                Command::FinishEviction { election, token }
            }
            "lift-ban" => Command::LiftBan { election, candidate: candidate(line.word(2)) },
            "pause" => Command::Pause { election },
            "resume" => Command::Resume { election },
            other => panic!("{other} is no command"),
        }
    }

    fn token(&self, election: &ElectionName, text: &str) -> Token {
        let held = || Some(self.ledger.election(election)?.tenure()?.token);
        match text {
            "held" => held().expect("somebody leads"),
            number => Token::new(number.parse().expect("a token")),
        }
    }

    fn show(&self, name: &str) -> String {
        let (view, revision) = self.ledger.view(&election(name));
        let Some(election) = self.ledger.election(&election(name)) else {
            return format!("never heard of, revision {revision}");
        };
        let view = view.leader().map_or("vacant".into(), |leader| {
            format!("led by {} token={} value={:?}", leader.id, leader.token, leader.value)
        });
        let paused = if election.is_paused() { ", paused" } else { "" };
        format!("{view}{paused}, revision {revision}\n{}", details(election))
    }

    fn sessions(&self) -> String {
        let mut text = String::new();
        for (id, session) in self.ledger.sessions() {
            let elections: Vec<_> = session.elections().map(ElectionName::as_str).collect();
            writeln!(text, "{} ttl={} {elections:?}", flat(&id), session.ttl()).expect("a string");
        }
        text
    }

    fn members(&self) -> String {
        let mut text = String::new();
        for (id, member) in self.ledger.members().iter() {
            writeln!(text, "{id} {}", flat(member)).expect("a string");
        }
        text
    }
}

fn details(election: &Election) -> String {
    let mut text = String::new();
    for waiting in election.waiting() {
        let (id, session, arrived) = (&waiting.id, flat(&waiting.session), waiting.arrived);
        writeln!(text, "waits: {id} ({session}) since #{arrived}").expect("a string");
    }
    for ban in election.bans() {
        writeln!(text, "banned: {} for {:?}", ban.candidate, ban.length).expect("a string");
    }
    for past in election.history() {
        let (from, to, reason) = (time(past.started), time(past.ended), past.reason.as_str());
        let gap = past.gap.map_or(String::new(), |gap| format!(", after a gap of {gap:?}"));
        writeln!(
            text,
            "past: {} token={} {from} to {to} {reason}{gap}",
            past.candidate, past.token
        )
        .expect("a string");
    }
    text
}

fn time(at: WallTime) -> String {
    format!("{:?}", at.since(START))
}

fn session(name: &str) -> SessionId {
    let (process, number) = name.split_at(1);
    let process = u64::from_str_radix(process, 16).expect("a process is called a to f");
    let process = Incarnation::from_random(process << 32);
    SessionId { process, number: number.parse().expect("the number of a session") }
}

fn election(name: &str) -> ElectionName {
    ElectionName::new(name).expect("the name of an election")
}

fn candidate(name: &str) -> CandidateId {
    CandidateId::new(name).expect("the name of a candidate")
}

fn value(line: &Line<'_>) -> Value {
    Value::new(line.option("value").unwrap_or_default()).expect("a value")
}

fn standing(line: &Line<'_>) -> Standing {
    Standing {
        eligible: !line.has("ineligible"),
        priority: line.number("priority"),
        rank: line.number("rank"),
    }
}

fn member_command(line: &Line<'_>) -> Command {
    let node = |id: &str| id.parse().ok().and_then(NodeId::new).expect("the id of a node");
    let zone = |name| Zone::new(name).expect("the name of a zone");
    let id = node(line.word(1));
    let directory = line.number("dir");
    Command::Member(match line.word(0) {
        "add" => MemberChange::Add {
            id,
            name: NodeName::new(line.word(2)).expect("the name of a node"),
            address: line.word(3).into(),
            directory,
            role: if line.has("member") { Role::Member } else { Role::Learner },
            zone: line.option("zone").map(zone),
        },
        "enrol" => MemberChange::Enrol { id },
        "promote" => {
            let instead_of = line.option("for").map(node);
            MemberChange::Promote { id, instead_of }
        }
        "demote" => MemberChange::Demote { id },
        "locate" => MemberChange::Locate { id, zone: line.option("zone").map(zone) },
        "remove" => MemberChange::Remove { id },
        _ => MemberChange::Seen { id, directory },
    })
}
