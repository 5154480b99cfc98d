//! Data directories that must not, or cannot, be used. Whatever is refused stays as it is: the
//! node starts again when the cause is gone.

use std::{
    fs,
    os::unix::{fs::FileExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tenure_core::{
    CandidateId, ElectionName, SessionId, Value,
    ledger::{Command as Ask, Outcome, Standing},
    timing::Ttl,
};
use tenure_quorum::client::{Client, ClientOptions, parse_url};
use tenure_replica::Wish;

use crate::support::{
    Cluster, DEMO,
    cluster::Plan,
    command::{Done, tenure},
    process::program,
};

/// Runs the command line of a node that is expected to end by itself.
fn refused(cluster: &Cluster, name: &str, change: impl FnOnce(&mut Vec<String>)) -> Done {
    let mut words = cluster.arguments(name);
    words.retain(|word| !word.starts_with("--die-with-parent"));
    change(&mut words);
    words.iter().fold(tenure(""), |call, word| call.arg(word)).run()
}

/// The same words with another value for one flag.
fn set<'a>(flag: &'a str, value: &'a str) -> impl FnOnce(&mut Vec<String>) + 'a {
    move |words| {
        words.retain(|word| !word.starts_with(&format!("{flag}=")));
        words.push(format!("{flag}={value}"));
    }
}

#[test]
fn the_directory_of_others_is_refused_and_left_alone() {
    let mut cluster = Plan::new(1).start();
    let token = cluster.leader().token;
    let dir = cluster.data_dir("n1").display().to_string();

    let in_use = refused(&cluster, "n1", |words| {
        set("--listen", &crate::support::ports::free_address())(words);
    });
    let pid = cluster.process("n1").pid().to_string();
    in_use.expect(4).explains(&[&dir, "in use", &pid]);
    cluster.terminate("n1", Signal::TERM);

    let other = refused(&cluster, "n1", |words| words.push(String::from("--cluster=other")));
    other.expect(4).explains(&[&dir, "belongs to cluster"]);

    let address = cluster.address("n1").to_owned();
    let name = refused(&cluster, "n1", |words| {
        set("--id", "n2")(words);
        set("--peers", &format!("n1={address},n2=127.0.0.1:1"))(words);
    });
    name.expect(4).explains(&[&dir, "belongs to"]);

    let file = cluster.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let not_one = refused(&cluster, "n1", set("--data-dir", &file.display().to_string()));
    not_one.expect(2).explains(&["is not a directory"]);

    cluster.start_node("n1");
    assert!(cluster.leader_after(token).token > token);
    assert_eq!(cluster.history()[0]["token"], token);
}

#[test]
fn a_directory_without_permission_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can run a node as somebody else");
        return;
    }
    let cluster = Plan::new(1).without_candidates().start();
    // Nobody may enter the directory of the test.
    let program_of_all = Path::new("/tmp").join(format!("tenure-e2e-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_tenure"), &program_of_all).unwrap();
    let output = Command::new(&program_of_all)
        .args(["node", "--id=n1", "--listen=127.0.0.1:0", "--data-dir"])
        .arg(cluster.path().join("private/n1"))
        .uid(65_534)
        .gid(65_534)
        .output();
    fs::remove_file(&program_of_all).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    crate::support::command::explains(&said, &["/private", "ermission"]);
}

fn log_file(cluster: &Cluster, name: &str) -> PathBuf {
    let files = fs::read_dir(cluster.data_dir(name)).unwrap();
    let mut logs: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("log-"))
        .collect();
    logs.sort();
    logs.swap_remove(0)
}

#[test]
fn a_flipped_bit_in_the_log_stops_the_node_and_is_found() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    for _ in 0..10 {
        cluster.tenure(&format!("resume {DEMO}")).ok();
    }
    let victim = cluster.another(&[&leader.id]);
    cluster.terminate(&victim, Signal::TERM);
    let path = log_file(&cluster, &victim);
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (at, file) = (used / 2, fs::File::options().write(true).open(&path).unwrap());
    file.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();

    cluster.spawn(&victim);
    let (code, said) = cluster.ended(&victim);
    assert_eq!(code, 125, "{said}");
    let message = said.lines().last().unwrap();
    for word in [
        path.to_str().unwrap(),
        "is damaged at byte",
        &format!("cluster remove {victim}"),
        "--join",
    ] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    let offset = message.split("damaged at byte ").nth(1).unwrap();
    let offset: usize =
        offset.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(offset <= at && at - offset < 64 << 10, "byte {at} was hit, {offset} is named");
    // The others do not need it, and the file is as it was.
    cluster.everybody_says(&leader);
    let mut damaged = whole.clone();
    damaged[at] ^= 0x10;
    assert!(fs::read(&path).unwrap() == damaged, "the damaged file was changed");

    file.write_all_at(&[whole[at]], at as u64).unwrap();
    cluster.start_node(&victim);
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_torn_tail_is_cut() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let victim = cluster.another(&[&leader.id]);
    cluster.kill(&victim);
    let path = log_file(&cluster, &victim);
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Of a batch that was under way, the second sector reached the disk and the first did not.
    const SECTOR: usize = 512;
    assert_eq!(used % SECTOR, 0, "batches fill whole sectors");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xAB; SECTOR], (used + SECTOR) as u64).unwrap();
    cluster.start_node(&victim);
    assert_eq!(cluster.leader(), leader);
    cluster.everybody_says(&leader);
}

