//! Who may pass: the decisions, without clock or I/O.

use std::collections::BTreeMap;

use tenure_core::Token;

/// How far an effect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The request has not arrived in full: it can be cut, and then has no effect.
    Sending,
    /// The upstream has all of it and has not answered: nobody can take it back.
    Sent,
    /// The upstream has answered; what is left is to deliver that.
    Answered,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is under way now, under this number.
    Pass(u64),
    /// A newer token was presented before.
    Stale(Token),
    /// Nobody has presented this token before: the mark must be raised first.
    Raise,
    /// Effects under an older token are under way: ask again when one has ended.
    Wait,
}

/// One resource: its newest token, and what is under way.
#[derive(Debug)]
pub(crate) struct Passage {
    newest: Token,
    next: u64,
    under_way: BTreeMap<u64, (Token, Stage)>,
}

impl Passage {
    pub(crate) fn new(newest: Token) -> Self {
        Self { newest, next: 0, under_way: BTreeMap::new() }
    }

    pub(crate) fn newest(&self) -> Token {
        self.newest
    }

    /// The mark is on the disk.
    pub(crate) fn raised(&mut self, newest: Token) {
        self.newest = self.newest.max(newest);
    }

    /// Whether a request may pass. Once its patience is over, answers that are still being
    /// delivered are in nobody's way any more.
    pub(crate) fn ask(&mut self, token: Token, patient: bool) -> Verdict {
        if token < self.newest {
            return Verdict::Stale(self.newest);
        }
        if token > self.newest {
            return Verdict::Raise;
        }
        let in_the_way = |(older, stage): &(Token, Stage)| {
            *older < token && (patient || *stage != Stage::Answered)
        };
        if self.under_way.values().any(in_the_way) {
            return Verdict::Wait;
        }
        let number = self.next;
        self.next += 1;
        self.under_way.insert(number, (token, Stage::Sending));
        Verdict::Pass(number)
    }

    /// It never goes back to an earlier stage.
    pub(crate) fn reach(&mut self, number: u64, stage: Stage) {
        if let Some((_, present)) = self.under_way.get_mut(&number) {
            *present = stage.max(*present);
        }
    }

    /// Whether a newer token has come while it could still be cut without an effect.
    pub(crate) fn is_cut(&self, number: u64) -> bool {
        let under_way = self.under_way.get(&number);
        under_way.is_some_and(|(token, stage)| *token < self.newest && *stage == Stage::Sending)
    }

    pub(crate) fn is_answered(&self, number: u64) -> bool {
        self.under_way.get(&number).is_none_or(|(_, stage)| *stage == Stage::Answered)
    }

    pub(crate) fn end(&mut self, number: u64) {
        self.under_way.remove(&number);
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> Token {
        Token::new(number)
    }

    fn pass(passage: &mut Passage, number: u64) -> u64 {
        match passage.ask(token(number), true) {
            Verdict::Pass(pass) => pass,
            other => panic!("{number} is answered {other:?}"),
        }
    }

    #[test]
    fn only_the_newest_passes_and_only_once_its_mark_is_safe() {
        let mut passage = Passage::new(token(5));
        assert_eq!(passage.ask(token(4), true), Verdict::Stale(token(5)));
        pass(&mut passage, 5);
        assert_eq!(passage.ask(token(6), true), Verdict::Raise);
        // Until the disk has it, the former one goes on.
        pass(&mut passage, 5);
        passage.raised(token(6));
        assert_eq!(passage.ask(token(5), true), Verdict::Stale(token(6)));
        // A late answer of the disk takes nothing back.
        passage.raised(token(5));
        assert_eq!(passage.newest(), token(6));
    }

    #[test]
    fn who_is_newer_waits_for_what_cannot_be_taken_back() {
        let mut passage = Passage::new(token(1));
        let (sent, answered) = (pass(&mut passage, 1), pass(&mut passage, 1));
        passage.reach(sent, Stage::Sent);
        passage.reach(answered, Stage::Answered);
        passage.raised(token(2));
        assert_eq!(passage.ask(token(2), true), Verdict::Wait);
        assert_eq!(passage.ask(token(2), false), Verdict::Wait);
        passage.end(sent);
        assert_eq!(passage.ask(token(2), true), Verdict::Wait);
        assert!(matches!(passage.ask(token(2), false), Verdict::Pass(_)));
    }

    #[test]
    fn only_what_has_not_arrived_in_full_is_cut() {
        let mut passage = Passage::new(token(1));
        let (sending, sent) = (pass(&mut passage, 1), pass(&mut passage, 1));
        passage.reach(sent, Stage::Sent);
        assert!(!passage.is_cut(sending));
        passage.raised(token(2));
        assert!(passage.is_cut(sending) && !passage.is_cut(sent));
        // It has to be gone before a newer one comes in, patience or not.
        passage.end(sent);
        assert_eq!(passage.ask(token(2), false), Verdict::Wait);
        passage.end(sending);
        pass(&mut passage, 2);
        assert_eq!(passage.under_way(), 1);
    }

    #[test]
    fn stages_do_not_go_back() {
        let mut passage = Passage::new(token(1));
        let number = pass(&mut passage, 1);
        passage.reach(number, Stage::Answered);
        passage.reach(number, Stage::Sent);
        passage.raised(token(2));
        assert!(matches!(passage.ask(token(2), false), Verdict::Pass(_)));
        passage.reach(99, Stage::Sent);
        passage.end(99);
    }

    /// Random walks: never two tokens under way past their answers, and none below the mark
    /// begins.
    #[test]
    fn whatever_happens_two_tokens_never_act_at_once() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            (seed >> 33) % below
        };
        let mut passage = Passage::new(token(1));
        let mut passes = 0;
        for _ in 0..20_000 {
            let newest = passage.newest().get();
            match random(4) {
                0 | 1 => {
                    let presented = token(newest + random(3) - random(2).min(newest - 1));
                    match passage.ask(presented, random(2) == 0) {
                        Verdict::Raise => passage.raised(presented),
                        Verdict::Pass(_) => {
                            assert_eq!(presented, passage.newest());
                            passes += 1;
                        }
                        Verdict::Stale(mark) => assert!(presented < mark),
                        Verdict::Wait => {}
                    }
                }
                2 => {
                    let stage = [Stage::Sent, Stage::Answered][usize::from(random(2) == 0)];
                    passage.reach(passage.next.saturating_sub(random(6)), stage);
                }
                _ => passage.end(passage.next.saturating_sub(random(6))),
            }
            // What was let in last acts; whoever is older has been answered, or is in the way.
            let acting: Vec<_> = passage
                .under_way
                .iter()
                .filter(|(_, (_, stage))| *stage != Stage::Answered)
                .map(|(_, (token, _))| *token)
                .collect();
            assert!(acting.windows(2).all(|pair| pair[0] == pair[1]), "{acting:?}");
        }
        assert!(passes > 500, "{passes}");
    }
}
