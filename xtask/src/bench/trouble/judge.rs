//! When leadership was available, by the journal of a run. Pure.
//!
//! An instant is *bad* when there is no valid leader, or when any live node shows another leader
//! than the valid one, or none. A leader is valid from its own word that it was elected until the
//! first of: its own word that this is over, its death, the end of its lease while it is paused. A
//! node is live while its process runs and is not paused; one that was started counts from the
//! first leader that it shows, at the latest [`Rules::joins_within`] after it listens. One that
//! goes on after a pause counts at once, with whatever it showed before (or, by the lenient rule,
//! once it shows the valid leader, at the latest [`Rules::wakes_within`] later).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::journal::{Entry, Shown, What};

/// What counts as bad.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Length of the leases, in nanoseconds.
    pub(super) ttl: u64,
    /// A node that listens counts after this, whatever it shows; nanoseconds.
    pub(super) joins_within: u64,
    /// Time that a node has after a pause until what it shows counts; nanoseconds.
    pub(super) wakes_within: u64,
}

/// A span of bad instants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Gap {
    /// Nanoseconds of the clock.
    pub(super) from: u64,
    pub(super) to: u64,
    /// For how much of it there was no valid leader, in nanoseconds.
    pub(super) leaderless: u64,
    /// Live nodes that did not show the valid leader while there was one, at the worst.
    pub(super) wrong: usize,
    /// One of them, and what it showed.
    pub(super) example: Option<String>,
    /// Live nodes then.
    pub(super) live: usize,
    /// The paused leader whose lease ended as it began.
    pub(super) lease_over: Option<String>,
}

impl Gap {
    /// Its length in nanoseconds.
    pub(super) fn length(&self) -> u64 {
        self.to - self.from
    }
}

/// What a run was.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// Length of all that was judged, in nanoseconds.
    pub(super) span: u64,
    pub(super) gaps: Vec<Gap>,
    /// Grants within it.
    pub(super) grants: usize,
    /// A grant while the one before was still valid, as far as its node's words tell.
    pub(super) overlaps: usize,
    /// A grant though the leader before was not killed, paused or asked to end.
    pub(super) unprovoked: usize,
    /// From the start of a process until it showed the valid leader, in nanoseconds.
    pub(super) joins: Vec<u64>,
    /// From the end of a pause until it showed the valid leader, in nanoseconds.
    pub(super) wakes: Vec<u64>,
}

impl Verdict {
    /// Share of time that was not bad.
    pub(super) fn availability(&self) -> f64 {
        share(self.span, self.gaps.iter().map(Gap::length).sum())
    }

    /// Share of time with a valid leader, whoever knew it.
    pub(super) fn led(&self) -> f64 {
        share(self.span, self.gaps.iter().map(|gap| gap.leaderless).sum())
    }
}

#[allow(clippy::cast_precision_loss)] // hours in nanoseconds are far below 2^53
fn share(span: u64, bad: u64) -> f64 {
    1.0 - bad as f64 / (span as f64).max(1.0)
}

/// A process as the judge sees it.
#[derive(Debug, Default)]
struct Node {
    /// Its process runs and was not asked to end.
    runs: bool,
    paused: bool,
    joined: bool,
    /// What it showed before a pause does not count yet.
    waking: bool,
    shows: Option<Shown>,
    begun: Option<u64>,
    woken: Option<u64>,
}

impl Node {
    fn counts(&self) -> bool {
        self.runs && !self.paused && self.joined && !self.waking
    }
}

/// What the clock alone brings about.
#[derive(Debug)]
enum Due {
    Counts,
    Awake,
    LeaseOver(u64),
}

#[derive(Debug)]
struct Holder {
    node: String,
    token: u64,
    valid: bool,
    /// Deadline by its last words.
    until: u64,
    /// Something was done to it that may end its tenure.
    provoked: bool,
}

struct Judge<'a> {
    rules: Rules,
    nodes: BTreeMap<&'a str, Node>,
    holder: Option<Holder>,
    /// By time, and by number where times are equal.
    due: BTreeMap<(u64, usize), (&'a str, Due)>,
    /// Live nodes that do not show the holder's token.
    wrong: BTreeSet<&'a str>,
    /// So that no two keys of `due` are the same.
    dues: usize,
    verdict: Verdict,
    open: Option<Gap>,
    /// Whose lease ended last while it was paused, and when.
    lease_over: Option<(String, u64)>,
}

