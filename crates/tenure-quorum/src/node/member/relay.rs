//! What a member passes on, without clock or I/O: its clients' questions to a voter, and what
//! the voter says to its clients.
//!
//! Everything goes over one connection. Renewals are gathered into one keepalive, at most one of
//! which is under way; the same keepalive proves that what the voter pushed is current. What is
//! open when a connection breaks is asked again on the next one: every question may be repeated.
//!
//! **Invariant:** an acknowledged renewal reaches a client after all that the voter pushed before
//! it about the elections of that session.
//! **Invariant:** what is shown never goes back: of a push with a lower revision only the
//! occasion counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use core::time::Duration;
use tenure_core::{
    ElectionName, Incarnation, Moment, Revision, SessionId, Sighting, View, WallTime,
    ledger::{Command, Role},
};
use tenure_replica::Wish;

use super::super::{
    rights,
    subscriptions::{Interest, Subscriptions},
};
use crate::wire::{ClientFrame, NodeFrame, Push, Question, Reply};

/// Questions that may be open at once; one client alone may not fill a voter.
const MOST_OPEN: usize = 4096;
/// Questions of the member itself.
const OWN: u64 = 0;

/// Times of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A keepalive is sent at least this often.
    pub(super) every: Duration,
    /// Older knowledge is shown as unknown.
    pub(super) limit: Duration,
    /// A question without an answer is given up after this.
    pub(super) patience: Duration,
}

/// The shell must do this, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Answer a client.
    Answer { client: u64, number: u64, reply: Reply },
    /// Push to clients.
    Push { clients: BTreeSet<u64>, push: Push },
    /// Send to the voter that is connected.
    Post(ClientFrame),
    /// Where the voters are.
    Voters(Vec<String>),
    /// What this node is to the quorum; none when it was removed.
    Role(Option<Role>),
}

#[derive(Debug)]
struct Connected {
    process: Incarnation,
    /// Sessions that it renewed here: it has heard how their elections stand.
    renews: BTreeSet<SessionId>,
    /// First renewals under way: it must hear every push until they are answered.
    catching_up: u32,
}

#[derive(Debug)]
struct Open {
    client: u64,
    number: u64,
    question: Question,
    since: Moment,
}

/// One renewal that waits for a keepalive.
#[derive(Debug)]
struct Renewal {
    client: u64,
    number: u64,
    session: SessionId,
}

#[derive(Debug)]
struct KeepAlive {
    number: u64,
    sent: Moment,
    renewals: Vec<Renewal>,
}

/// The state of what is passed on.
#[derive(Debug)]
pub(super) struct Relay {
    pace: Pace,
    clients: BTreeMap<u64, Connected>,
    subscriptions: Subscriptions,
    prefixes: BTreeSet<String>,
    /// The last push of each election that is followed.
    shown: BTreeMap<ElectionName, Push>,
    /// A quorum stood behind what is shown at this moment.
    contact: Option<Moment>,
    /// Whether followers were last told what is known.
    known: bool,
    open: BTreeMap<u64, Open>,
    gathering: Vec<Renewal>,
    keepalive: Option<KeepAlive>,
    next_keepalive: Moment,
    next: u64,
    connected: bool,
    why: String,
    effects: VecDeque<Effect>,
}

impl Relay {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            clients: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            prefixes: BTreeSet::new(),
            shown: BTreeMap::new(),
            contact: None,
            known: false,
            open: BTreeMap::new(),
            gathering: Vec::new(),
            keepalive: None,
            next_keepalive: Moment::default(),
            next: 1,
            connected: false,
            why: String::from("still connecting"),
            effects: VecDeque::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What this node takes along when it becomes a replica: who follows what, and what was
    /// asked and not answered.
    pub(super) fn hand_over(self) -> (Subscriptions, Vec<(u64, ClientFrame)>) {
        let under_way = self.keepalive.into_iter().flat_map(|keepalive| keepalive.renewals);
        let renewals = self.gathering.into_iter().chain(under_way).map(|renewal| {
            let question = Question::Renew { session: renewal.session };
            (renewal.client, ClientFrame { number: renewal.number, question })
        });
        let open = self.open.into_values().filter(|open| open.client != OWN);
        let open = open.map(|open| {
            (open.client, ClientFrame { number: open.number, question: open.question })
        });
        (self.subscriptions, open.chain(renewals).collect())
    }

