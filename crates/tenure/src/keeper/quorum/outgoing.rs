//! Which requests are under way, which wait, and when each is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use core::time::Duration;
use tenure_core::{Moment, RequestId, ledger::Command};

/// A request without an answer is sent again after this long on the same connection.
const REPEAT: Duration = Duration::from_secs(1);
/// Each time it waits twice as long, up to this: a quorum that is late because it has much to do
/// is not given more to do.
const REPEAT_LATEST: Duration = Duration::from_secs(8);
/// Campaigns that are under way at once. Behind ten thousand of them a renewal would come too
/// late for what was granted first, and whoever resigns would wait for all. The ledger remembers
/// the answers to twice as many.
const WINDOW: usize = 64;

#[derive(Debug)]
struct Open {
    request: RequestId,
    command: Command,
    /// None while it waits for room.
    send_at: Option<Moment>,
    again_after: Duration,
}

/// Requests without an answer, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    open: BTreeMap<u64, Open>,
    schedule: BTreeSet<(Moment, u64)>,
    waiting: VecDeque<u64>,
    campaigns: usize,
}

impl Outgoing {
    pub(super) fn add(&mut self, request: RequestId, command: Command, now: Moment) {
        let number = request.number;
        let can_wait = is_campaign(&command);
        let open = Open { request, command, send_at: None, again_after: REPEAT };
        self.open.insert(number, open);
        if can_wait && self.campaigns >= WINDOW {
            return self.waiting.push_back(number);
        }
        self.campaigns += usize::from(can_wait);
        self.schedule(number, now);
    }

    fn schedule(&mut self, number: u64, at: Moment) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if let Some(before) = open.send_at.replace(at) {
            self.schedule.remove(&(before, number));
        }
        self.schedule.insert((at, number));
    }

    /// Its outcome is known: whether it was waited for.
    pub(super) fn answered(&mut self, number: u64, now: Moment) -> Option<RequestId> {
        let open = self.open.remove(&number)?;
        if let Some(at) = open.send_at {
            self.schedule.remove(&(at, number));
        }
        if is_campaign(&open.command) {
            self.campaigns = self.campaigns.saturating_sub(1);
            if let Some(next) = self.waiting.pop_front() {
                self.campaigns += 1;
                self.schedule(next, now);
            }
        }
        Some(open.request)
    }

    /// It was answered that there is no answer: it is sent again at `at`.
    pub(super) fn postpone(&mut self, number: u64, at: Moment) {
        if self.open.get(&number).is_some_and(|open| open.send_at.is_some()) {
            self.schedule(number, at);
        }
    }

    /// On a fresh connection everything that is under way is sent again.
    pub(super) fn send_all(&mut self, now: Moment) {
        self.schedule.clear();
        for (&number, open) in &mut self.open {
            open.again_after = REPEAT;
            if let Some(at) = &mut open.send_at {
                *at = now;
                self.schedule.insert((now, number));
            }
        }
    }

    /// The next request that is to be sent now.
    pub(super) fn next_due(&mut self, now: Moment) -> Option<(RequestId, Command)> {
        let (_, number) = self.schedule.first().copied().filter(|(at, _)| *at <= now)?;
        let open = self.open.get_mut(&number)?;
        let again = now + open.again_after;
        open.again_after = (open.again_after * 2).min(REPEAT_LATEST);
        let next = (open.request, open.command.clone());
        self.schedule(number, again);
        Some(next)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.schedule.first().map(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

fn is_campaign(command: &Command) -> bool {
    matches!(command, Command::Campaign { .. })
}

#[cfg(test)]
mod tests {
    use tenure_core::{CandidateId, ElectionName, Incarnation, SessionId, Value, ledger::Standing};

    use super::*;

    const SESSION: SessionId = SessionId { process: Incarnation::from_random(1), number: 1 };

    fn request(number: u64) -> RequestId {
        RequestId { process: SESSION.process, number }
    }

    fn campaign(number: u64) -> Command {
        Command::Campaign {
            session: SESSION,
            election: ElectionName::new(format!("e{number}")).unwrap(),
            candidate: CandidateId::new("me").unwrap(),
            value: Value::default(),
            standing: Standing::default(),
        }
    }

    fn withdrawal() -> Command {
        Command::Withdraw { session: SESSION, election: ElectionName::new("e1").unwrap() }
    }

    fn sent(outgoing: &mut Outgoing, now: Moment) -> Vec<u64> {
        std::iter::from_fn(|| outgoing.next_due(now).map(|(request, _)| request.number)).collect()
    }

    #[test]
    fn of_ten_thousand_campaigns_few_are_under_way_and_nothing_else_waits_behind_them() {
        let (mut outgoing, now) = (Outgoing::default(), Moment::from_nanos(1));
        let window = u64::try_from(WINDOW).unwrap();
        for number in 1..=10_000 {
            outgoing.add(request(number), campaign(number), now);
        }
        outgoing.add(request(10_001), withdrawal(), now);
        let mut expected: Vec<_> = (1..=window).collect();
        expected.push(10_001);
        assert_eq!(sent(&mut outgoing, now), expected);
        // Each answer makes room for one, in the order in which they came.
        for number in 1..=10_001 {
            assert_eq!(outgoing.answered(number, now), Some(request(number)));
            let next = number + window;
            let expected = if next <= 10_000 { vec![next] } else { Vec::new() };
            assert_eq!(sent(&mut outgoing, now), expected);
        }
        assert!(outgoing.is_empty());
        assert_eq!(outgoing.next_deadline(), None);
    }

    #[test]
    fn what_is_not_answered_is_sent_again_later_and_later_and_at_once_on_a_fresh_connection() {
        let (mut outgoing, mut now) = (Outgoing::default(), Moment::from_nanos(1));
        outgoing.add(request(1), campaign(1), now);
        assert_eq!(sent(&mut outgoing, now), [1]);
        for pause in [1, 2, 4, 8, 8] {
            let due = now + Duration::from_secs(pause);
            assert_eq!(outgoing.next_deadline(), Some(due));
            assert_eq!(sent(&mut outgoing, due), [1]);
            now = due;
        }
        outgoing.send_all(now);
        assert_eq!(sent(&mut outgoing, now), [1]);
        assert_eq!(outgoing.next_deadline(), Some(now + REPEAT));
        outgoing.postpone(1, now + REPEAT / 10);
        assert_eq!(outgoing.next_deadline(), Some(now + REPEAT / 10));
        assert_eq!(outgoing.answered(2, now), None);
    }
}
