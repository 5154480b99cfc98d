//! Stories with one outcome each, and invariants over any order of inputs.

use proptest::prelude::*;
use tenure_core::timing::{Drift, Ttl};

use super::{super::budget::Budget, *};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

/// A ttl of 1 s, 300 ms to stop, 100 ms of margin.
fn rules() -> Rules {
    let ttl = Ttl::try_from(1000).unwrap();
    let drift = Drift::default();
    Rules {
        budget: Budget { ttl, drift, stop_timeout: ms(300), kill_margin: ms(100) },
        wait: None,
        delay: Duration::ZERO,
        standby_after_loss: false,
        on_exit: OnExit::Resign,
        timeout_code: 124,
        lost_code: None,
        forward: vec![1, 2, 3, 15, 10],
        hang_up_ends_waiting: false,
        promote: false,
        demote: false,
        hook_timeout: ms(200),
        checked: false,
    }
}

struct Story {
    machine: Machine,
    now: u64,
}

impl Story {
    fn new(rules: Rules) -> Self {
        let mut story = Self { machine: Machine::new(rules, at(0)), now: 0 };
        assert_eq!(story.effects(), [Effect::Prepare]);
        assert_eq!(story.then(Input::Prepared), [Effect::Contend]);
        story
    }

    /// Leads from 1000 ms on, with a lease until 1990 ms.
    fn leading(rules: Rules) -> Self {
        let mut story = Self::new(rules);
        story.now = 1000;
        assert_eq!(story.then(Input::Elected(at(1990))), [Effect::Start]);
        story
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.machine.poll()).collect()
    }

    fn then(&mut self, input: Input) -> Vec<Effect> {
        self.machine.handle(input, at(self.now));
        self.effects()
    }

    /// Lets time pass, with a tick whenever one is due; gives what was done and when.
    fn until(&mut self, end: u64) -> Vec<(u64, Effect)> {
        let mut done = Vec::new();
        while let Some(due) = self.machine.next_deadline() {
            let due = due.as_nanos().div_ceil(1_000_000);
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            let effects = self.then(Input::Tick);
            done.extend(effects.into_iter().map(|effect| (self.now, effect)));
        }
        self.now = end;
        done
    }
}

const RESIGN: Effect = Effect::Release { stay: false };

#[test]
fn a_command_that_ends_gives_its_exit_code() {
    let mut story = Story::leading(rules());
    assert_eq!(story.then(Input::ChildExited(End::Code(7))), [Effect::SoftStop]);
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(7)]);
}

#[test]
fn where_there_is_nothing_to_do_nothing_starts() {
    let mut story = Story::new(rules());
    assert_eq!(story.then(Input::NothingToDo), [RESIGN]);
    assert_eq!(story.then(Input::Elected(at(1990))), [], "too late");
    assert_eq!(story.then(Input::Released), [Effect::Exit(0)]);
}

#[test]
fn a_lease_that_is_not_renewed_is_used_up_in_two_steps() {
    let mut story = Story::leading(rules());
    let done = story.until(1900);
    assert_eq!(
        done,
        [(1590, Effect::SoftStop), (1890, Effect::HardKill), (1900, Effect::HardKill)]
    );
    assert_eq!(story.then(Input::ChildExited(End::Signal(9))), []);
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(121)]);
}

#[test]
fn a_renewal_moves_both_steps() {
    let mut story = Story::leading(rules());
    story.until(1500);
    story.then(Input::Deadline(at(2400)));
    assert_eq!(story.until(2000), [(2000, Effect::SoftStop)]);
    story.then(Input::ChildExited(End::Code(0)));
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(120)]);
}

#[test]
fn what_outlives_the_lease_is_an_alarm() {
    let mut story = Story::leading(rules());
    let done = story.until(2000);
    let alarms: Vec<_> = done.iter().filter(|(_, effect)| *effect == Effect::Alarm).collect();
    assert_eq!(alarms, [&(1990, Effect::Alarm)]);
    assert!(story.until(5000).iter().all(|(_, effect)| *effect == Effect::HardKill));
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(122)]);
}

#[test]
fn a_signal_is_passed_on_and_its_answer_is_the_exit_code() {
    let mut story = Story::leading(rules());
    assert_eq!(story.then(Input::Signal(10)), [Effect::Forward(10)]);
    assert_eq!(story.then(Input::Signal(15)), [Effect::Forward(15)]);
    story.then(Input::ChildExited(End::Code(3)));
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(3)]);
}

