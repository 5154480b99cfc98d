//! `tenure dev`: a local cluster, and other terminals that use it.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    dev::Dev,
    process::{Other, program, wait},
    tenure,
};

/// What a `dev` command that changed the leader says, checked for sense.
fn next_leader(dev: &Dev, words: &str, before: &(String, u64)) -> (String, u64) {
    let answer = dev.tenure(&format!("{words} --json")).ok().json();
    let leader = &answer["leader"];
    let after = (leader["id"].as_str().unwrap().to_owned(), leader["token"].as_u64().unwrap());
    assert_ne!(after.0, before.0, "{answer}");
    assert!(after.1 > before.1, "{answer}");
    let (took, all) = (answer["took_ms"].as_f64().unwrap(), answer["all_ms"].as_f64().unwrap());
    assert!(0.0 < took && took <= all, "{answer}");
    assert_eq!(dev.leader(), after);
    after
}

fn state_of(status: &Value, name: &str) -> String {
    let nodes = status["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["node"] == name);
    node.and_then(|node| node["state"].as_str()).unwrap_or("gone").to_owned()
}

#[test]
fn a_newcomer_plays_with_everything() {
    let mut dev = Dev::start("--ttl 1s");
    let status = dev.status();
    assert_eq!((&status["election"], &status["ttl_ms"]), (&"demo".into(), &1000.into()));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 5);
    assert_eq!(status["pid"], dev.process.pid());

    // From another terminal, without an address.
    let leader = dev.leader();
    let all = dev.tenure("leader demo --all --json").ok().json();
    let words = all.as_array().unwrap();
    assert_eq!(words.len(), 5, "{all}");
    assert!(words.iter().all(|word| word["leader"]["token"] == leader.1), "{all}");
    assert_eq!(dev.tenure("leader demo -q").ok().out.trim(), leader.0);

    dev.about_to_strike(&leader.0);
    let killed = leader.0.clone();
    let leader = next_leader(&dev, "dev kill leader", &leader);
    assert_eq!(state_of(&dev.status(), &killed), "down");
    dev.tenure(&format!("dev kill {killed}")).run().expect(4).explains(&["does not run"]);
    dev.tenure(&format!("dev restart {killed}")).ok();
    assert_eq!(state_of(&dev.status(), &killed), "running");

    let quorum = dev.quorum_leader();
    dev.about_to_strike(&quorum);
    let answer = dev.tenure("dev kill quorum-leader --json").ok().json();
    assert_eq!(answer["node"], quorum.as_str(), "{answer}");
    assert!(answer["quorum_ms"].as_f64().unwrap() > 0.0, "{answer}");
    assert_ne!(dev.quorum_leader(), quorum);
    let leader = if quorum == leader.0 { dev.leader() } else { leader };
    assert_eq!(dev.leader(), leader);
    dev.tenure(&format!("dev restart {quorum}")).ok();

    dev.about_to_strike(&leader.0);
    let paused = leader.0.clone();
    let leader = next_leader(&dev, "dev pause leader", &leader);
    assert_eq!(state_of(&dev.status(), &paused), "paused");
    dev.tenure(&format!("dev resume {paused}")).ok();
    assert_eq!(state_of(&dev.status(), &paused), "running");

    let leader = next_leader(&dev, "dev resign", &leader);
    let to = dev.pids().into_iter().find(|(name, _)| *name != leader.0).unwrap().0;
    let leader = next_leader(&dev, &format!("dev transfer --to {to}"), &leader);
    assert_eq!(leader.0, to);

    let added = dev.tenure("dev add --json").ok().json();
    assert_eq!(added["node"], "n6", "{added}");
    assert_eq!(dev.tenure("leader demo --all --json").ok().json().as_array().unwrap().len(), 6);

    let gone = Other::new(dev.pid_of(&leader.0));
    let removed = leader.0.clone();
    let leader = next_leader(&dev, &format!("dev remove {removed}"), &leader);
    gone.ends();
    assert_eq!(state_of(&dev.status(), &removed), "gone");
    dev.tenure(&format!("dev kill {removed}")).run().expect(6).explains(&[&removed]);
    assert_eq!(dev.leader(), leader);

    let nodes: Vec<_> = dev.pids().into_iter().map(|(_, pid)| Other::new(pid)).collect();
    assert_eq!(nodes.len(), 5);
    dev.tenure("dev down").ok();
    assert_eq!(dev.process.exit_code(), 0);
    assert!(nodes.iter().all(|node| !node.runs()), "a node survives `down`");
    dev.tenure("dev status").run().expect(6).explains(&["tenure dev"]);
    dev.tenure("leader demo").run().expect(3).explains(&["not running", "tenure dev"]);
}

