//! How a world begins.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tenure_core::{
    ElectionName, NodeId, NodeName,
    ledger::{Ledger, Members},
    timing::{Drift, Ttl},
};

use super::{
    MS, World,
    net::{Host, Net},
    node::Node,
    process::{Process, Role},
    resource::Resource,
};
use crate::{
    chance::Chance,
    clock::Clock,
    event::{Event, Schedule, Who},
    faults::{Counts, Faults},
    invariants::Law,
    mutant::Mutant,
    trace::Trace,
};

/// Sizes and settings of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) voters: usize,
    pub(crate) candidates: usize,
    pub(crate) observers: usize,
    pub(crate) elections: Vec<ElectionName>,
    pub(crate) ttl: Ttl,
    /// Bound on the clock rates, in parts per million, as everybody is told.
    pub(crate) drift_ppm: u32,
    pub(crate) heartbeat: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) patience: Duration,
    pub(crate) snapshot_every: u64,
    pub(crate) log_tail: u64,
    /// Share of processes that live on a node's host.
    pub(crate) together: u32,
    /// All nodes share one machine: no cuts between them, but proofs of death.
    pub(crate) one_machine: bool,
    /// For how long the faults last.
    pub(crate) storm: u64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn election(name: &str) -> ElectionName {
    ElectionName::new(name).expect("a name of letters")
}

pub(crate) fn node_name(number: usize) -> NodeName {
    NodeName::new(format!("n{number}")).expect("a name of letters")
}

impl Setup {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let heartbeat = Duration::from_millis(chance.pick(&[50, 50, 100]));
        let election_timeout = heartbeat * chance.pick(&[5, 10, 10]);
        let ttl_ms = chance.pick(&[100, 300, 1000, 1000, 3000]);
        let elections =
            ["x", "y"].into_iter().take(chance.pick(&[1, 2, 2])).map(election).collect();
        let rounds = chance.between(8, 14);
        Self {
            voters: chance.pick(&[1, 3, 3, 3, 3, 5, 5]),
            candidates: chance.pick(&[2, 3, 3, 4]),
            observers: 1,
            elections,
            ttl: Ttl::try_from(ttl_ms).expect("a ttl in range"),
            drift_ppm: chance.pick(&[1_000, 10_000, 10_000, 100_000]),
            heartbeat,
            election_timeout,
            patience: Duration::from_secs(chance.pick(&[2, 5])),
            snapshot_every: chance.pick(&[1, 5, 20, 100, 4096]),
            log_tail: chance.pick(&[0, 3, 512]),
            together: chance.pick(&[0, 500, 1000]),
            one_machine: chance.percent(10),
            storm: rounds * (ttl_ms * MS).max(1000 * MS),
        }
    }

    /// Three or five voters and candidates, nothing wrong.
    pub(crate) fn plain(voters: usize, candidates: usize) -> Self {
        Self {
            voters,
            candidates,
            observers: 1,
            elections: vec![election("x")],
            ttl: Ttl::try_from(1000).expect("a ttl in range"),
            drift_ppm: 10_000,
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
            patience: Duration::from_secs(5),
            snapshot_every: 4096,
            log_tail: 512,
            together: 0,
            one_machine: false,
            storm: 0,
        }
    }

    pub(crate) fn drift(&self) -> Drift {
        Drift::from_ppm(self.drift_ppm)
    }

    /// Silence after which the transport takes somebody for gone, in nanoseconds.
    pub(crate) fn limit(&self) -> u64 {
        nanos(self.election_timeout.max(self.heartbeat * 10))
    }

    pub(crate) fn ttl_ns(&self) -> u64 {
        nanos(self.ttl.get())
    }

    pub(crate) fn election_ns(&self) -> u64 {
        nanos(self.election_timeout)
    }
}

