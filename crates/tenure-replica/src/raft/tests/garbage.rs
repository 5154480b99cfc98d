//! No message from the network takes a node down.

use super::super::{Consensus, Founding, MessageKind, RaftMessage, StepError};
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
        let snapshot = if fit && kind != MessageKind::Snapshot { None } else { snapshot };
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
        12 => message().prop_map(Op::Message),
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

/// Does to one node what a shell with a slow disk would do.
fn drive(consensus: &mut Consensus, ops: Vec<Op>) {
    let (mut issued, mut done, mut applied) = (0_u64, 0, consensus.applied());
    for op in ops {
        match op {
            Op::Message(message) => drop(consensus.step(message)),
            Op::Tick(ticks) => (0..ticks).for_each(|_| consensus.tick()),
            Op::Campaign => drop(consensus.campaign()),
            Op::Forced => drop(consensus.campaign_forced()),
            Op::Propose => drop(consensus.propose(vec![9; 8])),
            Op::Barrier => drop(consensus.read_barrier(7)),
            Op::Persist(but) => {
                done = issued.saturating_sub(but).max(done);
                consensus.persisted(done);
            }
            Op::Apply => consensus.applied_to(applied),
            Op::Snapshot => drop(consensus.offer_snapshot(vec![3; 16])),
            Op::Report(peer) => consensus.report_unreachable(id(peer)),
        }
        while let Some(ready) = consensus.ready() {
            issued = ready.persist.map_or(issued, |unit| unit.number);
            if let Some(snapshot) = ready.install {
                applied = snapshot.index;
            }
            applied = ready.committed.last().map_or(applied, |last| last.index);
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
        drive(&mut founder(&voters, seed), ops);
    }

    #[test]
    fn garbage_never_panics_a_joining_node(ops in prop::collection::vec(op(), 1..60)) {
        let mut node = Consensus::new(settings(id(1)), Restored::default(), None, 1).expect("starts");
        drive(&mut node, ops);
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
