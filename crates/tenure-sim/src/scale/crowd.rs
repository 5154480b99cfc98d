//! Members and their sessions, and what is done with them.

use std::collections::VecDeque;
use std::time::Duration;

use tenure_core::{
    CandidateId, ElectionName, Incarnation, RequestId, SessionId, Value,
    ledger::{Command, EventKind, Outcome, Standing},
    timing::Ttl,
};
use tenure_replica::{Answer, Ask, Input, Wish, encode};

use super::{
    Grown, Meter, Part, Size,
    cluster::{Cluster, Next, Said, Used, VOTERS},
};

/// Wishes of one member that may be under way at the same time.
const AT_ONCE: usize = 8;
/// One of so many members dies.
const DYING: u32 = 10;
/// Longest virtual time for anything, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;
const SECOND: u64 = 1_000_000_000;
/// Nobody leads yet.
const NOBODY: u32 = u32::MAX;

struct Member {
    /// What its processes still want.
    wishes: VecDeque<(Incarnation, Command)>,
    under_way: usize,
    sessions: Vec<SessionId>,
    dead: bool,
}

struct Crowd {
    size: Size,
    cluster: Cluster,
    members: Vec<Member>,
    requests: u64,
    /// Wishes that were answered.
    answered: u64,
    /// Renewals of sessions that were answered.
    renewed: u64,
    /// Who leads each election, as each replica shows it; a session's number.
    holders: Vec<Vec<u32>>,
    /// Elections without a holder that lives, as each replica shows it.
    orphans: [u64; VOTERS],
    failure: Option<String>,
}

/// Runs one size.
///
/// # Errors
/// When the cluster does not do what it is asked within ten virtual minutes, or refuses.
pub fn scale(size: Size, meter: Meter) -> Result<Grown, String> {
    // Two sessions for each election, on members of which not both die.
    let (sessions, members) = (size.sessions / 2 * 2, size.members / DYING * DYING);
    if sessions == 0 || members == 0 {
        return Err(format!("two sessions and {DYING} members are the least"));
    }
    let size = Size { sessions, members, ..size };
    let before = (meter.resident)();
    let elections = size.sessions / 2;
    let mut crowd = Crowd::new(size, elections, meter)?;
    let grants = crowd.part("open and contend", Crowd::grow)?;
    crowd.settle(SECOND * 2)?;
    let memory = (meter.resident)().saturating_sub(before) / VOTERS as u64;
    let rest = crowd.part("at rest", |crowd| {
        let renewed = crowd.renewed;
        crowd.settle(nanos(crowd.size.rest))?;
        Ok(crowd.renewed - renewed)
    })?;
    let proved = crowd.part("a tenth dies, proved", |crowd| crowd.kill(0, true))?;
    crowd.settle(SECOND * 2)?;
    let silent = crowd.part("a tenth dies in silence", |crowd| crowd.kill(4, false))?;
    let snapshot = encode(crowd.cluster.ledger(0)).len() as u64;
    Ok(Grown {
        simulated: true,
        sessions: size.sessions,
        elections,
        members: size.members,
        memory,
        snapshot,
        parts: vec![grants, rest, proved, silent],
    })
}

impl Crowd {
    fn new(size: Size, elections: u32, meter: Meter) -> Result<Self, String> {
        let mut cluster = Cluster::new(meter)?;
        let until = cluster.now + LONGEST;
        while cluster.leader.is_none() {
            if let Next::Over = cluster.run(cluster.now + SECOND)
                && cluster.now >= until
            {
                return Err(String::from("no replica came to lead"));
            }
        }
        let member =
            |_| Member { wishes: VecDeque::new(), under_way: 0, sessions: Vec::new(), dead: false };
        let orphans = [u64::from(elections); VOTERS];
        Ok(Self {
            size,
            cluster,
            members: (0..size.members).map(member).collect(),
            requests: 0,
            answered: 0,
            renewed: 0,
            holders: vec![vec![NOBODY; elections as usize]; VOTERS],
            orphans,
            failure: None,
        })
    }