    // Clients

    pub(super) fn client_up(&mut self, client: u64, process: Incarnation) {
        let connected = Connected { process, renews: BTreeSet::new(), catching_up: 0 };
        self.clients.insert(client, connected);
    }

    pub(super) fn client_down(&mut self, client: u64) {
        self.clients.remove(&client);
        self.subscriptions.forget(client);
        self.open.retain(|_, open| open.client != client);
        self.gathering.retain(|renewal| renewal.client != client);
    }

    pub(super) fn died(&mut self, process: Incarnation, observed: WallTime, now: Moment) {
        self.pass_on(OWN, 0, Question::Died { process, observed }, now);
    }

    pub(super) fn asked(&mut self, client: u64, frame: ClientFrame, now: Moment) {
        let ClientFrame { number, question } = frame;
        let Some(process) = self.clients.get(&client).map(|connected| connected.process) else {
            return;
        };
        match question {
            Question::Ping => self.answer(client, number, Reply::Pong),
            Question::KeepAlive { .. } | Question::Died { .. } => {
                let why = String::from("a node without a log serves processes, not nodes");
                self.answer(client, number, Reply::Denied { why });
            }
            Question::View { election } if self.shown.contains_key(&election) => {
                let sighting = self.sighting(&election, now);
                self.answer(client, number, Reply::View(sighting));
            }
            Question::View { election } if !self.connected => {
                let sighting = self.sighting(&election, now);
                self.answer(client, number, Reply::View(sighting));
            }
            Question::Renew { session } => self.on_renew(client, number, session, now),
            Question::Wish { request, wish } => {
                if let Err(why) = rights::check(Some(process), request.process, &wish) {
                    let why = why.to_owned();
                    return self.answer(client, number, Reply::Denied { why });
                }
                // Followed before it can be granted: the client misses no word about it.
                if let Wish::Command(Command::Campaign { election, .. }) = &wish {
                    self.subscriptions.follow(client, election.clone(), Interest::Contends);
                }
                self.pass_on(client, number, Question::Wish { request, wish }, now);
            }
            Question::Subscribe { elections, prefix, contends } => {
                self.on_subscribe(client, number, elections, prefix, contends, now);
            }
            question => self.pass_on(client, number, question, now),
        }
    }

    /// The first time, alone, so that the voter tells how all elections of the session stand:
    /// the client may have come over from another node.
    fn on_renew(&mut self, client: u64, number: u64, session: SessionId, now: Moment) {
        let Some(connected) = self.clients.get_mut(&client) else { return };
        if connected.renews.contains(&session) {
            self.gathering.push(Renewal { client, number, session });
            return self.keep_alive(now);
        }
        connected.catching_up += 1;
        self.pass_on(client, number, Question::Renew { session }, now);
    }

    fn on_subscribe(
        &mut self,
        client: u64,
        number: u64,
        elections: Vec<ElectionName>,
        prefix: Option<String>,
        contends: bool,
        now: Moment,
    ) {
        let interest = if contends { Interest::Contends } else { Interest::Observes };
        for election in &elections {
            self.subscriptions.follow(client, election.clone(), interest);
        }
        if let Some(prefix) = &prefix {
            self.prefixes.insert(prefix.clone());
            self.subscriptions.follow_prefix(client, prefix.clone());
        }
        if self.connected {
            let question = Question::Subscribe { elections, prefix, contends };
            return self.pass_on(client, number, question, now);
        }
        for election in elections {
            let push = self.push(&election, now);
            self.effects.push_back(Effect::Push { clients: BTreeSet::from([client]), push });
        }
        self.answer(client, number, Reply::Subscribed);
    }

    fn answer(&mut self, client: u64, number: u64, reply: Reply) {
        match reply {
            Reply::Voters(addresses) if client == OWN => {
                self.effects.push_back(Effect::Voters(addresses));
            }
            _ if client == OWN => {}
            reply => self.effects.push_back(Effect::Answer { client, number, reply }),
        }
    }

    // The voter