/// Judges what happened between two moments; earlier entries say how it began.
pub(super) fn judge(entries: &[Entry], from: u64, to: u64, rules: Rules) -> Verdict {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.at);
    let mut judge = Judge {
        rules,
        nodes: BTreeMap::new(),
        holder: None,
        due: BTreeMap::new(),
        wrong: BTreeSet::new(),
        dues: 0,
        verdict: Verdict { span: to.saturating_sub(from), ..Verdict::default() },
        open: None,
        lease_over: None,
    };
    let mut clock = from;
    for entry in sorted.into_iter().take_while(|entry| entry.at <= to) {
        judge.let_time_pass(&mut clock, entry.at);
        judge.pass(&mut clock, entry.at);
        let counts = entry.at >= from;
        judge.take_in(entry, counts);
    }
    judge.let_time_pass(&mut clock, to);
    judge.pass(&mut clock, to);
    judge.verdict.gaps.extend(judge.open.take());
    judge.verdict
}

impl<'a> Judge<'a> {
    /// Whatever falls due up to a moment.
    fn let_time_pass(&mut self, clock: &mut u64, at: u64) {
        while let Some(first) = self.due.first_entry().filter(|it| it.key().0 <= at) {
            let ((when, _), (name, due)) = first.remove_entry();
            self.pass(clock, when);
            match due {
                Due::Counts => {
                    let node = self.nodes.entry(name).or_default();
                    node.joined |= node.runs;
                }
                Due::Awake => self.nodes.entry(name).or_default().waking = false,
                Due::LeaseOver(token) => {
                    let paused = self.nodes.get(name).is_some_and(|node| node.paused);
                    if let Some(holder) = &mut self.holder
                        && holder.token == token
                        && paused
                    {
                        holder.valid = false;
                        self.lease_over = Some((name.to_owned(), when));
                    }
                }
            }
            self.recount(name);
        }
    }

    /// The time until a moment was as things stand.
    fn pass(&mut self, clock: &mut u64, at: u64) {
        if at <= *clock {
            return;
        }
        let led = self.holder.as_ref().is_some_and(|holder| holder.valid);
        if led && self.wrong.is_empty() {
            self.verdict.gaps.extend(self.open.take());
        } else {
            let gap = self.open.get_or_insert(Gap {
                from: *clock,
                to: at,
                leaderless: 0,
                wrong: 0,
                example: None,
                live: 0,
                lease_over: self.lease_over.take_if(|(_, at)| *at == *clock).map(|(node, _)| node),
            });
            gap.to = at;
            gap.leaderless += if led { 0 } else { at - *clock };
            if led && self.wrong.len() > gap.wrong {
                gap.wrong = self.wrong.len();
                gap.live = self.nodes.values().filter(|node| node.counts()).count();
                let first = self.wrong.first();
                let shows = |name: &&str| self.nodes.get(*name).and_then(|it| it.shows.clone());
                gap.example = first.map(|name| format!("{name} {}", word(shows(name))));
            }
        }
        *clock = at;
    }

    fn due(&mut self, at: u64, node: &'a str, due: Due) {
        self.dues += 1;
        self.due.insert((at, self.dues), (node, due));
    }

