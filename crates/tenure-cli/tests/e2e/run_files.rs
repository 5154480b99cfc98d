//! `tenure run` on this machine alone: the kernel's lock lives as long as what runs under it.

use std::{path::Path, sync::Arc};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    DEMO, exclusivity,
    gate::Permit,
    journal::Journal,
    process::{Other, program},
    wrapper::{FAST, MEEK, STUBBORN, Witness, Wrapper},
};

struct Field {
    _permit: Permit,
    dir: TempDir,
    journal: Arc<Journal>,
    witness: Witness,
}

impl Field {
    fn new() -> Self {
        let (permit, dir) = (Permit::take(), tempfile::tempdir().unwrap());
        let witness = Witness::new(dir.path());
        Self { _permit: permit, dir, journal: Arc::default(), witness }
    }

    fn start(&self, id: &str, script: &str) -> Wrapper {
        let script = self.witness.script(script);
        Wrapper::spawn(self.path(), &self.journal, id, DEMO, FAST, &script)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Whether somebody who waits for a while gets the lock.
    fn lets_somebody_in(&self) -> bool {
        let mut command = program();
        command.args(["-q", "run", DEMO, "--wait", "700ms"]).args(FAST.split_whitespace());
        command.args(["--", "true"]).env("XDG_STATE_HOME", self.path().join("state"));
        command.status().unwrap().code() != Some(124)
    }

    #[track_caller]
    fn ends_well(&self, starts: usize) {
        self.witness.saw_one_at_a_time(starts);
        exclusivity::check(&self.journal);
    }
}

#[test]
fn the_lock_outlives_a_killed_warden_until_the_rest_is_dead() {
    let field = Field::new();
    let mut first = field.start("w1", STUBBORN);
    first.command_says("runs");
    let warden = Other::new(first.warden());
    field.journal.note("w1", first.process.pid(), "killed");
    // The one that has to kill the rest is kept from it.
    first.process.signal(Signal::STOP);
    warden.signal(Signal::KILL);
    warden.ends();
    let let_in = field.lets_somebody_in();
    first.process.signal(Signal::CONT);
    assert!(!let_in, "the lock was free before the rest was dead");
    assert_eq!(first.process.exit_code(), 121);
    let second = field.start("w2", MEEK);
    second.command_says("runs");
    field.ends_well(2);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn the_lock_outlives_both_for_as_long_as_a_descendant() {
    let field = Field::new();
    // It ends when it may, and with the directory of the test.
    let grandchild = "setsid sh -c 'while test -e tokens -a ! -e enough; do sleep 0.02; done' \
                      >/dev/null 2>&1 & echo runs; while :; do sleep 0.05; done";
    let first = field.start("w1", &format!("cd {}; {grandchild}", field.path().display()));
    first.command_says("runs");
    let warden = Other::new(first.warden());
    let waits = field.start("w2", MEEK);
    waits.says("campaigning");
    warden.signal(Signal::STOP);
    first.process.strike();
    warden.signal(Signal::KILL);
    warden.ends();
    let let_in = field.lets_somebody_in();
    std::fs::write(field.path().join("enough"), "").unwrap();
    assert!(!let_in, "the lock was free before the rest was dead");
    waits.command_says("runs");
    field.ends_well(2);
    waits.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_lock_file_that_is_deleted_lets_nobody_in_beside_the_holder() {
    let field = Field::new();
    let mut first = field.start("w1", MEEK);
    first.command_says("runs");
    let second = field.start("w2", MEEK);
    second.says("standby");
    let lock = field.path().join("state/tenure/elections/demo.lock");
    std::fs::remove_file(&lock).unwrap();
    assert_eq!(first.process.exit_code(), 120);
    second.command_says("runs");
    field.ends_well(2);
    second.process.ask_to_stop(Signal::TERM);
}

#[test]
fn a_front_that_sleeps_with_its_copy_does_not_keep_the_lock() {
    let field = Field::new();
    let mut first = field.start("w1", MEEK);
    first.command_says("runs");
    let second = field.start("w2", MEEK);
    second.says("campaigning");
    let child = u32::try_from(first.says("child_started").number("child")).unwrap();
    first.process.signal(Signal::STOP);
    Other::new(child).signal(Signal::TERM);
    second.command_says("runs");
    first.process.signal(Signal::CONT);
    assert_eq!(first.process.exit_code(), 143);
    field.ends_well(2);
    second.process.ask_to_stop(Signal::TERM);
}
