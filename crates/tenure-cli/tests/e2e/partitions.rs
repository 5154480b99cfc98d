//! Links that are cut while all processes live.
//!
//! Bounds are counted in election timeouts: `consensus.md`, section 4, measured less than one
//! for every shape in which one voter still reaches all others, because the others pass its
//! frames on, and two to three where a leader must first notice that it hears nobody.

use std::time::{Duration, Instant};

use crate::support::{Cluster, DEMO, Leader, cluster::Plan, journal::now};

/// How long a cut lasts at least: longer than any lease that was held when it began.
const LEASES: u32 = 3;
/// Election timeouts without an answer that are allowed where nobody has to be replaced. The
/// rest above the measured one is for a busy machine.
const DETOUR: u32 = 3;
/// The same where the leader of the quorum has to be replaced.
const REPLACED: u32 = 10;

struct World {
    cluster: Cluster,
    leader: Leader,
    /// The leader of the quorum.
    quorum: String,
}

/// `nodes` nodes whose links can be cut; the election and the quorum are led by these.
fn world(nodes: usize, leader: &str, quorum: &str) -> World {
    let cluster = Plan::new(nodes).with_links().start();
    cluster.move_raft_leader(quorum);
    let token = cluster.move_leader(leader);
    let leader = Leader { id: leader.to_owned(), token };
    World { cluster, leader, quorum: quorum.to_owned() }
}

impl World {
    fn links(&self) -> &crate::support::proxy::Links {
        self.cluster.links.as_ref().unwrap()
    }

    /// Asks every node of these again and again, until any lease from before has run out. Each
    /// answer needs a quorum round by way of that very node. Gives the longest wait for one.
    fn asks_all(&self, nodes: &[String]) -> Duration {
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        while begun.elapsed() < self.cluster.ttl() * LEASES {
            for node in nodes {
                let asked = Instant::now();
                self.cluster.tenure_at(node, &format!("resume {DEMO}")).ok();
                longest = longest.max(asked.elapsed());
            }
        }
        longest
    }

    /// Nobody lost anything since the journal had this length, and all show the same as before.
    fn nothing_changed_since(&self, mark: usize) {
        let lines = self.cluster.journal.lines();
        let changed = |event| lines[mark..].iter().find(|line| line.is(event, DEMO));
        assert!(changed("lost").is_none(), "{:?}", changed("lost"));
        assert!(changed("elected").is_none(), "{:?}", changed("elected"));
        assert_eq!(self.cluster.leader(), self.leader);
    }

    /// The longest time for which a live node did not know who leads, since then.
    fn longest_ignorance_since(&self, mark: usize) -> Duration {
        let lines = self.cluster.journal.lines();
        let mut longest = 0;
        for (at, line) in lines.iter().enumerate().skip(mark) {
            if line.is("view", DEMO) && line.text("view") == "unknown" {
                let known = lines[at..].iter().find(|next| {
                    next.run == line.run && next.is("view", DEMO) && next.text("view") != "unknown"
                });
                longest = longest.max(known.map_or_else(now, |next| next.mono_ns) - line.mono_ns);
            }
        }
        Duration::from_nanos(longest)
    }

    fn leaders_of_the_quorum_since(&self, mark: usize) -> usize {
        let lines = self.cluster.journal.lines();
        lines[mark..].iter().filter(|line| line.event == "quorum_leader").count()
    }

    fn within(&self, longest: Duration, timeouts: u32, what: &str) {
        let limit = self.cluster.election_timeout() * timeouts;
        println!("{what}: {longest:?} of {limit:?}");
        assert!(longest <= limit, "{what}: {longest:?} of {limit:?}");
    }

    /// One voter or two lost some links, and nobody may notice.
    fn is_no_event(&self, mark: usize) {
        let longest = self.asks_all(&self.cluster.names());
        self.nothing_changed_since(mark);
        self.within(longest, DETOUR, "the longest wait for an answer");
        let ignorance = self.longest_ignorance_since(mark);
        self.within(ignorance, DETOUR, "the longest time without knowing");
        self.links().mend();
        self.asks_all(&self.cluster.names());
        self.nothing_changed_since(mark);
        // As a rule nobody is; on a busy machine a heartbeat may be late once.
        let replaced = self.leaders_of_the_quorum_since(mark);
        assert!(replaced <= 1, "the leader of the quorum was replaced {replaced} times");
        self.cluster.everybody_says(&self.leader);
    }

    /// Someone else leads, by the lease; then all links work again and all agree.
    fn is_succeeded(&self) -> Leader {
        let out = self.leader.id.as_str();
        let names = self.cluster.names();
        let rest: Vec<_> = names.into_iter().filter(|name| name != out).collect();
        let next = self.cluster.journal.wait(0, "successor", |line| {
            line.is("elected", DEMO) && line.number("token") > self.leader.token
        });
        let longest = self.asks_all(&rest);
        self.within(longest, REPLACED, "the longest wait for an answer");
        self.links().mend();
        let after = self.cluster.leader_after(self.leader.token);
        assert_eq!((&next.node, next.number("token")), (&after.id, after.token));
        let lost = self.cluster.journal.wait(0, "word of the old leader", |line| {
            line.is("lost", DEMO) && line.number("token") == self.leader.token
        });
        assert_eq!(lost.node, out);
        after
    }
}

