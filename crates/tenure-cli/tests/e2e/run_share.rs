//! `tenure run --partitions`: many elections, shared by those who are there.

use std::{fs, path::Path, sync::Arc};

use rustix::process::Signal;

use crate::support::{
    DEMO,
    gate::Permit,
    journal::Journal,
    process::program,
    wrapper::{FAST, MEEK, STUBBORN, Witness, Wrapper},
};

const PARTITIONS: usize = 4;

/// One witness for each partition, and the script for all of them.
struct Watch(Vec<Witness>, std::path::PathBuf);

impl Watch {
    fn new(dir: &Path) -> Self {
        let place = |partition: usize| dir.join(format!("p{partition}"));
        let witness = |partition: usize| {
            fs::create_dir(place(partition)).unwrap();
            Witness::new(&place(partition))
        };
        Self((0..PARTITIONS).map(witness).collect(), dir.to_owned())
    }

    fn script(&self, rest: &str) -> String {
        Witness::new(&self.1.join("p$TENURE_PARTITION")).script(rest)
    }

    /// Never two commands of one partition at once, and so many starts in all.
    #[track_caller]
    fn saw_one_at_a_time(&self, starts: usize) {
        let mut all = 0;
        for (partition, witness) in self.0.iter().enumerate() {
            let tokens = self.1.join(format!("p{partition}/tokens"));
            let own = fs::read_to_string(tokens).unwrap_or_default().lines().count();
            witness.saw_one_at_a_time(own);
            all += own;
        }
        assert_eq!(all, starts);
    }
}

#[track_caller]
fn runs(journal: &Journal, wrapper: &Wrapper, commands: usize) {
    let run = wrapper.process.pid();
    let what = format!("{commands} commands of {}", wrapper.process.name);
    journal.wait_until(&what, |lines| {
        let own = lines.iter().filter(|line| line.run == run && line.text("text") == "runs");
        (own.count() == commands).then_some(())
    });
}

#[test]
fn partitions_are_shared_and_move_as_instances_come_and_go() {
    let _permit = Permit::take();
    let dir = tempfile::tempdir().unwrap();
    let (journal, watch) = (Arc::<Journal>::default(), Watch::new(dir.path()));
    let start = |id: &str, script: &str| {
        let words = format!("{FAST} --partitions {PARTITIONS} --settle 200ms");
        Wrapper::spawn(dir.path(), &journal, id, DEMO, &words, &watch.script(script))
    };
    let mut first = start("w1", STUBBORN);
    runs(&journal, &first, 4);
    let mut second = start("w2", MEEK);
    runs(&journal, &second, 2);
    second.process.ask_to_stop(Signal::TERM);
    assert_eq!(second.process.exit_code(), 0, "{}", second.process.stderr());
    runs(&journal, &first, 6);
    // Nothing that it started stays, descendants that ignore signals neither.
    first.process.kill();
    watch.0.iter().for_each(Witness::nothing_stays);
    let third = start("w3", MEEK);
    runs(&journal, &third, 4);
    watch.saw_one_at_a_time(12);
    third.process.ask_to_stop(Signal::TERM);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let refused = |words: &str, said: &str| {
        let mut command = program();
        command.args(["run", DEMO]).args(words.split_whitespace()).args(["--", "true"]);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{words}: {text}");
    };
    refused("--partitions 0", "1..=4096");
    refused("--partitions 3 --slots 2", "--slots");
    refused("--weight 2", "--partitions");
    refused("--partitions 2 --peers a=127.0.0.1:1,b=127.0.0.1:2 --node-id a", "--peers");
}