    fn take_in(&mut self, entry: &'a Entry, counts: bool) {
        let (at, name) = (entry.at, entry.node.as_str());
        let rules = self.rules;
        let leads = self.holder.as_ref().is_some_and(|holder| holder.node == name);
        let strikes = matches!(
            entry.what,
            What::Killed | What::Paused | What::Asked | What::Ended | What::Begun
        );
        if let Some(holder) = self.holder.as_mut().filter(|_| leads) {
            holder.provoked |= strikes;
        }
        let node = self.nodes.entry(name).or_default();
        match &entry.what {
            What::Begun => {
                let begun = counts.then_some(at);
                *node = Node { runs: true, begun, ..Node::default() };
            }
            What::Listens => self.due(at + rules.joins_within, name, Due::Counts),
            What::Shows(shown) => {
                node.joined |= matches!(shown, Shown::Led(_));
                node.shows = Some(shown.clone());
            }
            What::Elected(token) => {
                self.elected(name, *token, at, counts);
                return;
            }
            What::Lost(token, _) => self.over(Some(*token)),
            What::Lease { token, until } => {
                if let Some(holder) = self.holder.as_mut().filter(|it| it.token == *token) {
                    holder.until = holder.until.max(*until);
                }
            }
            What::Killed | What::Ended => {
                node.runs = false;
                if leads {
                    self.over(None);
                }
            }
            What::Asked => node.runs = false,
            What::Paused => {
                node.paused = true;
                if let Some(holder) = self.holder.as_ref().filter(|_| leads) {
                    let over = deadline(holder.until, at, rules.ttl);
                    let token = holder.token;
                    self.due(over, name, Due::LeaseOver(token));
                }
            }
            What::Woken => {
                node.paused = false;
                node.woken = counts.then_some(at);
                node.waking = rules.wakes_within > 0;
                self.due(at + rules.wakes_within, name, Due::Awake);
            }
            What::Votes(_) | What::LeadsQuorum => {}
        }
        self.note_return(name, at, counts);
        self.recount(name);
    }

    fn elected(&mut self, name: &'a str, token: u64, at: u64, counts: bool) {
        if self.holder.as_ref().is_some_and(|holder| holder.token >= token) {
            return;
        }
        if let Some(before) = self.holder.take().filter(|_| counts) {
            // Of a paused process nobody knows to the millisecond until when it believes.
            let paused = self.nodes.get(&*before.node).is_some_and(|node| node.paused);
            self.verdict.overlaps += usize::from(before.valid && !paused);
            self.verdict.unprovoked += usize::from(!before.provoked);
        }
        self.verdict.grants += usize::from(counts);
        let node = name.to_owned();
        self.holder = Some(Holder { node, token, valid: true, until: at, provoked: false });
        let names: Vec<_> = self.nodes.keys().copied().collect();
        names.into_iter().for_each(|name| self.recount(name));
    }

    /// The tenure with this token, or whichever it is, is over.
    fn over(&mut self, token: Option<u64>) {
        if let Some(holder) = &mut self.holder
            && token.is_none_or(|token| token == holder.token)
        {
            holder.valid = false;
        }
    }

    fn is_right(&self, node: &Node) -> bool {
        let token = self.holder.as_ref().map(|holder| holder.token);
        matches!(node.shows, Some(Shown::Led(shown)) if Some(shown) == token)
    }

    fn recount(&mut self, name: &'a str) {
        let Some(node) = self.nodes.get(name) else { return };
        if node.counts() && !self.is_right(node) {
            self.wrong.insert(name);
        } else {
            self.wrong.remove(name);
        }
    }

    /// Whether a node that was started or woken is up to date now, for the first time.
    fn note_return(&mut self, name: &'a str, at: u64, counts: bool) {
        let Some(node) = self.nodes.get(name) else { return };
        if !node.runs || node.paused || !self.is_right(node) {
            return;
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.waking = false;
        if !counts {
            return;
        }
        self.verdict.joins.extend(node.begun.take().map(|begun| at - begun));
        self.verdict.wakes.extend(node.woken.take().map(|woken| at - woken));
    }
}

/// When the lease of a leader ends that was paused: by its last words, or one renewal later when
/// that must have been sent in time. Leaders renew at a quarter of the ttl.
fn deadline(told: u64, paused: u64, ttl: u64) -> u64 {
    let renewal = ttl / 4;
    // The lease that was told began at about `told - ttl`, and the next one a renewal later.
    let next_sent = (told + renewal).saturating_sub(ttl);
    // A renewal takes a round trip; what was sent just before the pause is not counted.
    if next_sent + renewal / 5 < paused { told + renewal } else { told }
}

fn word(shown: Option<Shown>) -> String {
    match shown {
        Some(Shown::Led(token)) => format!("shows token {token}"),
        Some(Shown::Vacant) => String::from("shows no leader"),
        Some(Shown::Unknown(why)) if why.is_empty() => String::from("does not know"),
        Some(Shown::Unknown(why)) => format!("does not know: {why}"),
        None => String::from("shows nothing"),
    }
}

#[cfg(test)]
mod tests;
