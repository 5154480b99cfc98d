//! Crashes: at every step of a fixed history, and at random steps of random histories. What
//! was acknowledged must come back, and the batch at hand whole or not at all.

use proptest::prelude::*;
use tenure_replica::{HardState, Persist, Restored};

use super::{
    entries, entry,
    fake_disk::{Dice, Failure, FakeDisk},
    home, identity,
    model::Model,
    snapshot, vote,
};
use crate::storage::{
    Storage, StorageError,
    data_dir::{create, read_identity},
    disk::Disk,
    home::Home,
};

/// Small, so that a short history fills several files.
const SEGMENT_BYTES: u64 = 4096;

fn on(disk: &FakeDisk) -> Home {
    home(disk.clone(), "/fake")
}

fn open(disk: &FakeDisk) -> Result<(Storage, Restored), StorageError> {
    Storage::open_in(on(disk), SEGMENT_BYTES)
}

fn new_disk() -> FakeDisk {
    let disk = FakeDisk::default();
    create(&on(&disk), SEGMENT_BYTES).unwrap();
    disk
}

/// Every kind of work, over several files: votes, entries small and larger than a file,
/// overwritten ones, hints, a snapshot made here and one received, and units merged.
fn history() -> Vec<Vec<Persist>> {
    let mut history = vec![vec![vote(1, 1, 0)]];
    for index in 1..=12 {
        history.push(vec![entries([entry(index, 1, 300)]), vote(1, 1, index - 1)]);
    }
    history.push(vec![Persist { must_sync: false, ..vote(1, 1, 12) }]);
    let local = Persist { snapshot: Some(snapshot(10, 1, 900)), ..entries([]) };
    history.push(vec![Persist { compact_to: Some(8), ..local }]);
    history.push(vec![entries([entry(13, 1, 200), entry(14, 1, 6000)])]);
    history.push(vec![vote(2, 2, 12), entries([entry(13, 2, 100)])]);
    history.push((14..=16).map(|index| entries([entry(index, 2, 700)])).collect());
    let received = Persist { snapshot: Some(snapshot(30, 3, 100)), ..vote(3, 3, 30) };
    history.push(vec![received, entries([entry(31, 3, 50)])]);
    for index in 32..=40 {
        history.push(vec![entries([entry(index, 3, 400)])]);
    }
    let local = Persist { snapshot: Some(snapshot(39, 3, 10)), ..entries([]) };
    history.push(vec![Persist { compact_to: Some(35), ..local }]);
    // One received for a place where the log holds something else.
    let conflict = Persist { snapshot: Some(snapshot(40, 4, 10)), ..vote(4, 3, 40) };
    history.push(vec![entries([entry(41, 3, 100)])]);
    history.push(vec![conflict]);
    history.push(vec![entries([entry(41, 4, 100)])]);
    history.push(vec![vote(5, 1, 40)]);
    history
}

/// Persists until the first failure. Returns what must come back, and what may come back
/// instead: the same and the batch at hand.
fn run(storage: &mut Storage, model: &mut Model, history: &[Vec<Persist>]) -> Model {
    for batch in history {
        let mut next = model.clone();
        next.persist(batch);
        if let Err(error) = storage.persist(batch) {
            assert!(!matches!(error, StorageError::Impossible { .. }), "{error}");
            assert!(matches!(storage.persist(batch), Err(StorageError::Stopped)));
            return next;
        }
        *model = next;
    }
    model.clone()
}

fn check(disk: &FakeDisk, model: &Model, next: &Model, context: &str) {
    let (_, restored) = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(
        restored == model.restored || restored == next.restored,
        "{context}:\n{restored:#?}\nis neither\n{:#?}\nnor\n{:#?}",
        model.restored,
        next.restored
    );
    let unfinished = disk.list().unwrap().into_iter().find(|name| name.ends_with(".tmp"));
    assert_eq!(unfinished, None, "{context}");
}