#[test]
fn whoever_asks_twice_does_not_wait() {
    let mut story = Story::leading(rules());
    story.then(Input::Signal(2));
    assert_eq!(story.then(Input::Signal(2)), [Effect::HardKill]);
    story.then(Input::ChildExited(End::Signal(9)));
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(137)]);
}

#[test]
fn a_signal_that_is_not_passed_on_still_stops() {
    let mut story = Story::leading(Rules { forward: Vec::new(), ..rules() });
    assert_eq!(story.then(Input::Signal(10)), []);
    assert_eq!(story.then(Input::Signal(15)), [Effect::SoftStop]);
}

#[test]
fn a_hand_over_stops_first_and_keeps_the_place_in_the_queue() {
    let mut story = Story::leading(Rules { standby_after_loss: true, ..rules() });
    assert_eq!(story.then(Input::HandoverAsked), [Effect::SoftStop]);
    story.then(Input::Deadline(at(2990)));
    assert_eq!(story.until(1400)[0], (1300, Effect::HardKill));
    assert_eq!(story.then(Input::TreeEmpty), [Effect::Release { stay: true }]);
    assert_eq!(story.then(Input::Released), [Effect::Prepare]);
    assert_eq!(story.then(Input::Prepared), [Effect::Contend]);
    assert_eq!(story.then(Input::Elected(at(3990))), [Effect::Start]);
}

#[test]
fn a_tenure_known_to_be_over_kills_at_once() {
    let mut story = Story::leading(rules());
    assert_eq!(story.then(Input::Lost(at(1000))), [Effect::SoftStop, Effect::HardKill]);
    assert_eq!(story.then(Input::Tick), [Effect::Alarm]);
}

#[test]
fn whoever_wakes_up_after_its_lease_finds_the_command_killed() {
    let mut story = Story::leading(rules());
    story.now = 3000;
    story.then(Input::ChildExited(End::Signal(9)));
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(121)]);
}

#[test]
fn without_its_front_everything_dies_at_once() {
    let mut story = Story::leading(rules());
    assert_eq!(story.then(Input::FrontGone), [Effect::HardKill]);
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(125)]);
}

#[test]
fn hooks_come_before_the_start_and_after_the_death() {
    let mut story = Story::new(Rules { promote: true, demote: true, ..rules() });
    assert_eq!(story.then(Input::Elected(at(990))), [Effect::Promote]);
    assert_eq!(story.then(Input::HookDone { ok: true }), [Effect::Start]);
    story.then(Input::ChildExited(End::Code(0)));
    assert_eq!(story.then(Input::TreeEmpty), [Effect::Demote]);
    assert_eq!(story.then(Input::HookDone { ok: true }), [Effect::HardKill]);
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(0)]);
}

#[test]
fn a_hook_that_fails_or_hangs_means_no_start() {
    for hangs in [false, true] {
        let mut story = Story::new(Rules { promote: true, ..rules() });
        assert_eq!(story.then(Input::Elected(at(990))), [Effect::Promote]);
        let done = match hangs {
            true => story.until(200).remove(0).1,
            false => story.then(Input::HookDone { ok: false }).remove(0),
        };
        assert_eq!(done, Effect::SoftStop);
        assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
        assert_eq!(story.then(Input::Released), [Effect::Exit(125)]);
    }
}

#[test]
fn the_demote_hook_is_left_out_when_there_is_no_time() {
    let mut story = Story::leading(Rules { demote: true, ..rules() });
    story.until(1895);
    assert_eq!(story.then(Input::TreeEmpty), [RESIGN]);
}

#[test]
fn restarts_pause_longer_and_longer_and_have_a_limit() {
    let on_exit = OnExit::Restart { first: ms(10), longest: ms(15), at_most: Some(2) };
    let mut story = Story::leading(Rules { on_exit, ..rules() });
    let fall = |story: &mut Story| {
        story.then(Input::ChildExited(End::Code(1)));
        story.then(Input::TreeEmpty)
    };
    assert_eq!(fall(&mut story), []);
    assert_eq!(story.until(1010), [(1010, Effect::Start)]);
    assert_eq!(fall(&mut story), []);
    assert_eq!(story.until(1025), [(1025, Effect::Start)]);
    assert_eq!(fall(&mut story), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(1)]);
}