#[test]
fn a_lost_identity_is_no_reason_to_begin_anew() {
    let mut cluster = Plan::new(3).start();
    let victim = cluster.another(&[&cluster.leader().id]);
    cluster.terminate(&victim, Signal::TERM);
    let identity = cluster.data_dir(&victim).join("identity.json");
    let kept = fs::read(&identity).unwrap();
    for (content, words) in [
        (None, ["identity.json", "gone"]),
        (Some(&b"{}"[..]), ["identity.json", "cannot be understood"]),
    ] {
        match content {
            None => fs::remove_file(&identity).unwrap(),
            Some(content) => fs::write(&identity, content).unwrap(),
        }
        refused(&cluster, &victim, |_| {}).expect(125).explains(&words);
    }
    fs::write(&identity, kept).unwrap();
    cluster.start_node(&victim);
    cluster.leader();
}

/// A small file system, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&at);
        assert!(mount.status().unwrap().success(), "cannot mount a tmpfs");
        Self(at)
    }

    /// Uses up all space that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        let block = [1; 4096];
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_one_node_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let quorum = cluster.another(&[&leader.id]);
    cluster.move_raft_leader(&quorum);
    let victim = cluster.another(&[&leader.id, &quorum]);
    cluster.terminate(&victim, Signal::TERM);
    let dir = cluster.data_dir(&victim);
    let kept = cluster.path().join("kept");
    fs::rename(&dir, &kept).unwrap();
    fs::create_dir(&dir).unwrap();
    let disk = SmallDisk::mount(dir.clone());
    for file in fs::read_dir(&kept).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), dir.join(file.file_name())).unwrap();
        }
    }
    cluster.start_node(&victim);
    assert_eq!(cluster.leader(), leader);
    disk.fill();
    let mark = cluster.journal.mark();
    write_much(&cluster);
    let (code, said) = cluster.ended(&victim);
    assert_eq!(code, 125, "{said}");
    let message = said.lines().last().unwrap();
    for word in ["disk full", dir.to_str().unwrap(), "nothing acknowledged was lost", "free space"]
    {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    // Nor does it start while the disk is full, or it starts and stops again.
    cluster.everybody_says(&leader);
    disk.free();
    cluster.start_node(&victim);
    assert_eq!(cluster.leader(), leader);
    let lines = cluster.journal.lines();
    let noticed = lines[mark..].iter().find(|line| line.is("lost", DEMO));
    assert!(noticed.is_none(), "{noticed:?}");
    let elections = |name: &str| {
        let done = cluster.tenure_at(name, "ls bulk/ --json").ok();
        done.json().as_array().unwrap().len()
    };
    assert_eq!(elections(&victim), elections(&quorum));
    drop(cluster);
}

/// More than all logs can hold in the space that they have.
fn write_much(cluster: &Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoints = parse_url(&cluster.url()).unwrap();
        let client = Client::connect(endpoints, ClientOptions::default()).await.unwrap();
        let session = SessionId { process: client.process(), number: 1 };
        let ttl = Ttl::new(std::time::Duration::from_secs(60)).unwrap();
        let open = Ask::OpenSession { session, ttl, supersedes: None };
        assert_eq!(client.wish(Wish::Command(open)).await.unwrap(), Outcome::Done);
        for number in 0..400 {
            let command = Ask::Campaign {
                session,
                election: ElectionName::new(format!("bulk/{number}")).unwrap(),
                candidate: CandidateId::new("bulk").unwrap(),
                value: Value::new("x".repeat(Value::MAX_BYTES)).unwrap(),
                standing: Standing::default(),
            };
            let outcome = client.wish(Wish::Command(command)).await.unwrap();
            assert!(matches!(outcome, Outcome::Leading { .. }), "{outcome:?}");
        }
    });
}

#[test]
fn a_node_on_a_disk_without_space_says_so_at_once() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    let root = tempfile::Builder::new().prefix("tnr").tempdir().unwrap();
    let disk = SmallDisk::mount(root.path().to_owned());
    disk.fill();
    let words = format!("node --id n1 --listen 127.0.0.1:0 --data-dir {}/n1", disk.0.display());
    tenure(&words).run().expect(125).explains(&["disk full", "free space"]);
    disk.free();
    let mut command = program();
    command.args(words.split_whitespace()).arg("--json");
    let journal = std::sync::Arc::default();
    let said = std::env::temp_dir().join(format!("tenure-e2e-{}.log", std::process::id()));
    let node = crate::support::process::Process::start("n1", command, &said, &journal);
    journal.wait(0, "start", |line| line.event == "node_started");
    drop(node);
    fs::remove_file(said).unwrap();
}
