//! Nodes come and go while elections go on.

use rustix::process::Signal;

use crate::support::{Cluster, DEMO, Pace, cluster::Plan};

/// No node gave up its view of the election since then, and the leader stayed.
fn nobody_noticed(cluster: &Cluster, mark: usize) {
    let lines = cluster.journal.lines();
    let noticed = lines[mark..].iter().find(|line| {
        line.is("lost", DEMO) || line.is("elected", DEMO) || line.text("view") == "vacant"
    });
    assert!(noticed.is_none(), "{noticed:?}");
}

fn remove(cluster: &Cluster, name: &str) {
    cluster.tenure(&format!("cluster remove {name} --yes")).ok();
}

/// A removed node ends by itself and says why.
fn ends(cluster: &mut Cluster, name: &str) {
    let (code, said) = cluster.ended(name);
    assert_eq!(code, 125, "{said}");
    let message = &said[said.rfind("{\"").unwrap_or(0)..];
    for word in [name, "removed from the cluster", "--join"] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert!(!cluster.members().contains_key(name));
}

#[test]
fn nodes_join_first_without_a_vote_and_then_with_one() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let mark = cluster.journal.mark();
    for name in ["n4", "n5", "n6"] {
        cluster.plan_node(name);
        cluster.start_node(name);
        assert_eq!(cluster.leader(), leader, "the new node shows the leader");
    }
    let joined = cluster
        .journal
        .wait(mark, "first role of n4", |line| line.node == "n4" && line.event == "role");
    assert_eq!(joined.text("role"), "learner", "no vote before it has caught up");
    cluster.becomes("n4", "voter");
    cluster.becomes("n5", "voter");
    // Five voters are enough.
    assert_eq!(cluster.members()["n6"], "member");
    nobody_noticed(&cluster, mark);
    cluster.everybody_says(&leader);
    // The new votes count, and so does the new candidate.
    let dead: Vec<_> = ["n1", "n2", "n3"].iter().map(|name| (*name).to_owned()).collect();
    let (last, dead) = dead.split_last().unwrap();
    cluster.kill_all(dead);
    cluster.contends("n6");
    let token = cluster.move_leader("n6");
    cluster.everybody_says(&crate::support::Leader { id: String::from("n6"), token });
    cluster.kill(last);
    cluster.all_show("unknown");
}

#[test]
fn a_member_gets_the_vote_of_a_voter_that_leaves() {
    let mut cluster = Plan::new(3).with("--voters=3").start();
    cluster.plan_node("n4");
    cluster.start_node("n4");
    let leader = cluster.leader();
    assert_eq!(cluster.members()["n4"], "member");
    let voter = cluster.another(&[&leader.id, &cluster.raft_leader(), "n4"]);
    let mark = cluster.journal.mark();
    remove(&cluster, &voter);
    ends(&mut cluster, &voter);
    cluster.becomes("n4", "voter");
    nobody_noticed(&cluster, mark);
    cluster.everybody_says(&leader);
}

#[test]
fn the_leaders_node_may_be_removed() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    let other = cluster.another(&[&leader.id]);
    cluster.move_raft_leader(&other);
    cluster.leave_out(&leader.id);
    remove(&cluster, &leader.id);
    ends(&mut cluster, &leader.id);
    let next = cluster.leader_after(leader.token);
    assert_ne!(next.id, leader.id);
    let lost = cluster.journal.wait(0, "word of the removed leader", |line| {
        line.is("lost", DEMO) && line.number("token") == leader.token
    });
    // It cannot resign any more, but its process ends, and that is proof.
    Pace::of(cluster.ttl()).add(lost.mono_ns, cluster.elected(next.token).mono_ns);
    cluster.everybody_says(&next);
    assert_eq!(cluster.members().len(), 4);
}

#[test]
fn the_quorums_leader_may_be_removed() {
    let mut cluster = Plan::new(5).start();
    let leader = cluster.leader();
    let quorum = cluster.another(&[&leader.id]);
    cluster.move_raft_leader(&quorum);
    let mark = cluster.journal.mark();
    cluster.leave_out(&quorum);
    remove(&cluster, &quorum);
    ends(&mut cluster, &quorum);
    assert_ne!(cluster.raft_leader(), quorum);
    nobody_noticed(&cluster, mark);
    cluster.everybody_says(&leader);
}