    fn pass_on(&mut self, client: u64, number: u64, question: Question, now: Moment) {
        if self.open.len() >= MOST_OPEN {
            let why = String::from("this node has too many requests under way");
            return self
                .end(&Open { client, number, question, since: now }, Reply::Unavailable { why });
        }
        let own = self.number();
        let frame = ClientFrame { number: own, question: question.clone() };
        self.open.insert(own, Open { client, number, question, since: now });
        self.post(frame);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn post(&mut self, frame: ClientFrame) {
        if self.connected {
            self.effects.push_back(Effect::Post(frame));
        }
    }

    /// Sends what gathered, or an empty keepalive when the last one is old.
    fn keep_alive(&mut self, now: Moment) {
        let due = !self.gathering.is_empty() || now >= self.next_keepalive;
        if !self.connected || self.keepalive.is_some() || !due {
            return;
        }
        self.next_keepalive = now + self.pace.every;
        let number = self.number();
        let renewals = std::mem::take(&mut self.gathering);
        let keepalive = KeepAlive { number, sent: now, renewals };
        let frame = keepalive.frame();
        self.keepalive = Some(keepalive);
        self.post(frame);
    }

    /// A voter is connected: everything open is asked there, what is followed is followed there.
    pub(super) fn connected(&mut self, now: Moment) {
        self.connected = true;
        let of = |least: Interest| -> Vec<_> {
            let all = self.subscriptions.elections().filter(|(_, interest)| *interest == least);
            all.map(|(election, _)| election.clone()).collect()
        };
        let names =
            [Interest::Observes, Interest::Contends].map(|interest| (interest, of(interest)));
        let names = names.into_iter().filter(|(_, elections)| !elections.is_empty());
        let names = names.map(|(interest, elections)| (elections, None, interest));
        let prefixes = self.prefixes.iter();
        let prefixes =
            prefixes.map(|prefix| (Vec::new(), Some(prefix.clone()), Interest::Observes));
        for (elections, prefix, interest) in names.chain(prefixes).collect::<Vec<_>>() {
            let number = self.number();
            let contends = interest == Interest::Contends;
            let question = Question::Subscribe { elections, prefix, contends };
            self.effects.push_back(Effect::Post(ClientFrame { number, question }));
        }
        let again = |(number, open): (&u64, &Open)| {
            Effect::Post(ClientFrame { number: *number, question: open.question.clone() })
        };
        self.effects.extend(self.open.iter().map(again));
        self.pass_on(OWN, 0, Question::Voters, now);
        match &mut self.keepalive {
            // Its answer can only come on this connection, and proves what is true from now on.
            Some(keepalive) => {
                keepalive.sent = now;
                self.effects.push_back(Effect::Post(keepalive.frame()));
            }
            None => {
                self.next_keepalive = now;
                self.keep_alive(now);
            }
        }
    }

    pub(super) fn disconnected(&mut self, why: &str) {
        self.connected = false;
        why.clone_into(&mut self.why);
    }

    pub(super) fn heard(&mut self, frame: NodeFrame, now: Moment) {
        match frame {
            NodeFrame::Push(push) => self.on_push(*push, now),
            NodeFrame::Answer { number, reply } => self.on_answer(number, reply, now),
        }
        self.keep_alive(now);
    }

    fn on_push(&mut self, push: Push, now: Moment) {
        let before = self.shown.get(&push.election).map(|push| push.sighting.revision);
        // From a voter that is behind the one before it. Whoever waits for it is told the newer.
        let behind = before.is_some_and(|before| push.sighting.revision < before);
        let push = if behind { self.push(&push.election, now) } else { push };
        if !behind && push.sighting.view != View::Unknown {
            self.contact = self.contact.max(Some(now - push.sighting.age));
        }
        let election = push.election.clone();
        let mut clients = self.subscriptions.followers(&election, Interest::Contends);
        let catching_up = self.clients.iter().filter(|(_, client)| client.catching_up > 0);
        for client in catching_up.map(|(client, _)| *client).collect::<Vec<_>>() {
            self.subscriptions.follow(client, election.clone(), Interest::Contends);
            clients.insert(client);
        }
        self.shown.insert(election, Push { events: Vec::new(), ..push.clone() });
        self.tell(clients, push);
    }

    fn tell(&mut self, clients: BTreeSet<u64>, push: Push) {
        if !clients.is_empty() {
            self.effects.push_back(Effect::Push { clients, push });
        }
    }

    fn on_answer(&mut self, number: u64, reply: Reply, now: Moment) {
        if let Some(keepalive) = self.keepalive.take_if(|keepalive| keepalive.number == number) {
            return self.on_alive(keepalive, reply, now);
        }
        let Some(open) = self.open.remove(&number) else { return };
        if let Reply::Confirmed | Reply::Renewed = reply {
            self.contact = self.contact.max(Some(open.since));
        }
        self.end(&open, reply);
    }

    fn on_alive(&mut self, keepalive: KeepAlive, reply: Reply, now: Moment) {
        let KeepAlive { sent, renewals, .. } = keepalive;
        let Reply::Alive { gone, role } = reply else {
            for Renewal { client, number, .. } in renewals {
                self.answer(client, number, reply.clone());
            }
            return;
        };
        self.contact = self.contact.max(Some(sent));
        self.watch_freshness(now);
        for Renewal { client, number, session } in renewals {
            let alive = !gone.contains(&session);
            self.answer(client, number, if alive { Reply::Renewed } else { Reply::Gone });
        }
        self.effects.push_back(Effect::Role(role));
    }

    /// A question is answered, by whomever.
    fn end(&mut self, open: &Open, reply: Reply) {
        if let (Question::Renew { session }, Some(connected)) =
            (&open.question, self.clients.get_mut(&open.client))
        {
            connected.catching_up = connected.catching_up.saturating_sub(1);
            if reply == Reply::Renewed {
                connected.renews.insert(*session);
            }
        }
        self.answer(open.client, open.number, reply);
    }

    // Time

    pub(super) fn pass_time(&mut self, now: Moment) {
        self.keep_alive(now);
        let late = |open: &Open| now.since(open.since) >= self.pace.patience;
        let late: Vec<_> = self.open.extract_if(.., |_, open| late(open)).collect();
        for (_, open) in late {
            let why = self.why_unknown();
            self.end(&open, Reply::Unavailable { why });
        }
        self.watch_freshness(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let keepalive = (self.connected && self.keepalive.is_none()).then_some(self.next_keepalive);
        let stale = self.contact.filter(|_| self.known).map(|at| at + self.pace.limit);
        let late = self.open.values().map(|open| open.since + self.pace.patience).min();
        [keepalive, stale, late].into_iter().flatten().min()
    }

    // What is shown

    fn age(&self, now: Moment) -> Option<Duration> {
        self.contact.map(|at| now.since(at))
    }

    fn is_known(&self, now: Moment) -> bool {
        self.age(now).is_some_and(|age| age < self.pace.limit)
    }

    fn why_unknown(&self) -> String {
        match self.connected {
            true => String::from("the voter that this node asks has no quorum behind it"),
            false => format!("no voter is reached: {}", self.why),
        }
    }

    /// Tells everybody when this node begins or ceases to know.
    fn watch_freshness(&mut self, now: Moment) {
        let known = self.is_known(now);
        if std::mem::replace(&mut self.known, known) == known {
            return;
        }
        let elections: Vec<_> = self.shown.keys().cloned().collect();
        for election in elections {
            let clients = self.subscriptions.followers(&election, Interest::Contends);
            let push = self.push(&election, now);
            self.tell(clients, push);
        }
    }

    fn sighting(&self, election: &ElectionName, now: Moment) -> Sighting {
        let last = self.shown.get(election).map(|push| &push.sighting);
        match (last, self.age(now)) {
            (Some(last), Some(age)) if age < self.pace.limit => {
                // The voter itself did not know when it spoke last: nor does this node.
                Sighting { age: if last.reason.is_some() { last.age } else { age }, ..last.clone() }
            }
            (last, age) => Sighting {
                view: View::Unknown,
                revision: last.map_or(Revision::default(), |last| last.revision),
                age: age.unwrap_or(Duration::MAX),
                reason: Some(self.why_unknown()),
            },
        }
    }

    fn push(&self, election: &ElectionName, now: Moment) -> Push {
        let sighting = self.sighting(election, now);
        match self.shown.get(election) {
            Some(last) => Push { sighting, ..last.clone() },
            None => Push {
                election: election.clone(),
                sighting,
                holder: None,
                handover: false,
                revoked: false,
                candidates: 0,
                events: Vec::new(),
                mono_ns: 0,
            },
        }
    }
}

impl KeepAlive {
    fn frame(&self) -> ClientFrame {
        let mut sessions: Vec<_> = self.renewals.iter().map(|renewal| renewal.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        ClientFrame { number: self.number, question: Question::KeepAlive { sessions } }
    }
}

#[cfg(test)]
mod tests;