#[test]
fn the_cluster_goes_on_where_it_was() {
    let mut dev = Dev::start("--nodes 3 --ttl 1s");
    let before = dev.leader();
    let nodes = dev.about_to_end();
    dev.process.ask_to_stop(Signal::INT);
    assert_eq!(dev.process.exit_code(), 130);
    assert!(nodes.iter().all(|node| !node.runs()), "a node survives ctrl-C");
    dev.again("");
    let after = dev.leader();
    assert!(after.1 > before.1, "{after:?} follows {before:?}");
    let history = dev.tenure("history demo --json").ok().json_lines();
    assert!(history.iter().any(|past| past["token"] == before.1), "{history:?}");
    assert_eq!(dev.pids().len(), 3);
}

#[test]
fn no_node_survives_the_death_of_its_supervisor() {
    let mut dev = Dev::start("--nodes 3 --ttl 1s");
    let before = dev.leader();
    let nodes = dev.about_to_end();
    // One that is stopped cannot end by its own doing.
    let (paused, _) = dev.pids().into_iter().find(|(name, _)| *name != before.0).unwrap();
    dev.tenure(&format!("dev pause {paused}")).ok();
    dev.process.kill();
    nodes.iter().for_each(Other::ends);
    dev.again("");
    assert!(dev.leader().1 > before.1);
}

#[test]
fn one_supervisor_per_directory() {
    let dev = Dev::start("--nodes 1 --ttl 1s");
    let pid = dev.process.pid().to_string();
    let second = dev.tenure("dev --json").run().expect(4);
    let said: Value = serde_json::from_str(second.err.trim()).unwrap();
    assert!(said["why"].as_str().unwrap().contains(&pid), "{said}");
    let second = dev.tenure("dev").run().expect(4);
    second.explains(&["runs already", &pid, "tenure dev status"]);
    dev.tenure("dev status").ok();
    dev.tenure("leader demo").ok();
}

#[test]
fn without_a_directory_all_commands_find_the_same_one() {
    let _permit = crate::support::gate::Permit::take();
    let home = tempfile::Builder::new().prefix("tnr").tempdir().unwrap();
    let mut command = program();
    command.args(["dev", "--nodes", "1"]).env("XDG_RUNTIME_DIR", home.path());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    let ready = lines.find(|line| line.contains("ready: n1 leads with token"));
    assert!(ready.is_some(), "a person is told when the cluster is ready");
    let here = |words: &str| tenure(words).env("XDG_RUNTIME_DIR", home.path());
    here("leader demo").ok();
    here("dev status").ok();
    here("dev down").ok();
    drop(lines);
    let status = wait(&mut child, crate::support::PATIENCE).expect("its end");
    assert_eq!(status.code(), Some(0));
    tenure("leader demo").run().expect(3).explains(&["no cluster found", "tenure dev", "--url"]);
}

#[test]
fn too_many_deaths_are_explained() {
    let dev = Dev::start("--nodes 3 --ttl 1s");
    let leader = dev.leader();
    let quiet = |name: &str| {
        dev.about_to_strike(name);
        dev.tenure(&format!("dev kill {name} --json")).ok().json()
    };
    let others: Vec<_> = dev.pids().into_iter().filter(|(name, _)| *name != leader.0).collect();
    let mark = dev.journal.mark();
    quiet(&others[0].0);
    quiet(&others[1].0);
    let status = dev.journal.wait(mark, "view without a quorum", |line| {
        line.node == leader.0 && line.event == "view" && line.text("reason").contains("1 of 3")
    });
    assert_eq!(status.text("view"), "unknown");
    dev.tenure("leader demo --all").run().expect(3);
    let answer = quiet(&leader.0);
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("no new leader")), "{answer}");
    dev.tenure("dev kill leader").run().expect(1).explains(&["tenure dev status"]);
    for (name, _) in &others {
        dev.tenure(&format!("dev restart {name} --json")).run();
    }
    // Without proof the dead leader's lease counts; then somebody who lives is next.
    let elected = dev.journal.wait(mark, "leader after the restart", |line| {
        line.event == "elected" && line.number("token") > leader.1
    });
    assert_ne!(elected.node, leader.0);
}

#[test]
fn mistakes_are_explained_and_change_nothing() {
    let dev = Dev::start("--nodes 1 --ttl 1s");
    let before = dev.leader();
    dev.tenure("dev kill n9").run().expect(6).explains(&["n9", "n1"]);
    dev.tenure("dev kill n1 n1").run().expect(2);
    dev.tenure("dev kill n!").run().expect(2).explains(&["n!"]);
    dev.tenure("dev remove 1").run().expect(4).explains(&["n1"]);
    dev.tenure("dev --nodes 3 status").run().expect(2).explains(&["tenure dev add"]);
    dev.tenure("dev frobnicate").run().expect(2).explains(&["frobnicate"]);
    dev.tenure("dev resign").run().expect(1).explains(&["tenure campaign"]);
    assert_eq!(dev.leader(), before);
}
