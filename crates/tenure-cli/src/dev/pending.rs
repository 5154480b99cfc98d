//! Requests that are answered when something has happened.

use std::time::Duration;

use tenure_core::{NodeName, Token};
use tokio::{sync::oneshot, time::Instant};

use super::{
    control::{Answer, Change, LeaderReport},
    model::{Model, Phase},
};
use crate::{
    error::{Exit, Failure},
    output::time::precise_millis,
};

/// What has to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// A process is gone.
    Exited(NodeName),
    /// A process says that it listens.
    Started(NodeName),
    /// A node shows something about the election, and knows who leads if the others do.
    Sees(NodeName),
    /// All live nodes show a leader with a higher token than this.
    Successor(Token),
    /// The quorum has a leader with a higher term than this.
    QuorumLeader(u64),
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// What was done so far.
    pub(super) change: Change,
    /// What has to happen.
    pub(super) waits: Vec<Wait>,
    /// When it began, by CLOCK_MONOTONIC in nanoseconds.
    pub(super) begun: u64,
    /// Until when to wait.
    pub(super) until: Instant,
    /// Whether it is a failure when the time is over.
    pub(super) must: bool,
    /// Who waits.
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

impl Pending {
    /// Whether everything has happened.
    pub(super) fn is_done(&self, model: &Model) -> bool {
        self.waits.iter().all(|wait| happened(wait, model))
    }

    /// Whether to give up.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Answers; `None` when nobody waits.
    pub(super) fn answer(mut self, model: &Model) {
        let done = self.is_done(model);
        let answer = if done || !self.must {
            if !done && self.change.note.is_none() {
                self.change.note = Some(what_is_missing(model));
            }
            self.fill_in(model);
            Ok(serde_json::to_value(&self.change).unwrap_or_default())
        } else {
            Err(Failure::new(
                Exit::Unavailable,
                format!("not {} in time", self.change.did),
                what_is_missing(model),
                "tenure dev status; the logs of the nodes are in the directory of the cluster",
            ))
        };
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }

    fn fill_in(&mut self, model: &Model) {
        let leader = model.leader();
        self.change.leader =
            leader.map(|leader| LeaderReport { id: leader.id.clone(), token: leader.token });
        self.change.quorum_leader = model.quorum_leader().map(|(node, _)| node.name.clone());
        for wait in &self.waits {
            let since = |at: Option<u64>, begun| Some(precise_millis(at?.checked_sub(begun)?));
            match wait {
                Wait::Successor(old) => {
                    let next = model.handovers.iter().find(|handover| handover.token > *old);
                    let Some(next) = next else { continue };
                    // A leader that is asked begins when it takes that up.
                    let begun = next.begun.map_or(self.begun, |begun| begun.max(self.begun));
                    self.change.took_ms = since(next.shown, begun);
                    self.change.all_ms = since(next.shown_by_all, begun);
                }
                Wait::QuorumLeader(term) if happened(wait, model) => {
                    self.change.quorum_ms = since(model.quorum_since(*term), self.begun);
                }
                _ => {}
            }
        }
    }
}

fn happened(wait: &Wait, model: &Model) -> bool {
    match wait {
        Wait::Exited(name) => {
            model.node(name).is_none_or(|node| matches!(node.phase, Phase::Down(_)))
        }
        Wait::Started(name) => {
            model.node(name).is_some_and(|node| node.phase == Phase::Running && node.id.is_some())
        }
        Wait::Sees(name) => model.knows_as_much_as_the_others(name),
        Wait::Successor(old) => model.settled().is_some_and(|leader| leader.token > *old),
        Wait::QuorumLeader(term) => model.quorum_since(*term).is_some(),
    }
}

fn what_is_missing(model: &Model) -> String {
    match (model.why_unknown(), model.agreed()) {
        (Some(why), _) => format!("no new leader: {why}"),
        (None, None) if model.live().next().is_none() => {
            String::from("no new leader: no node runs")
        }
        (None, None) => String::from("the live nodes do not show the same leader yet"),
        (None, Some(leader)) => {
            format!("{} leads with token {}", leader.id, leader.token)
        }
    }
}

/// How long a request waits for what follows from it.
pub(super) fn patience(ttl: Duration) -> Duration {
    (ttl * 3).max(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{name, say, three, view};
    use super::*;

    const MS: u64 = 1_000_000;

    fn pending(waits: Vec<Wait>, must: bool) -> (Pending, oneshot::Receiver<Answer>) {
        let (reply, answered) = oneshot::channel();
        let change = Change { did: "killed".into(), ..Change::default() };
        let until = Instant::now();
        (Pending { change, waits, begun: 100 * MS, until, must, reply: Some(reply) }, answered)
    }

    #[test]
    fn a_kill_is_answered_with_the_successor_and_its_time() {
        let mut model = three();
        let waits = vec![Wait::Exited(name("n1")), Wait::Successor(Token::new(5))];
        let (pending, mut answered) = pending(waits, false);
        assert!(!pending.is_done(&model));
        model.struck(&name("n1"), "killed", 100 * MS);
        model.exited(&name("n1"), "killed".into(), 101 * MS);
        view(&mut model, "n2", 104 * MS, "n2", 9);
        view(&mut model, "n3", 106 * MS, "n2", 9);
        assert!(!pending.is_done(&model), "n2 does not know yet that it leads");
        say(&mut model, "n2", 105 * MS, r#""event":"elected","election":"demo","token":9"#);
        assert!(pending.is_done(&model));
        pending.answer(&model);
        let answer = answered.try_recv().unwrap().unwrap();
        assert_eq!(answer["leader"]["id"], "n2");
        assert_eq!(answer["took_ms"], 4.0);
        assert_eq!(answer["all_ms"], 6.0);
        assert_eq!(answer["note"], serde_json::Value::Null);
    }

    #[test]
    fn without_a_quorum_the_reason_is_told() {
        let mut model = three();
        model.exited(&name("n1"), "killed".into(), 101 * MS);
        for node in ["n2", "n3"] {
            say(
                &mut model,
                node,
                700 * MS,
                r#""event":"view","election":"demo","view":"unknown","leader":null,"revision":5,"reason":"no quorum""#,
            );
        }
        let (late, mut answered) = pending(vec![Wait::Successor(Token::new(5))], false);
        assert!(late.is_late());
        late.answer(&model);
        let answer = answered.try_recv().unwrap().unwrap();
        assert_eq!(answer["note"], "no new leader: no quorum");
        let (must, mut answered) = pending(vec![Wait::Successor(Token::new(5))], true);
        must.answer(&model);
        assert_eq!(answered.try_recv().unwrap().unwrap_err().exit, Exit::Unavailable);
    }
}