#[test]
fn a_cluster_shrinks_to_one_and_grows_again() {
    let mut cluster = Plan::new(3).start();
    let mut token = cluster.leader().token;
    for name in ["n1", "n2"] {
        let before = cluster.leader();
        cluster.leave_out(name);
        remove(&cluster, name);
        ends(&mut cluster, name);
        let leader = match before.id == name {
            true => cluster.leader_after(before.token),
            false => cluster.leader(),
        };
        assert!(leader.token >= token);
        token = leader.token;
        cluster.everybody_says(&leader);
    }
    let last = cluster.tenure("cluster remove n3 --yes").run().expect(4);
    last.explains(&["n3", "last"]);
    for name in ["n4", "n5"] {
        cluster.plan_node(name);
        cluster.start_node(name);
        cluster.becomes(name, "voter");
    }
    cluster.contends("n5");
    assert!(cluster.move_leader("n5") > token);
    let killed = cluster.raft_leader();
    cluster.kill(&killed);
    cluster.tenure(&format!("pause {DEMO}")).ok();
}

#[test]
fn a_removed_node_that_was_away_is_refused_and_says_why() {
    let mut cluster = Plan::new(4).start();
    let away = cluster.another(&[&cluster.leader().id]);
    cluster.terminate(&away, Signal::TERM);
    remove(&cluster, &away);
    cluster.spawn(&away);
    ends(&mut cluster, &away);
}

#[test]
fn a_voter_with_an_emptied_directory_is_refused() {
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let lost = cluster.another(&[&leader.id]);
    cluster.kill(&lost);
    std::fs::remove_dir_all(cluster.data_dir(&lost)).unwrap();
    let mark = cluster.journal.mark();
    cluster.spawn(&lost);
    let (code, said) = cluster.ended(&lost);
    assert_eq!(code, 125, "{said}");
    let remedy = format!("cluster remove {lost}");
    // Whichever comes first: the others know its directory, and their leader knows its log.
    let reasons = ["another data directory", "lost acknowledged entries"];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    for word in ["must not vote", &remedy, "node --join"] {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    nobody_noticed(&cluster, mark);
    // The remedy works. The name may be used again, with a new number behind it.
    remove(&cluster, &lost);
    std::fs::remove_dir_all(cluster.data_dir(&lost)).unwrap();
    cluster.plan_node(&lost);
    cluster.start_node(&lost);
    cluster.becomes(&lost, "voter");
    assert_eq!(cluster.leader(), leader);
    cluster.everybody_says(&leader);
}

#[test]
fn a_second_process_with_the_name_of_a_member_is_refused() {
    let cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let mark = cluster.journal.mark();
    // A copy of its data directory elsewhere, while it runs.
    let copy = cluster.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(cluster.data_dir("n3")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    let mut words = cluster.arguments("n3");
    words.retain(|word| !word.starts_with("--data-dir") && !word.starts_with("--listen"));
    words.push(format!("--data-dir={}", copy.display()));
    words.push(format!("--listen={}", crate::support::ports::free_address()));
    let mut command = crate::support::process::program();
    command.args(words).arg("--json");
    let said = cluster.path().join("copy.log");
    let twin = crate::support::process::Process::start("twin", command, &said, &cluster.journal);
    let counted = || {
        let status = cluster.tenure_at("n1", "cluster status --json").ok().json();
        status["refused"]["duplicate_node"].as_u64().unwrap_or(0)
    };
    cluster.journal.wait_until("refusal of the twin", |_| (counted() > 0).then_some(()));
    drop(twin);
    nobody_noticed(&cluster, mark);
    cluster.everybody_says(&leader);
}

#[test]
fn a_name_or_an_address_that_is_taken_is_refused() {
    let mut cluster = Plan::new(3).start();
    let at = cluster.address("n2").to_owned();
    cluster.tenure(&format!("cluster add n2={at}")).run().expect(4).explains(&["n2"]);
    cluster.tenure("cluster add n9=127.0.0.1:1").ok();
    // Joining under a name that a live member has.
    let taken = cluster.path().join("taken");
    let words = format!("node --id n2 --data-dir {} --join {at}", taken.display());
    let refused = crate::support::tenure(&words)
        .arg(format!("--listen={}", crate::support::ports::free_address()))
        .run()
        .expect(4);
    refused.explains(&["n2", "tenure cluster status"]);
    let leader = cluster.leader();
    cluster.everybody_says(&leader);
    let next = cluster.another(&[&leader.id]);
    cluster.process(&next).signal(Signal::TERM);
    assert_eq!(cluster.ended(&next).0, 0);
}
