//! What goes wrong around a store.

use super::{
    Store,
    world::{Event, MS, World},
};
use crate::faults::Kind;

impl World {
    pub(super) fn trouble(&mut self) {
        if self.calm {
            return;
        }
        let every = self.odds.trouble_every;
        let wait = every / 4 + self.chance.below(every * 3 / 2);
        self.after(wait, Event::Trouble);
        let at = self.chance.index(self.processes.len());
        match self.chance.below(10) {
            0 | 1 => self.after(0, Event::Failover),
            2 | 3 if self.processes[at].up => {
                self.counts.add(Kind::StoreUserKilled);
                self.kill(at);
                let wait = 5 * MS + self.chance.below(2000 * MS);
                self.after(wait, Event::Start(at));
            }
            4..=6 if self.processes[at].up => {
                self.counts.add(Kind::StoreUserPaused);
                let length = self.length();
                self.processes[at].paused_until = self.now + length;
                self.trace.line(self.now, || format!("p{at} is paused for {} ms", length / MS));
                let life = self.processes[at].life;
                self.after(length, Event::Resume { who: at, life });
            }
            7 => {
                self.counts.add(Kind::StoreCutOff);
                let length = self.length();
                self.processes[at].cut_until = self.now + length;
            }
            8 => {
                self.counts.add(Kind::StoreClockChanged);
                self.set_store_rate();
                let clock = self.drawn_clock();
                let shown = self.moment(at);
                self.processes[at].clock = clock.showing(self.now, shown);
                self.re_arm(at);
            }
            _ if self.store.has(Store::WatchGaps) => {
                let length = self.length() + self.ttl_ns();
                self.gap_until = self.now + length;
            }
            _ => {}
        }
    }

    /// Often longer than any lease.
    fn length(&mut self) -> u64 {
        let longest = self.chance.pick(&[100 * MS, self.ttl_ns(), 3 * self.ttl_ns()]);
        MS + self.chance.below(longest)
    }

    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.store_up = true;
        self.odds.late_stop = 5 * MS;
        self.odds.late_write = 2 * MS;
        self.trace.line(self.now, || String::from("the faults stop"));
        // Hints stay away where the store has gaps: asking must do.
        if self.store.has(Store::WatchGaps) {
            self.gap_until = u64::MAX;
        }
        for at in 0..self.processes.len() {
            self.processes[at].cut_until = 0;
            self.processes[at].paused_until = 0;
            let life = self.processes[at].life;
            self.after(MS, Event::Resume { who: at, life });
            self.after(MS, Event::Start(at));
        }
    }
}