#[test]
fn a_leader_may_hold_on_without_its_command() {
    let mut story = Story::leading(Rules { on_exit: OnExit::Hold, ..rules() });
    story.then(Input::ChildExited(End::Code(0)));
    assert_eq!(story.then(Input::TreeEmpty), []);
    assert_eq!(story.machine.phase(), Phase::Holding);
    assert_eq!(story.then(Input::Signal(15)), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(0)]);
}

#[test]
fn waiting_has_an_end_of_its_own() {
    let mut story = Story::new(Rules { wait: Some(ms(50)), ..rules() });
    assert_eq!(story.until(60), [(50, RESIGN)]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(124)]);
    let mut story = Story::new(rules());
    assert_eq!(story.then(Input::Signal(1)), []);
    assert_eq!(story.then(Input::Signal(2)), [RESIGN]);
    assert_eq!(story.then(Input::Released), [Effect::Exit(130)]);
}

#[test]
fn nothing_starts_when_the_lease_is_nearly_over() {
    let mut story = Story::new(rules());
    assert_eq!(story.then(Input::Elected(at(400))), [RESIGN]);
    let mut story = Story::new(Rules { delay: ms(900), ..rules() });
    assert_eq!(story.then(Input::Elected(at(990))), []);
    assert_eq!(story.until(950), [(590, RESIGN)]);
}

/// What the world may do next, whatever the machine did.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Renew,
    Lost(bool),
    Ask,
    Exit(u8),
    Empty,
    Hook(bool),
    Signal(i32),
    Check,
    Front,
    Job,
    Yes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..400).prop_map(Step::Pass),
        4 => Just(Step::Renew),
        1 => any::<bool>().prop_map(Step::Lost),
        1 => Just(Step::Ask),
        2 => any::<u8>().prop_map(Step::Exit),
        4 => Just(Step::Empty),
        3 => any::<bool>().prop_map(Step::Hook),
        1 => prop_oneof![Just(1), Just(2), Just(15), Just(10)].prop_map(Step::Signal),
        1 => Just(Step::Check),
        1 => Just(Step::Front),
        1 => Just(Step::Job),
        6 => Just(Step::Yes),
    ];
    prop::collection::vec(step, 1..60)
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let on_exit = prop_oneof![
        Just(OnExit::Resign),
        Just(OnExit::Hold),
        Just(OnExit::Restart { first: ms(5), longest: ms(50), at_most: None }),
    ];
    (any::<[bool; 4]>(), 0u64..100, on_exit).prop_map(|([a, b, c, d], delay, on_exit)| Rules {
        standby_after_loss: a,
        promote: b,
        demote: c,
        checked: d,
        delay: ms(delay),
        on_exit,
        ..rules()
    })
}

/// A world that keeps the books: what is alive, who holds the lease, until when.
#[derive(Default)]
struct World {
    alive: bool,
    command: bool,
    contends: bool,
    deadline: Option<u64>,
    releasing: bool,
    hook: bool,
    soft: bool,
    killed: bool,
    over: bool,
}

impl World {
    fn take(&mut self, effect: Effect, now: u64) {
        match effect {
            Effect::Start => {
                let deadline = self.deadline.expect("a start without a lease");
                assert!(now < deadline - 400, "a start at {now} with a lease until {deadline}");
                assert!(!self.command, "two commands at once");
                (self.alive, self.command, self.soft, self.killed) = (true, true, false, false);
            }
            Effect::Promote | Effect::Demote => {
                assert!(now < self.deadline.expect("a hook without a lease") - 100);
                assert!(!self.command, "a hook beside the command");
                (self.alive, self.hook, self.soft, self.killed) = (true, true, false, false);
            }
            Effect::SoftStop => self.soft = true,
            Effect::HardKill => self.killed = true,
            Effect::Release { .. } => {
                assert!(!self.alive, "leadership was given up while something was alive");
                (self.deadline, self.contends, self.releasing) = (None, false, true);
            }
            Effect::Exit(_) => {
                assert!(!self.alive && self.deadline.is_none(), "an exit while something is left");
                self.over = true;
            }
            Effect::Contend => self.contends = true,
            Effect::Alarm => assert!(self.alive && now >= self.deadline.unwrap()),
            Effect::Forward(signal) => self.soft |= STOP_SIGNALS.contains(&signal),
            Effect::Prepare => {}
        }
    }