    /// Does something, and says what it took.
    fn part(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Self) -> Result<u64, String>,
    ) -> Result<Part, String> {
        let (begun, before) = (self.cluster.now, self.cluster.used());
        let operations = work(self).map_err(|why| format!("{name}: {why}"))?;
        let (after, leader) = (self.cluster.used(), self.cluster.leader.unwrap_or(0));
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let cpu = |at: usize, used: &Used| used.cpu[at];
        let spent = |at: usize| millis(cpu(at, &after).saturating_sub(cpu(at, &before)));
        let others = (0..VOTERS).filter(|at| *at != leader).map(spent).sum::<f64>();
        Ok(Part {
            name,
            operations,
            virtual_ms: (self.cluster.now - begun) as f64 / 1e6,
            leader_cpu_ms: spent(leader),
            follower_cpu_ms: others / (VOTERS - 1) as f64,
            encoding_cpu_ms: millis(after.encoding.saturating_sub(before.encoding)),
            frames: after.frames - before.frames,
            bytes: after.bytes - before.bytes,
            // Each entry is written by every replica.
            entries: (after.entries - before.entries) / VOTERS as u64,
        })
    }

    /// Opens all sessions and has all of them contend; gives how many wishes that was.
    fn grow(&mut self) -> Result<u64, String> {
        let ttl = Ttl::new(self.size.ttl).map_err(|error| error.to_string())?;
        for number in 0..self.size.sessions {
            let process = incarnation(number);
            let session = SessionId { process, number: 1 };
            // Neighbours contend with each other, so no election loses both.
            let at = (number % self.size.members) as usize;
            let open = Command::OpenSession { session, ttl, supersedes: None };
            let bad = |error: tenure_core::NameError| error.to_string();
            let campaign = Command::Campaign {
                session,
                election: ElectionName::new(format!("e{}", number / 2)).map_err(bad)?,
                candidate: CandidateId::new(format!("c{number}")).map_err(bad)?,
                value: Value::default(),
                standing: Standing::default(),
            };
            let member = &mut self.members[at];
            member.sessions.push(session);
            member.wishes.extend([(process, open), (process, campaign)]);
        }
        let interval = nanos(self.size.ttl) / 4;
        for member in 0..self.size.members {
            self.wish(member);
            // Their phases are spread.
            let phase = interval * u64::from(member) / u64::from(self.size.members);
            self.cluster.call(phase, member);
        }
        let all = u64::from(self.size.sessions) * 2;
        self.until("all contend", |crowd| crowd.answered == all && crowd.orphans == [0; VOTERS])?;
        Ok(all)
    }

    /// Members die, each of ten consecutive ones the one with this number; until every replica
    /// shows others as leaders of all that they led. Gives how much that was.
    fn kill(&mut self, which: u32, proved: bool) -> Result<u64, String> {
        let members = self.size.members;
        let dead: Vec<u32> = (0..members).filter(|member| member % DYING == which).collect();
        for member in &dead {
            self.members[*member as usize].dead = true;
        }
        for at in 0..VOTERS {
            let dead = |holder: &&u32| self.is_dead(**holder);
            self.orphans[at] = self.holders[at].iter().filter(dead).count() as u64;
        }
        let orphans = self.orphans[0];
        if proved {
            let observed = self.cluster.wall();
            for member in dead {
                let sessions = std::mem::take(&mut self.members[member as usize].sessions);
                for session in sessions {
                    let process = session.process;
                    let at = voter_of(member);
                    self.cluster.give(at, Input::Died { process, observed });
                }
            }
        }
        self.until("others lead", |crowd| crowd.orphans == [0; VOTERS])?;
        Ok(orphans)
    }

    fn is_dead(&self, session: u32) -> bool {
        session == NOBODY || self.members[(session % self.size.members) as usize].dead
    }

    /// Lets virtual time pass.
    fn settle(&mut self, time: u64) -> Result<(), String> {
        let until = self.cluster.now + time;
        while !self.step(until)? {}
        Ok(())
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), String> {
        let limit = self.cluster.now + LONGEST;
        while !holds(self) {
            if self.step(limit)? {
                return Err(format!("not after ten virtual minutes: {what}"));
            }
        }
        Ok(())
    }

    /// The next thing; whether the moment has come.
    fn step(&mut self, until: u64) -> Result<bool, String> {
        match self.cluster.run(until) {
            Next::Over => return Ok(true),
            Next::Turn(member) => self.renew(member),
            Next::Said(Said::Answered { client, answer }) => self.on_answer(client, answer),
            Next::Said(Said::Shows { at, changes }) => {
                for change in changes {
                    self.on_change(at, change.kind);
                }
            }
        }
        match self.failure.take() {
            Some(why) => Err(why),
            None => Ok(false),
        }
    }

    /// A member's keepalive: all its sessions in one question.
    fn renew(&mut self, number: u32) {
        let member = &self.members[number as usize];
        if member.dead {
            return;
        }
        let sessions = member.sessions.clone();
        let at = voter_of(number);
        self.cluster.ask(at, u64::from(number), Ask::Confirm(sessions));
        self.cluster.call(nanos(self.size.ttl) / 4, number);
    }

    /// Sends what its processes want, some at a time.
    fn wish(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        while member.under_way < AT_ONCE && !member.dead {
            let Some((process, command)) = member.wishes.pop_front() else { return };
            member.under_way += 1;
            self.requests += 1;
            let request = RequestId { process, number: self.requests };
            let wish = Ask::Wish(request, Wish::Command(command));
            self.cluster.ask(voter_of(number), u64::from(number), wish);
        }
    }

    fn on_answer(&mut self, client: u64, answer: Answer) {
        let Ok(number) = u32::try_from(client) else { return };
        match answer {
            Answer::Outcome(outcome) if !matches!(outcome, Outcome::Refused(_)) => {
                self.answered += 1;
                self.members[number as usize].under_way -= 1;
                self.wish(number);
            }
            // What was not opened yet when the question was asked is not open.
            Answer::Confirmed { gone } => {
                let all = self.members[number as usize].sessions.len();
                self.renewed += all.saturating_sub(gone.len()) as u64;
            }
            Answer::Accepted => {}
            other => self.failure = Some(format!("member {number} was answered {other:?}")),
        }
    }

    fn on_change(&mut self, at: usize, change: EventKind) {
        let EventKind::Elected { election, session, .. } = change else { return };
        let Some(index) = election.as_str()[1..].parse::<usize>().ok() else { return };
        let number = u32::try_from(session.process.get() - 1).unwrap_or(NOBODY);
        let before = std::mem::replace(&mut self.holders[at][index], number);
        self.orphans[at] -= u64::from(self.is_dead(before));
        self.orphans[at] += u64::from(self.is_dead(number));
    }
}

/// Members spread over the voters, and so do those that die.
fn voter_of(member: u32) -> usize {
    ((member + member / DYING) as usize) % VOTERS
}

fn incarnation(session: u32) -> Incarnation {
    Incarnation::from_random(u64::from(session) + 1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
