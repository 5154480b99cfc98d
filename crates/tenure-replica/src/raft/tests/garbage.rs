//! No message from the network takes a node down.

use super::super::message::{MessageKind, RaftMessage};
use super::super::{Consensus, Founding, StepError};
use super::net::{MS, Net, Shape, id, members, settings};
use crate::log::{Entry, EntryKind, Membership, Restored, Snapshot};
use crate::status::RaftRole;
use proptest::prelude::*;

/// Small numbers that hit, large ones that overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0..12_u64,
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        1 => Just(1 << 62),
        1 => Just((1 << 62) + 1),
        1 => any::<u64>(),
    ]
}

fn kind() -> impl Strategy<Value = MessageKind> {
    prop::sample::select(vec![
        MessageKind::Append,
        MessageKind::AppendResponse,
        MessageKind::Vote,
        MessageKind::VoteResponse,
        MessageKind::PreVote,
        MessageKind::PreVoteResponse,
        MessageKind::Snapshot,
        MessageKind::Heartbeat,
        MessageKind::HeartbeatResponse,
        MessageKind::TimeoutNow,
    ])
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![4 => Just(EntryKind::Command), 1 => Just(EntryKind::Membership)];
    let run = (number(), number(), kind, 0..4_usize, any::<bool>());
    run.prop_map(|(first, term, kind, count, broken)| {
        let step = |i: usize| (i as u64) * if broken { 2 } else { 1 };
        (0..count)
            .map(|i| Entry { index: first.wrapping_add(step(i)), term, kind, data: vec![1, 2] })
            .collect()
    })
}

fn snapshot() -> impl Strategy<Value = Option<Box<Snapshot>>> {
    let nodes = || prop::collection::vec(1..6_u64, 0..4);
    let snapshot = (number(), number(), nodes(), nodes()).prop_map(|(index, term, v, l)| {
        let ids = |list: Vec<u64>| list.into_iter().map(id).collect();
        let membership = Membership { voters: ids(v), learners: ids(l) };
        Box::new(Snapshot { index, term, membership, data: vec![0; 16] })
    });
    prop::option::of(snapshot)
}