#[test]
fn every_step_of_a_history_can_be_the_last() {
    let steps = {
        let disk = new_disk();
        let start = disk.steps();
        let (mut storage, _) = open(&disk).unwrap();
        run(&mut storage, &mut Model::default(), &history());
        disk.steps() - start
    };
    assert!(steps > 100, "{steps}");
    for failure in [Failure::PowerCut, Failure::LostFlush, Failure::Full] {
        for step in 1..=steps {
            let disk = new_disk();
            let mut model = Model::default();
            disk.fail_after(step, failure);
            let Ok((mut storage, _)) = open(&disk) else {
                check(&disk.after_kill(), &model, &model, "during the first start");
                continue;
            };
            let next = run(&mut storage, &mut model, &history());
            for seed in 0..8 {
                let context = format!("{failure:?} at step {step}, seed {seed}");
                let disk = disk.after_power_cut(&mut Dice(seed));
                check(&disk, &model, &next, &context);
            }
            // A restarted process sees the page cache. What it is given must be on the disk,
            // even if the kernel takes it for clean: so the power goes right after.
            let disk = disk.after_kill();
            let context = format!("{failure:?} at step {step}, killed");
            let (_, restored) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!([&model.restored, &next.restored].contains(&&restored), "{context}");
            let cut = disk.after_power_cut(&mut Dice(step));
            assert_eq!(open(&cut).unwrap().1, restored, "{context}, then power cut");
        }
    }
}

#[test]
fn a_crash_during_the_repair_is_repaired_in_the_same_way() {
    for torn_at in 1..400 {
        let disk = new_disk();
        let (mut storage, _) = open(&disk).unwrap();
        let mut model = Model::default();
        disk.fail_after(torn_at, Failure::PowerCut);
        let next = run(&mut storage, &mut model, &history());
        if next == model {
            return;
        }
        let torn = disk.after_power_cut(&mut Dice(torn_at));
        let restored = open(&torn.after_kill()).unwrap().1;
        for step in 1.. {
            let disk = torn.after_kill();
            disk.fail_after(step, Failure::PowerCut);
            let done = open(&disk).is_ok();
            let image = disk.after_power_cut(&mut Dice(step));
            let context = format!("torn at {torn_at}, repair cut at {step}");
            let (_, again) = open(&image).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(again, restored, "{context}");
            if done {
                break;
            }
        }
    }
    panic!("the history never ended");
}

#[test]
fn a_directory_is_made_whole_or_can_be_made_again() {
    for step in 1.. {
        let disk = FakeDisk::default();
        disk.fail_after(step, Failure::PowerCut);
        let done = create(&on(&disk), SEGMENT_BYTES).is_ok();
        for seed in 0..20 {
            let image = disk.after_power_cut(&mut Dice(seed));
            match read_identity(&image, "/fake".as_ref()).unwrap() {
                Some(found) => assert_eq!(found, identity()),
                None => create(&on(&image), SEGMENT_BYTES).unwrap(),
            }
            assert_eq!(open(&image).unwrap().1, Restored::default(), "step {step}, seed {seed}");
        }
        if done {
            return;
        }
    }
}

/// One unit of a random history, with numbers that are made to fit the state it meets.
#[derive(Clone, Debug)]
enum Step {
    Append {
        back: u64,
        count: u64,
        bytes: usize,
    },
    Vote {
        candidate: u64,
    },
    Hint,
    Compact {
        back: u64,
        keep: u64,
        bytes: usize,
    },
    Receive {
        ahead: u64,
    },
    /// A snapshot whose last entry is another one than the log holds there.
    Conflict {
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, 1u64..5, prop_oneof![4 => 0usize..300, 1 => 0usize..6000])
            .prop_map(|(back, count, bytes)| Step::Append { back, count, bytes }),
        2 => (0u64..4).prop_map(|candidate| Step::Vote { candidate }),
        2 => Just(Step::Hint),
        1 => (0u64..4, 0u64..4, 0usize..3000)
            .prop_map(|(back, keep, bytes)| Step::Compact { back, keep, bytes }),
        1 => (1u64..9).prop_map(|ahead| Step::Receive { ahead }),
        1 => (0u64..4).prop_map(|back| Step::Conflict { back }),
    ]
}

