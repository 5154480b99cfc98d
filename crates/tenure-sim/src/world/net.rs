//! Hosts and the connections between them.
//!
//! A connection is two ordered ways. Like TCP it never loses, doubles or swaps what it carries
//! while it lives: a lost packet comes late, a cut only stalls. What is lost is lost with the
//! connection, and words can be swapped only between an old connection and its successor.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use crate::{
    clock::Clock,
    event::{Event, Happening, Item, Who},
    faults::Kind,
    world::MS,
};

pub(crate) struct Host {
    pub(crate) clock: Clock,
    /// Without power: its ends of connections are gone without a word.
    pub(crate) down: bool,
    pub(crate) suspended_until: u64,
    /// For how long it was suspended in all: what a clock that stands still meanwhile misses.
    pub(crate) slept: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Peers,
    Client,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) who: Who,
    pub(crate) life: u32,
    pub(crate) host: usize,
    pub(crate) open: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Way {
    queue: VecDeque<(u64, u64, Item)>,
    last_due: u64,
    armed: bool,
    heard: u64,
}

/// One connection; the first end dialled.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) line: Line,
    pub(crate) ends: [End; 2],
    ways: [Way; 2],
    /// Its last words lie in a buffer and are read later.
    held: bool,
}

/// How an end is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// What was sent still arrives, then the end.
    Finish,
    /// What was sent is lost; the end arrives.
    Reset,
    /// Nobody is told.
    Silent,
}

/// All hosts, cuts and connections.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) hosts: Vec<Host>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    next: u64,
    /// Cuts under way, by number: ordered pairs of hosts between which nothing passes.
    pub(crate) cuts: BTreeMap<u64, Vec<(usize, usize)>>,
    /// How many cuts lie on each way.
    blocked: BTreeMap<(usize, usize), u32>,
}

impl Net {
    pub(crate) fn blocked(&self, from: usize, to: usize) -> bool {
        from != to && !self.blocked.is_empty() && self.blocked.contains_key(&(from, to))
    }

    pub(crate) fn add_cut(&mut self, number: u64, pairs: Vec<(usize, usize)>) {
        for pair in &pairs {
            *self.blocked.entry(*pair).or_insert(0) += 1;
        }
        self.cuts.insert(number, pairs);
    }

    pub(crate) fn remove_cut(&mut self, number: u64) {
        for pair in self.cuts.remove(&number).unwrap_or_default() {
            if let Some(count) = self.blocked.get_mut(&pair) {
                *count -= 1;
                if *count == 0 {
                    self.blocked.remove(&pair);
                }
            }
        }
    }

    pub(crate) fn other(&self, conn: u64, who: Who) -> Option<&End> {
        let conn = self.conns.get(&conn)?;
        conn.ends.iter().find(|end| end.who != who)
    }

    pub(crate) fn side(&self, conn: u64, who: Who) -> Option<usize> {
        self.conns.get(&conn)?.ends.iter().position(|end| end.who == who)
    }
}

impl World {
    fn latency(&mut self, from: usize, to: usize) -> u64 {
        if from == to {
            return 20_000 + self.chance.below(40_000);
        }
        let (base, jitter) = (self.faults.latency_us, self.faults.jitter_us);
        let mut latency = base * 1000 + self.chance.below(jitter * 1000);
        if self.chance.permille(self.faults.loss) {
            self.counts.add(Kind::Loss);
            latency += 200 * MS;
        }
        if self.chance.permille(self.faults.spikes) {
            self.counts.add(Kind::Jitter);
            latency += self.chance.below(1500 * MS);
        }
        latency
    }

    /// Time for a question and its answer between two hosts.
    pub(crate) fn round_trip(&mut self, from: usize, to: usize) -> u64 {
        self.latency(from, to) + self.latency(to, from)
    }

    pub(crate) fn connect(&mut self, line: Line, dialler: Who, listener: Who) -> u64 {
        self.net.next += 1;
        let id = self.net.next;
        let end = |who: Who| End { who, life: self.life(who), host: self.host(who), open: true };
        let ends = [end(dialler), end(listener)];
        let way = || Way { heard: self.now, ..Way::default() };
        let conn = Conn { line, ends, ways: [way(), way()], held: false };
        self.net.conns.insert(id, conn);
        for who in [listener, dialler] {
            self.happen(who, self.life(who), Happening::Up { conn: id });
        }
        id
    }

    pub(crate) fn transmit(&mut self, from: Who, conn: u64, item: Item) {
        let Some(side) = self.net.side(conn, from) else { return };
        let Some(it) = self.net.conns.get(&conn) else { return };
        if !it.ends[side].open {
            return;
        }
        let (a, b) = (it.ends[side].host, it.ends[1 - side].host);
        let due = self.now + self.latency(a, b);
        self.enqueue(conn, side, due, item);
    }

    fn enqueue(&mut self, conn: u64, side: usize, due: u64, item: Item) {
        let now = self.now;
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let way = &mut it.ways[side];
        // Strictly later than what was sent before: one after the other.
        let due = due.max(way.last_due + 1);
        way.last_due = due;
        way.queue.push_back((now, due, item));
        if !way.armed {
            way.armed = true;
            self.queue.plan(due, Event::Arrive { conn, side });
        }
    }

