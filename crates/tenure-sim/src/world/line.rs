//! A process's ordered stream to and from whichever node it is connected to: what is open is
//! sent again, unchanged, until it is answered.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{ElectionName, Moment, RequestId, SessionId, ledger::Outcome};
use tenure_replica::Wish;

use super::{MS, World, net};
use crate::{
    event::{Event, Happening, Item, Push, Question, Reply, Who},
    mutant::Mutant,
};

/// A request without an answer is sent again after this long on the same connection.
const REPEAT: Duration = Duration::from_secs(1);
/// A node that could not answer is asked again after this long.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) enum Posted {
    Request(RequestId),
    Renewal(SessionId, u64),
    Other,
}

#[derive(Debug, Clone)]
pub(crate) struct Open {
    request: RequestId,
    wish: Wish,
    send_at: Moment,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) conn: Option<u64>,
    connecting: bool,
    pub(crate) next_node: usize,
    failures: u32,
    numbers: u64,
    posted: BTreeMap<u64, Posted>,
    /// Requests by their number: their order is that in which they were made.
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) followed: BTreeSet<ElectionName>,
}

impl Line {
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        // Without a connection nothing can be sent; a new one sends everything.
        self.conn?;
        self.open.values().map(|open| open.send_at).min()
    }
}

/// News from the store.
#[derive(Debug)]
pub(crate) enum Heard {
    Outcome(RequestId, Wish, Outcome),
    Renewed(SessionId, u64),
    Gone(SessionId),
    Pushed(Push),
    Nothing,
}

impl World {
    pub(crate) fn connect_after(&mut self, at: usize, wait: u64) {
        let line = &mut self.processes[at].line;
        if line.connecting || line.conn.is_some() {
            return;
        }
        line.connecting = true;
        line.next_node = (line.next_node + 1) % self.nodes.len();
        let there = self.nodes[line.next_node].host;
        let wait = wait + self.round_trip(self.processes[at].host, there);
        let (who, life) = (Who::Process(at), self.processes[at].life);
        self.after(wait, Event::at(who, life, Happening::Connect));
    }

    /// An attempt to connect comes to its end.
    pub(crate) fn try_connect(&mut self, at: usize) {
        let (mine, node) = (self.processes[at].host, self.processes[at].line.next_node);
        let theirs = self.nodes[node].host;
        let dark = self.net.blocked(mine, theirs)
            || self.net.blocked(theirs, mine)
            || self.net.hosts[theirs].down
            || self.is_paused(Who::Node(node));
        if !dark && self.is_up(Who::Node(node)) {
            self.connect(net::Line::Client, Who::Process(at), Who::Node(node));
            return;
        }
        self.trace.line(self.now, || format!("p{at} does not reach n{} (dark: {dark})", node + 1));
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let line = &mut self.processes[at].line;
        line.connecting = false;
        line.failures += 1;
        let rounds = line.failures / nodes;
        let pause = match line.failures % nodes {
            0 => ((20 * MS) << rounds.min(6)).min(1000 * MS),
            _ => 0,
        };
        let pause = pause / 2 + self.chance.below(pause / 2 + 1);
        let timeout = if dark { self.setup.limit() } else { 0 };
        self.connect_after(at, pause + timeout);
    }

    pub(crate) fn line_up(&mut self, at: usize, conn: u64) {
        let line = &mut self.processes[at].line;
        (line.connecting, line.failures) = (false, 0);
        line.conn = Some(conn);
        line.posted.clear();
        // First follow, so that no grant is missed, then ask again.
        let followed: Vec<_> = line.followed.iter().cloned().collect();
        self.processes[at].was_on = Some(conn);
        self.subscribe_line(at, followed);
        let now = self.moment(at);
        if !self.mutated(Mutant::NeverRepeats) {
            for open in self.processes[at].line.open.values_mut() {
                open.send_at = now;
            }
        }
        self.repeat_due(at);
    }