#[test]
fn one_voter_that_reaches_all_others_is_enough() {
    let world = world(5, "n2", "n3");
    let mark = world.cluster.journal.mark();
    let names = world.cluster.names();
    for (at, a) in names.iter().enumerate() {
        for b in &names[at + 1..] {
            if a != "n1" && b != "n1" {
                world.links().cut(a, b);
            }
        }
    }
    world.is_no_event(mark);
}

#[test]
fn a_chain_of_three_with_the_leader_at_its_end_goes_on() {
    let world = world(3, "n1", "n3");
    let mark = world.cluster.journal.mark();
    world.links().cut("n1", "n3");
    world.is_no_event(mark);
}

#[test]
fn a_chain_of_three_with_the_leader_in_its_middle_goes_on() {
    let world = world(3, "n3", "n2");
    let mark = world.cluster.journal.mark();
    world.links().cut("n1", "n3");
    world.is_no_event(mark);
}

#[test]
fn a_link_that_works_one_way_only_is_no_event() {
    let world = world(3, "n1", "n2");
    let mark = world.cluster.journal.mark();
    world.links().cut_one_way("n2", "n1");
    world.is_no_event(mark);
    let mark = world.cluster.journal.mark();
    world.links().cut_one_way("n1", "n2");
    world.is_no_event(mark);
}

#[test]
fn a_voter_that_hears_nobody_disturbs_nobody() {
    let world = world(5, "n1", "n2");
    let mark = world.cluster.journal.mark();
    for name in world.cluster.names().iter().filter(|name| *name != "n5") {
        world.links().cut_one_way(name, "n5");
    }
    let rest: Vec<_> = world.cluster.names().into_iter().filter(|name| name != "n5").collect();
    let longest = world.asks_all(&rest);
    world.within(longest, DETOUR, "the longest wait for an answer");
    // It says itself that it does not know.
    let view = world.cluster.tenure_at("n5", &format!("leader {DEMO} --timeout 1s"));
    view.run().expect(3).explains(&["no quorum: 1 of 5"]);
    world.links().mend();
    world.nothing_changed_since(mark);
    let replaced = world.leaders_of_the_quorum_since(mark);
    assert!(replaced <= 1, "the leader of the quorum was replaced {replaced} times");
}

#[test]
fn a_leader_of_both_that_hears_nobody_is_replaced() {
    let world = world(5, "n1", "n1");
    for name in world.cluster.names().iter().filter(|name| *name != "n1") {
        world.links().cut_one_way(name, "n1");
    }
    world.is_succeeded();
}

#[test]
fn a_leader_of_both_that_nobody_hears_is_replaced() {
    let world = world(5, "n1", "n1");
    for name in world.cluster.names().iter().filter(|name| *name != "n1") {
        world.links().cut_one_way("n1", name);
    }
    world.is_succeeded();
}

#[test]
fn a_leader_in_a_minority_stops_before_the_majority_elects() {
    let world = world(5, "n1", "n1");
    for minority in ["n1", "n2"] {
        for majority in ["n3", "n4", "n5"] {
            world.links().cut(minority, majority);
        }
    }
    let next = world.cluster.journal.wait(0, "successor", |line| {
        line.is("elected", DEMO) && line.number("token") > world.leader.token
    });
    assert!(["n3", "n4", "n5"].contains(&next.node.as_str()), "{next:?}");
    for name in ["n1", "n2"] {
        let view = world.cluster.tenure_at(name, &format!("leader {DEMO} --timeout 1s"));
        view.run().expect(3).explains(&["no quorum: 2 of 5 voters reachable (n1, n2)"]);
    }
    world.links().mend();
    let after = world.cluster.leader_after(world.leader.token);
    assert_eq!(after.token, next.number("token"));
    world.cluster.everybody_says(&after);
}

#[test]
fn the_quorums_leader_alone_in_the_dark_is_no_affair_of_the_elections_leader() {
    let world = world(5, "n2", "n1");
    let mark = world.cluster.journal.mark();
    for name in world.cluster.names().iter().filter(|name| *name != "n1") {
        world.links().cut("n1", name);
    }
    let rest: Vec<_> = world.cluster.names().into_iter().filter(|name| name != "n1").collect();
    let longest = world.asks_all(&rest);
    world.within(longest, REPLACED, "the longest wait for an answer");
    world.links().mend();
    world.nothing_changed_since(mark);
    assert_ne!(world.cluster.raft_leader(), world.quorum);
}

#[test]
fn a_hub_that_slept_through_the_last_changes_is_no_obstacle() {
    let mut world = world(5, "n3", "n1");
    world.cluster.pause("n2");
    let rest: Vec<_> = world.cluster.live();
    for _ in 0..4 {
        for node in &rest {
            world.cluster.tenure_at(node, &format!("resume {DEMO}")).ok();
        }
    }
    let mark = world.cluster.journal.mark();
    // The quorum's leader is cut off, and the others reach each other through n2 only, which
    // may not lead them before it has caught up.
    for (a, b) in [("n3", "n4"), ("n3", "n5"), ("n4", "n5")] {
        world.links().cut(a, b);
    }
    for name in ["n2", "n3", "n4", "n5"] {
        world.links().cut("n1", name);
    }
    world.cluster.go_on("n2");
    let star: Vec<_> = world.cluster.names().into_iter().filter(|name| name != "n1").collect();
    let longest = world.asks_all(&star);
    world.within(longest, REPLACED, "the longest wait for an answer");
    world.links().mend();
    world.nothing_changed_since(mark);
}