fn context() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(b"CampaignTransfer".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

prop_compose! {
    fn message()(
        kind in kind(), from in 1..5_u64, to in prop_oneof![9 => Just(1_u64), 1 => 1..5_u64],
        term in number(), log_term in number(), index in number(), entries in entries(),
        commit in number(), commit_term in number(), snapshot in snapshot(),
        reject in any::<bool>(), reject_hint in number(), context in context(),
        fitting in 0..4,
    ) -> RaftMessage {
        // Most random messages would be refused for their shape: make three in four fit.
        let fit = fitting > 0;
        let mut entries = entries;
        if fit {
            if kind != MessageKind::Append { entries.clear(); }
            for (i, entry) in entries.iter_mut().enumerate() {
                entry.index = index.wrapping_add(1 + i as u64);
                entry.term = entry.term.max(log_term).min(term.max(log_term));
            }
        }
        let mut snapshot = if fit && kind != MessageKind::Snapshot { None } else { snapshot };
        if fit && let Some(snapshot) = &mut snapshot {
            let Membership { voters, learners } = &mut snapshot.membership;
            voters.push(id(1));
            voters.sort_unstable();
            voters.dedup();
            learners.sort_unstable();
            learners.dedup();
            learners.retain(|learner| !voters.contains(learner));
            snapshot.term = snapshot.term.min(term);
        }
        let context = if fit && !matches!(kind, MessageKind::Vote | MessageKind::PreVote
            | MessageKind::Heartbeat | MessageKind::HeartbeatResponse) { vec![] } else { context };
        RaftMessage {
            kind, from: id(from), to: id(to), term, log_term, index, entries, commit, commit_term,
            snapshot, reject, reject_hint, context,
        }
    }
}

/// What happens to a node between messages.
#[derive(Clone, Debug)]
enum Op {
    Message(RaftMessage),
    /// The same, but of the node's own term: that is what a leader listens to.
    Timely(RaftMessage),
    /// Node 2 votes for this one.
    Elect,
    Tick(u8),
    Campaign,
    Forced,
    Propose,
    Barrier,
    /// All units handed out but this many.
    Persist(u64),
    Apply,
    Snapshot,
    Report(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => message().prop_map(Op::Message),
        8 => message().prop_map(Op::Timely),
        2 => Just(Op::Elect),
        3 => (1..40_u8).prop_map(Op::Tick),
        1 => Just(Op::Campaign),
        1 => Just(Op::Forced),
        2 => Just(Op::Propose),
        1 => Just(Op::Barrier),
        4 => (0..3_u64).prop_map(Op::Persist),
        3 => Just(Op::Apply),
        1 => Just(Op::Snapshot),
        1 => (1..5_u64).prop_map(Op::Report),
    ]
}

/// One node and what a shell with a slow disk knows about it.
struct Shell {
    node: Consensus,
    issued: u64,
    done: u64,
    applied: u64,
}

impl Shell {
    fn run(node: Consensus, ops: Vec<Op>) {
        let applied = node.applied();
        let mut shell = Self { node, issued: 0, done: 0, applied };
        for op in ops {
            shell.one(op);
            shell.drain();
        }
    }

    fn one(&mut self, op: Op) {
        match op {
            Op::Message(message) => drop(self.node.step(message)),
            Op::Timely(message) => {
                let term = self.node.standing().term;
                drop(self.node.step(RaftMessage { term, ..message }));
            }
            Op::Elect => self.elect(),
            Op::Tick(ticks) => (0..ticks).for_each(|_| self.node.tick()),
            Op::Campaign => _ = self.node.campaign(),
            Op::Forced => _ = self.node.campaign_forced(),
            Op::Propose => drop(self.node.propose(vec![vec![9; 8]])),
            Op::Barrier => _ = self.node.read_barrier(7),
            Op::Persist(but) => self.persist(but),
            Op::Apply => self.node.applied_to(self.applied),
            Op::Snapshot => _ = self.node.offer_snapshot(vec![3; 16], 48),
            Op::Report(peer) => self.node.report_unreachable(id(peer)),
        }
    }

    fn persist(&mut self, but: u64) {
        self.done = self.issued.saturating_sub(but).max(self.done);
        self.node.persisted(self.done);
    }

    fn drain(&mut self) {
        while let Some(ready) = self.node.ready() {
            self.issued = ready.persist.map_or(self.issued, |unit| unit.number);
            self.applied = ready.install.map_or(self.applied, |snapshot| snapshot.index);
            self.applied = ready.committed.last().map_or(self.applied, |last| last.index);
        }
    }

    /// Campaigns, and gets the vote of node 2.
    fn elect(&mut self) {
        self.node.campaign();
        for kind in [MessageKind::PreVoteResponse, MessageKind::VoteResponse] {
            self.drain();
            self.persist(0);
            let pre = u64::from(kind == MessageKind::PreVoteResponse);
            let term = self.node.standing().term + pre;
            drop(self.node.step(RaftMessage { kind, term, ..heartbeat(0) }));
        }
    }
}

fn founder(voters: &[u64], seed: u64) -> Consensus {
    let founding = Founding { membership: members(voters), data: vec![0; 16] };
    Consensus::new(settings(id(1)), Restored::default(), Some(founding), seed).expect("starts")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(
        voters in 1..4_u64, seed in any::<u64>(), ops in prop::collection::vec(op(), 1..60),
    ) {
        let voters: Vec<u64> = (1..=voters).collect();
        Shell::run(founder(&voters, seed), ops);
    }

    #[test]
    fn garbage_never_panics_a_joining_node(ops in prop::collection::vec(op(), 1..60)) {
        let node = Consensus::new(settings(id(1)), Restored::default(), None, 1);
        Shell::run(node.expect("starts"), ops);
    }
}

fn heartbeat(commit: u64) -> RaftMessage {
    RaftMessage {
        kind: MessageKind::Heartbeat,
        from: id(2),
        to: id(1),
        term: 5,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit,
        commit_term: 0,
        snapshot: None,
        reject: false,
        reject_hint: 0,
        context: Vec::new(),
    }
}

#[test]
fn a_log_shorter_than_what_the_leader_knows_is_said_to_be_lost() {
    let mut node = founder(&[1, 2, 3], 1);
    let lost = StepError::LogLost { leader: id(2), confirmed: 9, last: 1 };
    assert_eq!(node.step(heartbeat(9)), Err(lost));
    assert_eq!(node.step(heartbeat(1)), Ok(()));
}

#[test]
fn each_kind_of_nonsense_is_refused() {
    let entry = |index, term| Entry { index, term, kind: EntryKind::Command, data: vec![1] };
    let append = |entries| RaftMessage {
        kind: MessageKind::Append,
        index: 1,
        log_term: 1,
        entries,
        ..heartbeat(1)
    };
    let with_snapshot = |index, term, voters: &[u64], learners: &[u64]| {
        let ids = |list: &[u64]| list.iter().copied().map(id).collect();
        let membership = Membership { voters: ids(voters), learners: ids(learners) };
        let snapshot = Some(Box::new(Snapshot { index, term, membership, data: Vec::new() }));
        RaftMessage { kind: MessageKind::Snapshot, snapshot, ..heartbeat(0) }
    };
    let bad = [
        RaftMessage { term: 0, ..heartbeat(1) },
        RaftMessage { term: u64::MAX, ..heartbeat(1) },
        RaftMessage { term: (1 << 32) + 2, ..heartbeat(1) },
        RaftMessage { commit: u64::MAX, ..append(vec![]) },
        RaftMessage { entries: vec![entry(2, 2)], ..heartbeat(1) },
        RaftMessage { context: vec![1; 15], ..heartbeat(1) },
        RaftMessage { kind: MessageKind::Vote, context: vec![1; 16], ..heartbeat(1) },
        RaftMessage { index: 0, ..append(vec![]) },
        RaftMessage { log_term: 0, ..append(vec![]) },
        RaftMessage { log_term: 6, ..append(vec![]) },
        append(vec![entry(3, 2)]),
        append(vec![entry(2, 2), entry(4, 2)]),
        append(vec![entry(2, 3), entry(3, 2)]),
        append(vec![entry(2, 6)]),
        RaftMessage { snapshot: None, ..with_snapshot(9, 4, &[1], &[]) },
        with_snapshot(0, 4, &[1], &[]),
        with_snapshot(9, 0, &[1], &[]),
        with_snapshot(9, 6, &[1], &[]),
        with_snapshot(9, 4, &[], &[1]),
        with_snapshot(9, 4, &[1, 1], &[]),
        with_snapshot(9, 4, &[1, 2], &[2]),
    ];
    for message in bad {
        let outcome = founder(&[1, 2, 3], 1).step(message.clone());
        assert!(matches!(outcome, Err(StepError::Malformed { .. })), "{message:?}: {outcome:?}");
    }
    for message in
        [RaftMessage { to: id(3), ..heartbeat(1) }, RaftMessage { from: id(1), ..heartbeat(1) }]
    {
        let outcome = founder(&[1, 2, 3], 1).step(message);
        assert!(matches!(outcome, Err(StepError::Misdelivered { .. })));
    }
    let stranger = RaftMessage { kind: MessageKind::VoteResponse, from: id(8), ..heartbeat(0) };
    assert_eq!(founder(&[1, 2, 3], 1).step(stranger), Err(StepError::NotMember(id(8))));
    assert_eq!(founder(&[1, 2, 3], 1).step(append(vec![entry(2, 2), entry(3, 5)])), Ok(()));
}

#[test]
fn nobody_confirms_entries_that_the_leader_does_not_have() {
    let mut net = Net::new(1, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    let other = net.others(leader)[0];
    let term = net.consensus(leader).standing().term;
    let response = RaftMessage {
        kind: MessageKind::AppendResponse,
        from: other,
        to: leader,
        term,
        ..heartbeat(0)
    };
    let beyond = net.consensus(leader).last_index() + 1;
    for bad in [
        RaftMessage { index: beyond, ..response.clone() },
        RaftMessage { index: 2, reject: true, reject_hint: beyond, ..response },
    ] {
        let outcome = net.consensus(leader).step(bad);
        assert!(matches!(outcome, Err(StepError::Malformed { .. })));
    }
}

#[test]
fn a_vote_that_was_never_asked_for_counts_for_nothing() {
    let mut node = founder(&[1, 2, 3], 1);
    while node.ready().is_some() {}
    node.persisted(1);
    assert!(node.campaign_forced());
    while node.ready().is_some() {}
    // The request is still held back by the disk.
    let term = node.standing().term;
    let vote = RaftMessage { kind: MessageKind::VoteResponse, term, ..heartbeat(0) };
    node.step(vote.clone()).expect("ignored");
    assert_eq!(node.standing().role, RaftRole::Candidate);
    node.persisted(2);
    node.step(vote).expect("counted");
    assert_eq!(node.standing().role, RaftRole::Leader);
}

#[test]
fn nobody_campaigns_between_a_snapshot_and_its_write() {
    let mut node = founder(&[1, 2, 3], 1);
    while node.ready().is_some() {}
    node.persisted(1);
    let snapshot = Snapshot { index: 9, term: 4, membership: members(&[1, 2, 3]), data: vec![] };
    let snapshot = Some(Box::new(snapshot));
    let message = RaftMessage { kind: MessageKind::Snapshot, snapshot, ..heartbeat(0) };
    node.step(message).expect("a good snapshot");
    let ready = node.ready().expect("something to write");
    assert_eq!(ready.install.map(|snapshot| snapshot.index), Some(9));
    assert!(ready.messages.is_empty(), "confirmed before it was written");
    node.forget_leader(id(2));
    assert!(!node.campaign());
    assert!(!node.campaign_forced());
    (0..100).for_each(|_| node.tick());
    assert_eq!(node.standing().role, RaftRole::Follower);
    node.persisted(ready.persist.expect("the snapshot").number);
    node.tick();
    assert_eq!(node.standing().role, RaftRole::PreCandidate);
}

#[test]
fn only_the_leader_may_hand_over() {
    let mut net = Net::new(1, &[1, 2, 3], Shape::default());
    let leader = net.elect();
    net.run(200 * MS);
    let others = net.others(leader);
    let term = net.consensus(leader).standing().term;
    let from = |from| RaftMessage {
        kind: MessageKind::TimeoutNow,
        from,
        to: others[0],
        term,
        ..heartbeat(0)
    };
    let target = net.consensus(others[0]);
    let mut role_after = |from_whom| {
        target.step(from(from_whom)).expect("is taken, or ignored");
        target.standing().role
    };
    assert_eq!(role_after(others[1]), RaftRole::Follower);
    assert_eq!(role_after(leader), RaftRole::Candidate);
}
