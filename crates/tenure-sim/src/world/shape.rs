//! Shapes of partitions, as ordered pairs of hosts between which nothing passes.

use super::{MS, World};
use crate::{event::Event, faults::Kind};

/// Added to a cut's number: the part of it that comes and goes.
const FLAPPING: u64 = 1 << 32;

type Pairs = Vec<(usize, usize)>;

fn both(pairs: impl IntoIterator<Item = (usize, usize)>) -> Pairs {
    pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// Every pair of these hosts once.
fn all_pairs(hosts: &[usize]) -> Pairs {
    let pairs = hosts.iter().enumerate().flat_map(|(i, a)| hosts[i + 1..].iter().map(|b| (*a, *b)));
    pairs.collect()
}

/// Only neighbours in the order given reach each other.
pub(crate) fn chain(hosts: &[usize]) -> Pairs {
    let near = |a: &usize, b: &usize| {
        let place = |host: &usize| hosts.iter().position(|h| h == host).unwrap_or(0);
        place(a).abs_diff(place(b)) == 1
    };
    both(all_pairs(hosts).into_iter().filter(|(a, b)| !near(a, b)))
}

/// Only the first reaches the others.
pub(crate) fn star(hosts: &[usize]) -> Pairs {
    both(all_pairs(hosts).into_iter().filter(|(a, b)| *a != hosts[0] && *b != hosts[0]))
}

/// The first is cut off from the others.
pub(crate) fn isolated(hosts: &[usize]) -> Pairs {
    both(hosts[1..].iter().map(|other| (hosts[0], *other)))
}

/// The first hears nobody.
pub(crate) fn deaf(hosts: &[usize]) -> Pairs {
    hosts[1..].iter().map(|other| (*other, hosts[0])).collect()
}

impl World {
    fn node_hosts(&self) -> Vec<usize> {
        let mut hosts: Vec<usize> = self.nodes.iter().map(|node| node.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    fn shuffled(&mut self, mut hosts: Vec<usize>) -> Vec<usize> {
        for at in (1..hosts.len()).rev() {
            let other = self.chance.index(at + 1);
            hosts.swap(at, other);
        }
        hosts
    }

    pub(crate) fn partition(&mut self, kind: Kind) {
        // Mostly between nodes; some shapes take the candidates' hosts in.
        let everybody = self.chance.percent(30);
        let hosts = match everybody {
            true => (0..self.net.hosts.len()).collect(),
            false => self.node_hosts(),
        };
        let hosts = self.shuffled(hosts);
        if hosts.len() < 2 {
            return;
        }
        let pairs = match kind {
            Kind::Cut => both([(hosts[0], hosts[1])]),
            Kind::OneWay | Kind::Flapping => vec![(hosts[0], hosts[1])],
            Kind::Deaf => deaf(&hosts),
            Kind::Isolated => isolated(&hosts),
            Kind::Halves => {
                let at = 1 + self.chance.index(hosts.len() - 1);
                let (one, other) = hosts.split_at(at);
                both(one.iter().flat_map(|a| other.iter().map(|b| (*a, *b))))
            }
            Kind::Chained => chain(&hosts),
            Kind::Star => star(&hosts),
            _ => return,
        };
        if pairs.is_empty() {
            return;
        }
        self.counts.add(kind);
        let number = self.cut(pairs);
        let wait = 50 * MS + self.chance.pick(&[300, 1500, 5000]) * MS;
        let lasts = 50 * MS + self.chance.below(wait);
        self.after(lasts, Event::Mend(number));
        if kind == Kind::Flapping {
            self.after(30 * MS, Event::Flap(number));
        }
    }

    pub(crate) fn cut(&mut self, pairs: Pairs) -> u64 {
        self.cuts += 1;
        let number = self.cuts;
        self.trace.line(self.now, || format!("cut {number}: {pairs:?}"));
        self.net.add_cut(number, pairs);
        number
    }

    pub(crate) fn mend(&mut self, number: u64) {
        self.trace.line(self.now, || format!("cut {number} is mended"));
        self.net.remove_cut(number);
        self.net.remove_cut(number + FLAPPING);
        self.unstall();
    }

    /// A flapping link goes down or up, in both directions.
    pub(crate) fn flap(&mut self, number: u64) {
        let Some(pairs) = self.net.cuts.get(&number).cloned() else { return };
        let flapping = number + FLAPPING;
        if self.calm {
            return;
        }
        match self.net.cuts.contains_key(&flapping) {
            true => self.net.remove_cut(flapping),
            false => self.net.add_cut(flapping, both(pairs)),
        }
        self.unstall();
        let wait = 10 * MS + self.chance.below(100 * MS);
        self.after(wait, Event::Flap(number));
    }
}