    pub(crate) fn arrive(&mut self, conn: u64, side: usize) {
        let now = self.now;
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        it.ways[side].armed = false;
        let Some((_, due, _)) = it.ways[side].queue.front() else { return };
        if it.held {
            return;
        }
        if *due > now {
            it.ways[side].armed = true;
            self.queue.plan(*due, Event::Arrive { conn, side });
            return;
        }
        let (from, to) = (it.ends[side].host, it.ends[1 - side].host);
        if self.net.blocked(from, to) || self.net.hosts[to].down {
            return;
        }
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        if !it.ends[1 - side].open {
            // Nobody listens there: the kernel says so.
            it.ways[side].queue.clear();
            if it.ends[side].open {
                self.end_way(conn, 1 - side);
            } else {
                self.net.conns.remove(&conn);
            }
            return;
        }
        let Some((_, _, item)) = it.ways[side].queue.pop_front() else { return };
        it.ways[side].heard = now;
        let (who, life) = (it.ends[1 - side].who, it.ends[1 - side].life);
        let what = match item {
            Item::End => {
                it.ends[1 - side].open = false;
                it.ways[1 - side].queue.clear();
                if !it.ends[side].open {
                    self.net.conns.remove(&conn);
                }
                Happening::Down { conn }
            }
            item => Happening::Heard { conn, item },
        };
        self.rearm(conn, side);
        self.happen(who, life, what);
    }

    fn rearm(&mut self, conn: u64, side: usize) {
        let now = self.now;
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        let way = &mut it.ways[side];
        if let Some((_, due, _)) = way.queue.front()
            && !way.armed
        {
            way.armed = true;
            self.queue.plan((*due).max(now), Event::Arrive { conn, side });
        }
    }

    fn end_way(&mut self, conn: u64, side: usize) {
        let Some(it) = self.net.conns.get(&conn) else { return };
        let ended = |(_, _, item): &(u64, u64, Item)| matches!(item, Item::End);
        if it.ways[side].queue.back().is_some_and(ended) {
            return;
        }
        let (a, b) = (it.ends[side].host, it.ends[1 - side].host);
        let due = self.now + self.latency(a, b);
        self.enqueue(conn, side, due, Item::End);
    }

    /// One end closes. It is not told: whoever closes knows.
    pub(crate) fn close(&mut self, who: Who, conn: u64, how: Close) {
        let Some(side) = self.net.side(conn, who) else { return };
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        if !it.ends[side].open {
            return;
        }
        it.ends[side].open = false;
        it.ways[1 - side].queue.clear();
        if !it.ends[1 - side].open {
            self.net.conns.remove(&conn);
            return;
        }
        let waiting = it.ways[side].queue.len();
        if how != Close::Finish {
            it.ways[side].queue.clear();
        }
        if how == Close::Silent {
            return;
        }
        self.end_way(conn, side);
        if how == Close::Finish && waiting > 0 && !self.calm && self.chance.percent(30) {
            self.counts.add(Kind::Overtaken);
            if let Some(it) = self.net.conns.get_mut(&conn) {
                it.held = true;
            }
            let later = self.now + self.chance.below(1000 * MS);
            self.queue.plan(later, Event::Release(conn));
        }
    }

    pub(crate) fn release(&mut self, conn: u64) {
        if let Some(it) = self.net.conns.get_mut(&conn) {
            it.held = false;
        }
        self.rearm(conn, 0);
        self.rearm(conn, 1);
    }

    /// Everything that was stalled moves again, after the sender's kernel has noticed.
    pub(crate) fn unstall(&mut self) {
        let conns: Vec<u64> = self.net.conns.keys().copied().collect();
        for conn in conns {
            for side in [0, 1] {
                self.rearm(conn, side);
            }
        }
    }

    /// Gives up connections whose other end has been silent for too long.
    pub(crate) fn audit(&mut self) {
        let limit = 2 * self.setup.limit();
        let mut given_up = Vec::new();
        let conns: Vec<u64> = self.net.conns.keys().copied().collect();
        for id in conns {
            let Some(it) = self.net.conns.get(&id) else { continue };
            let (a, b) = (&it.ends[0], &it.ends[1]);
            let through = !self.net.blocked(a.host, b.host) && !self.net.blocked(b.host, a.host);
            let speaks = |end: &End| end.open && !self.is_paused(end.who);
            let talks = through && !it.held && speaks(a) && speaks(b);
            if talks && let Some(it) = self.net.conns.get_mut(&id) {
                // Both ends ask each other now and then whether they are there.
                (it.ways[0].heard, it.ways[1].heard) = (self.now, self.now);
            }
            let Some(it) = self.net.conns.get(&id) else { continue };
            for side in [0, 1] {
                let end = &it.ends[side];
                if !end.open || self.is_paused(end.who) {
                    continue;
                }
                let listens = (it.line == Line::Peers) == (side == 1);
                let silent = listens && it.ways[1 - side].heard + limit < self.now;
                let stuck =
                    it.ways[side].queue.front().is_some_and(|(sent, ..)| sent + limit < self.now);
                if silent || stuck {
                    given_up.push((id, end.who, end.life));
                }
            }
        }
        for (conn, who, life) in given_up {
            self.close(who, conn, Close::Reset);
            self.happen(who, life, Happening::Down { conn });
        }
        self.queue.plan(self.now + self.setup.limit() / 2, Event::Audit);
    }
}
