//! `tenure run` as a process of its own, and a witness of what its command does.

use std::{
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    DEMO, PATIENCE,
    cluster::Cluster,
    journal::{Journal, Line},
    process::{Process, program},
};

/// Settings under which a second is enough to lose a lease and stop a command inside it.
pub(crate) const FAST: &str = "--ttl 1s --stop-timeout 300ms --kill-margin 150ms";

/// A wrapper. Its events come on its standard output, between the lines of its command.
#[derive(Debug)]
pub(crate) struct Wrapper {
    pub(crate) process: Process,
    journal: Arc<Journal>,
}

impl Wrapper {
    /// Starts `tenure run` for the usual election; the command is a shell script.
    pub(crate) fn start(cluster: &Cluster, id: &str, more: &str, script: &str) -> Self {
        let words = format!("--url {} {FAST} {more}", cluster.url());
        Self::spawn(cluster.path(), &cluster.journal, id, DEMO, &words, script)
    }

    /// The same wherever the election is kept.
    pub(crate) fn spawn(
        dir: &Path,
        journal: &Arc<Journal>,
        id: &str,
        election: &str,
        words: &str,
        script: &str,
    ) -> Self {
        let mut command = program();
        command.args(["run", election, "--id", id, "--events-fd", "1"]);
        command.args(words.split_whitespace()).args(["--", "sh", "-c", script]);
        command.env("XDG_STATE_HOME", dir.join("state"));
        let process = Process::start(id, command, &dir.join(format!("{id}.log")), journal);
        Self { process, journal: journal.clone() }
    }

    /// Waits until it says this.
    #[track_caller]
    pub(crate) fn says(&self, event: &str) -> Line {
        self.says_from(0, event)
    }

    /// Waits until it says this from a place of the journal on.
    #[track_caller]
    pub(crate) fn says_from(&self, from: usize, event: &str) -> Line {
        let (name, run) = (&self.process.name, self.process.pid());
        let what = format!("{event:?} of {name}; it said {}", self.process.stderr());
        self.journal.wait(from, &what, |line| line.run == run && line.event == event)
    }

    /// Waits until its command has said this.
    #[track_caller]
    pub(crate) fn command_says(&self, text: &str) {
        let (name, run) = (self.process.name.clone(), self.process.pid());
        self.journal.wait(0, &format!("{text:?} of the command of {name}"), |line| {
            line.run == run && line.text("text") == text
        });
    }

    /// Its events so far.
    pub(crate) fn events(&self) -> Vec<Line> {
        let run = self.process.pid();
        self.journal.lines().into_iter().filter(|line| line.run == run).collect()
    }

    /// The process that holds the lease.
    #[track_caller]
    pub(crate) fn warden(&self) -> u32 {
        u32::try_from(self.says("campaigning").number("warden")).unwrap()
    }
}

/// What the commands of one election leave behind: a lock that the kernel gives up only when
/// the last of them, and the last descendant, is dead.
#[derive(Debug)]
pub(crate) struct Witness(PathBuf);

impl Witness {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// A script that is an overlap when another one, or a descendant of it, still runs.
    pub(crate) fn script(&self, rest: &str) -> String {
        let dir = self.0.display();
        format!(
            "exec 9>>{dir}/held; flock -n 9 || echo $TENURE_ID >>{dir}/overlaps\n\
             echo $TENURE_TOKEN >>{dir}/tokens\n{rest}"
        )
    }

    /// Two commands never ran at once, and tokens only went up.
    #[track_caller]
    pub(crate) fn saw_one_at_a_time(&self, starts: usize) {
        let read = |name: &str| std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        assert_eq!(read("overlaps"), "", "these started while another one was alive");
        let tokens: Vec<u64> = read("tokens").lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(tokens.len(), starts, "{tokens:?}");
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    }

    fn is_free(&self) -> bool {
        let file = File::options().create(true).append(true).open(self.0.join("held")).unwrap();
        flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Nothing of any command is alive at this moment.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        assert!(self.is_free(), "a descendant of a command is alive");
    }

    /// Nothing of any command stays alive.
    #[track_caller]
    pub(crate) fn nothing_stays(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_free() {
            assert!(Instant::now() < deadline, "a descendant of a command lives on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Ignores what asks it to stop, and so does a grandchild in a session of its own.
pub(crate) const STUBBORN: &str = "trap '' TERM INT HUP\n\
    setsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 0.05; done' &\n\
    echo runs; while :; do sleep 0.05; done";
/// Stops when it is asked to.
pub(crate) const MEEK: &str = "echo runs; exec sleep 1000";

/// Lets a script be run.
pub(crate) fn make_executable(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).unwrap();
}