impl World {
    /// A world whose whole future follows from the seed.
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, readable: bool) -> Self {
        let mut chance = Chance::new(seed);
        let setup = Setup::draw(&mut chance);
        let faults = Faults::draw(&mut chance);
        let mut world = Self::build(chance, setup, faults, mutant, readable);
        world.after(world.setup.election_ns(), Event::Trouble);
        world.begin_retiming(seed);
        world
    }

    pub(crate) fn build(
        chance: Chance,
        setup: Setup,
        faults: Faults,
        mutant: Option<Mutant>,
        readable: bool,
    ) -> Self {
        let resources = setup.elections.iter().map(|name| (name.clone(), Resource::default()));
        let mut world = Self {
            chance,
            now: 1_000 * MS,
            queue: Schedule::default(),
            resources: resources.collect(),
            law: Law::new(faults.bad_clocks),
            setup,
            faults,
            counts: Counts::default(),
            calm: false,
            retimer: None,
            net: Net::default(),
            nodes: Vec::new(),
            processes: Vec::new(),
            mutant,
            trace: Trace::new(readable),
            incarnations: 0,
            cuts: 0,
            vacated: BTreeMap::new(),
            longest_failover: 0,
        };
        let founding = Members::founding(
            (1..=world.setup.voters).map(|n| (node_name(n), format!("10.0.0.{n}:1"))),
        );
        for (id, member) in founding.iter() {
            world.add_node(id, member.name.clone(), Some(Ledger::new(founding.clone())));
        }
        let roles = [
            (Role::Candidate, world.setup.candidates),
            (Role::Observer, world.setup.observers),
            (Role::Operator, 1),
        ];
        for (role, count) in roles {
            for _ in 0..count {
                world.add_process(role);
            }
        }
        world.after(world.setup.limit() / 2, Event::Audit);
        world
    }

    pub(crate) fn drawn_rate(&mut self) -> i64 {
        // The worst clocks are the likeliest; a little is left for rounding.
        let worst = i64::from(self.setup.drift_ppm) - 50;
        let any = i64::try_from(self.chance.below(self.setup.drift_ppm.into())).unwrap_or(0);
        self.chance.pick(&[-worst, worst, 0, any, -any])
    }

    pub(crate) fn add_host(&mut self) -> usize {
        let ppm = self.drawn_rate();
        let offset = self.chance.below(1 << 40);
        let wall = i64::try_from(self.chance.below(1 << 40)).unwrap_or(0);
        let clock = Clock::new(ppm.clamp(-900_000, 900_000), offset, wall);
        self.net.hosts.push(Host { clock, down: false, suspended_until: 0, slept: 0 });
        self.net.hosts.len() - 1
    }

    /// A new machine with an empty disk and a node on it. Without a founding ledger it joins.
    pub(crate) fn add_node(&mut self, id: NodeId, name: NodeName, founding: Option<Ledger>) {
        let shared = self.setup.one_machine && !self.nodes.is_empty();
        let host = if shared { self.nodes[0].host } else { self.add_host() };
        let directory = self.chance.next();
        self.place_node(id, name, founding, host, directory);
    }

    pub(crate) fn place_node(
        &mut self,
        id: NodeId,
        name: NodeName,
        founding: Option<Ledger>,
        host: usize,
        directory: u64,
    ) {
        let at = self.nodes.len();
        let known: BTreeSet<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        self.nodes.push(Node::new(id, name, host, directory, founding, known));
        let wait = self.chance.below(100 * MS);
        self.after(wait, Event::Start(Who::Node(at)));
    }

    fn add_process(&mut self, role: Role) {
        let shared = self.chance.permille(self.setup.together);
        let host = match shared {
            true => self.nodes[self.chance.index(self.nodes.len())].host,
            false => self.add_host(),
        };
        let at = self.processes.len();
        self.processes.push(Process::new(at, role, host, self.setup.ttl, self.setup.drift()));
        let wait = self.chance.below(500 * MS);
        self.after(wait, Event::Start(Who::Process(at)));
    }
}

impl Node {
    fn new(
        id: NodeId,
        name: NodeName,
        host: usize,
        directory: u64,
        founding: Option<Ledger>,
        acquaintances: BTreeSet<NodeId>,
    ) -> Self {
        Self {
            id,
            name,
            host,
            directory,
            founding,
            acquaintances,
            life: 0,
            replica: None,
            incarnation: tenure_core::Incarnation::from_random(0),
            disk: super::disk::Disk::default(),
            paused_until: 0,
            inbox: std::collections::VecDeque::new(),
            wakes_at: u64::MAX,
            peers: BTreeMap::new(),
            members: None,
            clients: BTreeMap::new(),
            expecting: BTreeMap::new(),
            known: false,
            unbelieved: BTreeSet::new(),
            retired: false,
            stop: None,
            spins: 0,
            leads: false,
        }
    }
}
