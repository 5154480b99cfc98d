//! Questions that wait for their answers.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{ClientError, line::LineSender};
use crate::{
    transport::backoff::jittered,
    wire::{ClientFrame, Question, Reply},
};

/// Numbers from here on are the client's own; whoever posts frames uses lower ones.
pub(super) const OWN_NUMBERS: u64 = 1 << 63;
/// Pause before a wish for which no quorum was there is sent again.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) type Answer = oneshot::Sender<Result<Reply, ClientError>>;

/// A question with its deadline.
#[derive(Debug)]
pub(super) struct Open {
    question: Question,
    within: Duration,
    deadline: Instant,
    /// Whether it was ever sent.
    sent: bool,
    /// When to send it again on the same connection.
    again: Option<Instant>,
    why: String,
    answer: Answer,
}

impl Open {
    pub(super) fn new(question: Question, within: Duration, answer: Answer) -> Self {
        let deadline = Instant::now() + within;
        let why = String::from("the node did not answer");
        Self { question, within, deadline, sent: false, again: None, why, answer }
    }

    fn due(&self) -> Instant {
        self.again.map_or(self.deadline, |again| again.min(self.deadline))
    }

    /// Whether it does no harm to ask twice. Handing over the Raft leadership twice does.
    fn repeatable(&self) -> bool {
        !matches!(self.question, Question::TransferQuorum { .. })
    }

    fn send(&mut self, number: u64, line: &LineSender) {
        self.again = None;
        let frame = ClientFrame { number, question: self.question.clone() };
        match line.send(frame) {
            Ok(()) => self.sent = true,
            Err(error) => {
                self.why = error.to_string();
                self.again = Some(Instant::now() + jittered(AGAIN));
            }
        }
    }

    /// It is over without an answer.
    pub(super) fn give_up(self, lost: &str) {
        let Self { within, sent, why, question, answer, .. } = self;
        let error = match (sent, question) {
            (false, _) => ClientError::Unreachable { within, why: lost.to_owned() },
            (true, Question::Wish { .. } | Question::TransferQuorum { .. }) => {
                ClientError::Unknown { within, why }
            }
            (true, _) => ClientError::Unavailable { why },
        };
        // Nobody waits for it any more.
        let _ = answer.send(Err(error));
    }
}

/// All open questions by number.
#[derive(Debug)]
pub(super) struct Pending {
    open: BTreeMap<u64, Open>,
    next: u64,
    /// Nothing is due before this; it may be too early, never too late.
    due: Option<Instant>,
}

impl Default for Pending {
    fn default() -> Self {
        Self { open: BTreeMap::new(), next: OWN_NUMBERS, due: None }
    }
}

impl Pending {
    pub(super) fn add(&mut self, mut open: Open, line: Option<&LineSender>) {
        let number = self.next;
        self.next += 1;
        if let Some(line) = line {
            open.send(number, line);
        }
        self.due = earlier(self.due, Some(open.due()));
        self.open.insert(number, open);
    }

    /// A connection exists: everything is asked (again).
    pub(super) fn connected(&mut self, line: &LineSender) {
        for (&number, open) in &mut self.open {
            open.send(number, line);
            self.due = earlier(self.due, Some(open.due()));
        }
    }

    /// The connection broke: what must not be asked twice is over.
    pub(super) fn disconnected(&mut self, why: &str) {
        for open in self.open.values_mut() {
            why.clone_into(&mut open.why);
            open.again = None;
        }
        for (_, open) in self.open.extract_if(.., |_, open| open.sent && !open.repeatable()) {
            open.give_up(why);
        }
    }

    /// There will be no other connection.
    pub(super) fn give_all_up(&mut self, lost: &str) {
        for (_, open) in std::mem::take(&mut self.open) {
            open.give_up(lost);
        }
        self.due = None;
    }

    pub(super) fn answered(&mut self, number: u64, reply: Reply) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if let (Question::Wish { .. }, Reply::Unavailable { why }) = (&open.question, &reply) {
            why.clone_into(&mut open.why);
            open.again = Some(Instant::now() + jittered(AGAIN));
            self.due = earlier(self.due, Some(open.due()));
            return;
        }
        let Some(open) = self.open.remove(&number) else { return };
        // Whoever asked may have stopped waiting.
        let _ = open.answer.send(match reply {
            Reply::Unavailable { why } => Err(ClientError::Unavailable { why }),
            Reply::Denied { why } => Err(ClientError::Refused { why }),
            reply => Ok(reply),
        });
    }

    /// Gives up what is too late, and asks again what is due.
    pub(super) fn pass_time(&mut self, line: Option<&LineSender>, lost: &str) {
        let now = Instant::now();
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let over = |open: &mut Open| open.deadline <= now || open.answer.is_closed();
        for (_, open) in self.open.extract_if(.., |_, open| over(open)) {
            open.give_up(lost);
        }
        self.due = None;
        for (&number, open) in &mut self.open {
            if let Some(line) = line
                && open.again.is_some_and(|again| again <= now)
            {
                open.send(number, line);
            }
            self.due = earlier(self.due, Some(open.due()));
        }
    }

    /// When [`Pending::pass_time`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// The earlier of two moments that may come.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