    /// What can happen in this world.
    fn input(&mut self, step: &Step, phase: Phase, now: u64) -> Option<Input> {
        let leading = self.deadline.is_some();
        match *step {
            Step::Renew if leading => {
                self.deadline = Some(now + 990);
                Some(Input::Deadline(at(now + 990)))
            }
            Step::Lost(at_once) if leading => {
                let deadline = if at_once { now } else { self.deadline? };
                self.deadline = Some(deadline);
                Some(Input::Lost(at(deadline)))
            }
            Step::Ask if leading => Some(Input::HandoverAsked),
            Step::Exit(code) if self.command => {
                self.command = false;
                Some(Input::ChildExited(End::Code(code)))
            }
            Step::Empty if self.alive && !self.command && !self.hook => {
                self.alive = false;
                Some(Input::TreeEmpty)
            }
            Step::Hook(ok) if self.hook => {
                self.hook = false;
                Some(Input::HookDone { ok })
            }
            Step::Signal(signal) => Some(Input::Signal(signal)),
            Step::Check => Some(Input::CheckFailed),
            Step::Front => Some(Input::FrontGone),
            Step::Job if leading && phase == Phase::Running => {
                self.alive = true;
                Some(Input::JobStarted)
            }
            Step::Yes => match phase {
                Phase::Preparing => Some(Input::Prepared),
                Phase::Contending if self.contends => {
                    self.deadline = Some(now + 990);
                    Some(Input::Elected(at(now + 990)))
                }
                Phase::Releasing if self.releasing => {
                    self.releasing = false;
                    Some(Input::Released)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What must have been done by now.
    fn judge(&self, now: u64) {
        let Some(deadline) = self.deadline.filter(|_| self.alive) else { return };
        if now >= deadline - 400 {
            assert!(self.soft || self.killed || self.hook, "not asked to stop at {now}");
        }
        if now >= deadline - 100 {
            assert!(self.killed, "not killed at {now}, the lease ends at {deadline}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_outlives_the_lease_unasked_and_nothing_is_given_up_alive(
        rules in any_rules(), steps in steps(),
    ) {
        let mut machine = Machine::new(rules, at(10_000));
        let (mut world, mut now) = (World::default(), 10_000);
        let turn = |machine: &mut Machine, world: &mut World, input, now| {
            if let Some(input) = input {
                machine.handle(input, at(now));
            }
            while let Some(effect) = machine.poll() {
                world.take(effect, now);
            }
            world.judge(now);
        };
        turn(&mut machine, &mut world, None, now);
        for step in &steps {
            if world.over {
                break;
            }
            if let Step::Pass(length) = step {
                let end = now + length;
                // A tick at each due time, as the shell gives it.
                while let Some(due) = machine.next_deadline() {
                    let due = due.as_nanos().div_ceil(1_000_000).max(now);
                    if due > end { break; }
                    now = due;
                    turn(&mut machine, &mut world, Some(Input::Tick), now);
                    if world.over { break; }
                }
                now = end;
            }
            let input = world.input(step, machine.phase(), now);
            turn(&mut machine, &mut world, input, now);
        }
    }

    /// Whatever happened before, a world that does what it is told comes to an end.
    #[test]
    fn a_signal_always_leads_to_an_end(rules in any_rules(), steps in steps()) {
        let mut machine = Machine::new(rules, at(10_000));
        let (mut world, mut now) = (World::default(), 10_000);
        let mut last = vec![Step::Signal(15)];
        for _ in 0..4 {
            last.extend([Step::Exit(0), Step::Hook(true), Step::Pass(2000), Step::Empty, Step::Yes]);
        }
        for step in steps.iter().chain(&last) {
            while let Some(effect) = machine.poll() {
                world.take(effect, now);
            }
            if world.over { break; }
            if let Step::Pass(length) = step {
                now += length;
                machine.handle(Input::Tick, at(now));
            }
            if let Some(input) = world.input(step, machine.phase(), now) {
                machine.handle(input, at(now));
            }
        }
        while let Some(effect) = machine.poll() {
            world.take(effect, now);
        }
        prop_assert!(world.over, "{:?}", machine.phase());
    }
}
