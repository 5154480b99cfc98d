//! Elections in a directory: no node, no daemon, the kernel's locks.

use std::{path::Path, sync::Arc, time::Duration};

use rustix::process::Signal;

use crate::support::{Candidate, DEMO, Pace, exclusivity, journal::Journal, tenure};

fn url(dir: &Path) -> String {
    format!("file://{}/locks", dir.display())
}

#[test]
fn a_killed_holder_is_succeeded_at_once_and_a_paused_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (url, journal) = (url(dir.path()), Arc::new(Journal::default()));
    let start = |id: &str| Candidate::start(id, &url, "--ttl 1s", dir.path(), &journal);
    let mut pace = Pace::of(Duration::from_secs(1));
    let mut holder = start("c0");
    let mut token = holder.says("elected").number("token");
    for round in 1..=3 {
        let waiting = start(&format!("c{round}"));
        waiting.says("waiting");
        let killed = holder.process.kill();
        let elected = waiting.says("elected");
        pace.add(killed, elected.mono_ns);
        assert!(elected.number("token") > token);
        token = elected.number("token");
        holder = waiting;
    }
    pace.judge();

    // A kernel lock does not run out: nobody leads beside a process that could go on.
    let mut waiting = start("c4");
    waiting.says("waiting");
    let mark = journal.mark();
    holder.process.signal(Signal::STOP);
    tenure(&format!("leader {DEMO}")).url(&url).run().expect(0);
    std::thread::sleep(Duration::from_secs(2));
    assert!(journal.lines()[mark..].iter().all(|line| line.event != "elected"));
    holder.process.signal(Signal::CONT);
    assert_eq!(holder.says_from(mark, "lost").number("token"), token);
    holder.process.kill();
    waiting.says_from(mark, "elected");
    waiting.process.ask_to_stop(Signal::TERM);
    assert_eq!(waiting.process.exit_code(), 0);
    exclusivity::check(&journal);
}

#[test]
fn a_directory_tells_who_leads_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (url, journal) = (url(dir.path()), Arc::new(Journal::default()));
    tenure(&format!("leader {DEMO}")).url(&url).run().expect(1);
    let holder = Candidate::start("c0", &url, "--ttl 1s --value here:1", dir.path(), &journal);
    let token = holder.says("elected").number("token");
    let shown = tenure(&format!("leader {DEMO} --json --wait 20s")).url(&url).ok().json();
    assert_eq!((&shown["leader"]["id"], &shown["leader"]["token"]), (&"c0".into(), &token.into()));
    assert_eq!(shown["leader"]["value"], "here:1");
    for words in ["ls", "status demo", "leader demo --all", "watch"] {
        tenure(words).url(&url).run().expect(2).explains(&["quorum of Tenure nodes"]);
    }
    let relative = tenure(&format!("leader {DEMO}")).url("file://locks").run().expect(2);
    relative.explains(&["full path", "file:///var/lock/jobs"]);
    let foreign = tenure(&format!("leader {DEMO}")).url("gopher://h").run().expect(2);
    foreign.explains(&["gopher", "file:///directory"]);
    let demands = format!("{url}?require=queue");
    let refused = tenure(&format!("leader {DEMO}")).url(&demands).run().expect(5);
    refused.explains(&["requires queue", "has no queue"]);
}