/// The unit of a step, as a right replica would ask for it.
fn unit(step: &Step, model: &Model) -> Persist {
    let known = model.hard_state;
    let last = model.last();
    match *step {
        Step::Append { back, count, bytes } => {
            // Nothing that a snapshot contains is ever overwritten.
            let first = (last + 1).saturating_sub(back).max(model.snapshot_index() + 1);
            let mut term = known.term;
            if first <= last {
                term += 1;
            }
            let hard_state = (term != known.term).then_some(HardState { term, ..known });
            let unit = entries((first..first + count).map(|index| entry(index, term, bytes)));
            Persist { hard_state, ..unit }
        }
        Step::Vote { candidate } => vote(known.term + 1, candidate, known.commit),
        Step::Hint => {
            let hard_state = Some(HardState { commit: known.commit + 1, ..known });
            Persist { hard_state, ..Persist::default() }
        }
        Step::Compact { back, keep, bytes } => {
            let index = last.saturating_sub(back);
            let entry = model.restored.entries.iter().find(|entry| entry.index == index);
            let Some(entry) = entry.filter(|entry| entry.index > model.snapshot_index()) else {
                return vote(known.term + 1, 1, known.commit);
            };
            let snapshot = Some(snapshot(index, entry.term, bytes));
            Persist { snapshot, compact_to: Some(index.saturating_sub(keep)), ..entries([]) }
        }
        Step::Receive { ahead } => receive(last + ahead, known.term + 1),
        Step::Conflict { back } => {
            receive(last.saturating_sub(back).max(model.snapshot_index() + 1), known.term + 1)
        }
    }
}

fn receive(index: u64, term: u64) -> Persist {
    Persist { snapshot: Some(snapshot(index, term, 200)), ..vote(term, 0, index) }
}

/// One life of the process: batches, then an end.
#[derive(Clone, Debug)]
struct Life {
    batches: Vec<Vec<Step>>,
    /// Which step fails, if the life is that long.
    end: u64,
    seed: u64,
    /// Only the process dies, not the machine.
    killed: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let batches = prop::collection::vec(prop::collection::vec(step(), 1..4), 1..25);
    (batches, 1u64..120, any::<u64>(), any::<bool>())
        .prop_map(|(batches, end, seed, killed)| Life { batches, end, seed, killed })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn acknowledged_work_survives_any_history_of_crashes(
        lives in prop::collection::vec(life(), 1..6)
    ) {
        let mut disk = new_disk();
        let mut model = Model::default();
        let mut next = model.clone();
        for life in lives {
            let (mut storage, restored) = open(&disk).unwrap();
            prop_assert!(
                restored == model.restored || restored == next.restored,
                "{restored:#?}\nis neither\n{:#?}\nnor\n{:#?}", model.restored, next.restored
            );
            model = Model { hard_state: restored.hard_state, restored };
            disk.fail_after(life.end, Failure::PowerCut);
            next = model.clone();
            for steps in &life.batches {
                let mut batch = Vec::new();
                for step in steps {
                    let mut so_far = model.clone();
                    so_far.persist(&batch);
                    batch.push(unit(step, &so_far));
                }
                next = model.clone();
                next.persist(&batch);
                if let Err(error) = storage.persist(&batch) {
                    prop_assert!(!matches!(error, StorageError::Impossible { .. }), "{error}");
                    break;
                }
                model = next.clone();
            }
            disk = match life.killed {
                true => disk.after_kill(),
                false => disk.after_power_cut(&mut Dice(life.seed)),
            };
        }
        let (_, restored) = open(&disk).unwrap();
        prop_assert!(restored == model.restored || restored == next.restored);
    }
}