    pub(crate) fn line_down(&mut self, at: usize, conn: u64) {
        let line = &mut self.processes[at].line;
        if line.conn != Some(conn) {
            return;
        }
        line.conn = None;
        line.posted.clear();
        self.trace.line(self.now, || format!("p{at} loses its connection"));
        self.close(Who::Process(at), conn, net::Close::Finish);
        self.connect_after(at, 0);
    }

    fn post(&mut self, at: usize, question: Question, what: Posted) {
        let line = &mut self.processes[at].line;
        let Some(conn) = line.conn else { return };
        line.numbers += 1;
        let number = line.numbers;
        line.posted.insert(number, what);
        if matches!(question, Question::Confirm) {
            self.law.current.asked(conn, number, self.law.latest());
        }
        self.transmit(Who::Process(at), conn, Item::Question(number, question));
    }

    pub(crate) fn follow_line(&mut self, at: usize, election: ElectionName) {
        if self.processes[at].line.followed.insert(election.clone()) {
            self.subscribe_line(at, vec![election]);
        }
    }

    fn subscribe_line(&mut self, at: usize, elections: Vec<ElectionName>) {
        if !elections.is_empty() {
            self.post(at, Question::Subscribe(elections), Posted::Other);
        }
    }

    pub(crate) fn line_ask(&mut self, at: usize, request: RequestId, wish: Wish) {
        self.line_ask_after(at, request, wish, Duration::ZERO);
    }

    /// The same after a while, or on the next connection if that comes first.
    pub(crate) fn line_ask_after(
        &mut self,
        at: usize,
        request: RequestId,
        wish: Wish,
        wait: Duration,
    ) {
        let send_at = self.moment(at) + wait;
        self.law.acknowledged.asked(request);
        let open = Open { request, wish, send_at };
        self.processes[at].line.open.insert(request.number, open);
        self.repeat_due(at);
    }

    /// Sends what is due.
    pub(crate) fn repeat_due(&mut self, at: usize) {
        let now = self.moment(at);
        let never = self.mutated(Mutant::NeverRepeats);
        let line = &mut self.processes[at].line;
        if line.conn.is_none() {
            return;
        }
        let mut due = Vec::new();
        for open in line.open.values_mut().filter(|open| open.send_at <= now) {
            open.send_at = now + if never { REPEAT * 1000 } else { REPEAT };
            due.push((open.request, open.wish.clone()));
        }
        for (request, wish) in due {
            self.post(at, Question::Wish(request, wish), Posted::Request(request));
        }
    }

    pub(crate) fn line_renew(&mut self, at: usize, session: SessionId, renewal: u64) {
        self.post(at, Question::Renew(session), Posted::Renewal(session, renewal));
    }

    /// A question that is not repeated.
    pub(crate) fn line_say(&mut self, at: usize, question: Question) {
        self.post(at, question, Posted::Other);
    }

    pub(crate) fn line_answered(
        &mut self,
        at: usize,
        conn: u64,
        number: u64,
        reply: Reply,
    ) -> Heard {
        let now = self.moment(at);
        let line = &mut self.processes[at].line;
        if line.conn != Some(conn) {
            return Heard::Nothing;
        }
        match (line.posted.remove(&number), reply) {
            (Some(Posted::Request(request)), Reply::Outcome(outcome)) => {
                match line.open.remove(&request.number) {
                    Some(open) => Heard::Outcome(request, open.wish, outcome),
                    None => Heard::Nothing,
                }
            }
            (Some(Posted::Request(request)), _) => {
                if let Some(open) = line.open.get_mut(&request.number) {
                    open.send_at = now + RETRY;
                }
                Heard::Nothing
            }
            (Some(Posted::Renewal(session, renewal)), Reply::Renewed) => {
                Heard::Renewed(session, renewal)
            }
            (Some(Posted::Renewal(session, _)), Reply::Gone) => Heard::Gone(session),
            _ => Heard::Nothing,
        }
    }
}
